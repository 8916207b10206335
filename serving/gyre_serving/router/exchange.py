"""One proxied request: admitted, sent to an endpoint of its revision, its answer passed on, counted."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from time import monotonic
from typing import Protocol

from gyre_serving.router.access import FAILED, GONE, Ending
from gyre_serving.router.comparing import Answer
from gyre_serving.router.endpoints import Endpoint
from gyre_serving.router.message import HOP_BY_HOP, Refusal, Request, answer, status_line
from gyre_serving.router.mirror import OK, Mirror, header_length
from gyre_serving.router.service import Revision, Service
from gyre_serving.router.upstream import UpstreamConnection, connect

logger = logging.getLogger(__name__)

TRIES = 3
"""Endpoints asked before a request that met only broken connections fails."""
COLLECT_LIMIT = 8 * 2**20
"""Largest answer kept for translation or for the payload log."""
JOINED = 16384
"""Bodies below this are sent in one piece with their heads: a copy costs less than a second buffer."""
_OURS = HOP_BY_HOP | {b"x-request-id", b"x-gyre-version", b"x-gyre-revision", b"x-gyre-feedback-id", b"x-gyre-fallback"}

Collected = Callable[[int, bytes | None], None]
Translate = Callable[[int, bytes], tuple[int, bytes]]
Told = Callable[["Order", Ending], None]


@dataclass(slots=True)
class Order:
    """What to send, and what to do with the answer."""

    request: Request
    service: Service
    revision: Revision
    head: bytes
    """Request line and headers but for host."""
    body: list[bytes]
    answer_headers: bytes
    """Header lines of the contract."""
    collect: Collected | None = None
    """Called with status and body (None when larger than `COLLECT_LIMIT`) once the answer is whole."""
    translate: Translate | None = None
    """The answer is held back and rewritten."""
    directed: bool = False
    """No evidence: a header or the path chose the revision, not the split, or it asks for metadata."""
    pieces: list[bytes] = field(default_factory=list)
    done: Told | None = None
    """Called at the end of each request that failed; of every one with `told`."""
    told: bool = False
    stand_ins: "Iterator[Order] | None" = None
    """Orders to follow instead, one after the other, while nobody takes this one."""
    local: bytes | None = None
    """The V2 answer: nobody is asked."""
    first: bool = False
    """Its outcome is that of its sticky key."""
    mirror: Mirror | None = None
    """Gets the request and its answer once the client has it."""


class Recipient(Protocol):
    """Who gets the answer."""

    def write(self, data: bytes) -> None:
        """Take bytes of it."""

    def writelines(self, data: list[bytes]) -> None:
        """Take pieces of it."""

    def finish(self, *, close: bool) -> None:
        """It is whole."""

    def abort(self) -> None:
        """It ends here, and is not whole."""

    def closes(self, request: Request) -> bool:
        """Whether no other may follow it."""
        ...

    def peer(self) -> str:
        """Name for logs."""
        ...


class Exchange:
    """Runs an order. Callbacks, no task: a task for each request would double its CPU."""

    __slots__ = (
        "_client", "_connection", "_endpoint", "_held", "_json_length", "_loop", "_order", "_out", "_size", "_slot",
        "_started", "_streaming", "_task", "_tried", "_until_close", "answering", "cancelled", "status", "too_large",
    )  # fmt: skip

    def __init__(self, order: Order, client: Recipient, loop: asyncio.AbstractEventLoop) -> None:
        self._order = order
        self._client = client
        self._loop = loop
        self._connection: UpstreamConnection | None = None
        self._endpoint: Endpoint | None = None
        self._task: asyncio.Task[None] | None = None
        self._tried: list[Endpoint] = []
        self._out: list[bytes] = []
        self._held: list[bytes] | None = [] if order.collect or order.translate or order.mirror else None
        self._json_length: int | None = None
        self._size = 0
        self._slot = False
        self._started = 0.0
        self._streaming = False
        self._until_close = False
        self.answering = False
        self.cancelled = False
        self.status = 0
        self.too_large = 502
        """What an answer beyond `COLLECT_LIMIT` becomes where it is to be translated."""

    def start(self) -> None:
        """Take a slot, wait for one, or refuse.

        Raises:
            Refusal: 503 when the queue is full.
        """
        service = self._order.service
        admitted = service.limiter.enter(self)
        if admitted is None:
            self._order.revision.stats.rejected += 1
            raise Refusal(503, f"{service.name}: too many requests wait for an answer; try again", retry_after=1)
        service.deadlines.add(self, monotonic())
        if admitted:
            self.run()

    def run(self) -> None:
        """A slot is free."""
        self._slot = True
        if self.cancelled:
            self._order.service.limiter.leave()
            return
        order = self._order
        now = self._started = monotonic()
        service = order.service.stats
        service.queued += 1
        service.queue_seconds += now - order.request.arrived
        order.revision.stats.in_flight += 1
        self._attempt(now, fresh=False)

    # the client's side
    def abandon(self) -> None:
        """The client went away: nobody wants the answer, and nobody is to blame."""
        if not self.cancelled:
            self._order.service.stats.abandoned += 1
            self._release()
            self._done(GONE)

    def pause(self) -> None:
        """The client reads slower than the model writes."""
        if self._connection is not None:
            self._connection.pause()

    def resume(self) -> None:
        """It caught up."""
        if self._connection is not None:
            self._connection.resume()

    # the upstream's side
    def on_head(self, status: int, headers: list[tuple[bytes, bytes]], connection: UpstreamConnection) -> None:
        """Rewrite the head: hop-by-hop headers go, the contract's headers come."""
        self.status = status
        if self._order.mirror is not None:
            self._json_length = header_length(headers)
        if self._order.translate is not None:
            return
        request = self._order.request
        length = connection.length
        self.answering = True
        lines = [status_line(status), self._order.answer_headers]
        for name, value in headers:
            if name not in _OURS and not (length == -1 and name == b"content-length"):
                lines += (name, b": ", value, b"\r\n")
        if length is None or length < 0:
            self._streaming = request.chunked_answers
            self._until_close = not request.chunked_answers
            if self._streaming:
                lines.append(b"transfer-encoding: chunked\r\n")
        if self._until_close or self._client.closes(request):
            lines.append(b"connection: close\r\n")
        elif not request.chunked_answers:
            lines.append(b"connection: keep-alive\r\n")
        lines.append(b"\r\n")
        self._out += lines

    def on_piece(self, body: bytes) -> None:
        """Pass on, and keep a copy where one is wanted."""
        self._size += len(body)
        if self._held is not None:
            if self._size > COLLECT_LIMIT:
                self._held = None
            else:
                self._held.append(body)
        if self.answering:
            self._out.append(b"%x\r\n%b\r\n" % (len(body), body) if self._streaming else body)

    def on_flush(self) -> None:
        """Write what came in one read."""
        if self._out:
            if self._size < JOINED:
                self._client.write(b"".join(self._out))
            else:
                self._client.writelines(self._out)
            self._out = []

    def on_end(self) -> None:
        """The answer is whole: count it, give everything back, tell who collects."""
        order = self._order
        if self._endpoint is not None:
            if self.status == 503:  # noqa: PLR2004  the endpoint says that it cannot
                self._endpoint.failed(monotonic(), refused=False)
            else:
                self._endpoint.succeeded()
        seconds = monotonic() - self._started
        order.revision.stats.answered(
            seconds,
            "answer_5xx" if self.status >= 500 else None,  # noqa: PLR2004
            directed=order.directed,
            first=order.first,
            trace=order.request.headers.get(b"traceparent"),
        )
        body = b"".join(self._held) if self._held is not None else None
        self._release()
        if order.translate is not None:
            self._translated(order.translate, self.status, body)
        else:
            if self._streaming:
                self._out.append(b"0\r\n\r\n")
            self.on_flush()
            self._client.finish(close=self._until_close or self._client.closes(order.request))
            self._done(self.status)
        if order.collect is not None:
            order.collect(self.status, body)
        if order.mirror is not None and self.status == OK:
            order.mirror.answered(order, Answer(body, self._json_length) if body is not None else None, seconds)

    def on_broken(self, error: Exception | None) -> None:
        """The connection ended too early: another endpoint may answer, if the client saw nothing yet."""
        connection, self._connection = self._connection, None
        endpoint = self._endpoint
        if connection is None or endpoint is None:
            return
        endpoint.pending -= 1
        self._endpoint = None
        if connection.fresh or connection.started:
            endpoint.failed(monotonic(), refused=False)
            self._tried.append(endpoint)
        if connection.started:
            self._broken_answer(error)
        else:
            self._order.revision.stats.retries += 1
            self._attempt(monotonic(), fresh=True)

    def _broken_answer(self, error: Exception | None) -> None:
        self._count_failure("broken_answer")
        if self.answering:
            self._cut()
        else:
            self._fail(Refusal(502, f"{self._order.revision.version}: the model server broke off its answer: {error}"))

    def _cut(self) -> None:
        """The answer has begun and cannot be ended: the client must see that."""
        self._release()
        self._client.abort()
        self._done(self.status, cut=True)

    def _attempt(self, now: float, *, fresh: bool) -> None:
        """Ask an endpoint; `fresh` after a stale connection, which must not meet another one."""
        if len(self._tried) >= TRIES:
            self._unreachable(
                "unreachable", Refusal(502, f"{self._order.revision.version}: no model server took the request")
            )
            return
        endpoint = self._order.revision.backends.pick(now, self._tried)
        if endpoint is None:
            self._unreachable(
                "no_endpoints", Refusal(503, f"{self._order.revision.version} has no ready model server", retry_after=1)
            )
            return
        self._endpoint = endpoint
        endpoint.pending += 1
        connection = None if fresh else endpoint.take()
        if connection is None:
            self._task = self._loop.create_task(self._connect(endpoint))
        else:
            self._send(connection)

    def _unreachable(self, failure: str, refusal: Refusal) -> None:
        """Nobody took the request and the client saw nothing yet: a stand-in may answer."""
        self._count_failure(failure)
        before = self._order
        stand_in = next(before.stand_ins, None) if before.stand_ins is not None else None
        if stand_in is None:
            self._fail(refusal)
            return
        before.revision.stats.fallbacks += 1
        stand_in.stand_ins = before.stand_ins
        before.revision.stats.in_flight -= 1
        stand_in.revision.stats.in_flight += 1
        self._order = stand_in
        self._tried = []
        self._held = [] if stand_in.collect or stand_in.translate else None
        self._started = monotonic()
        if stand_in.local is None:
            self._attempt(self._started, fresh=False)
            return
        self._release()
        if stand_in.translate is not None:
            self._translated(stand_in.translate, 200, stand_in.local)
        else:
            self._respond(200, stand_in.local, b"")

    async def _connect(self, endpoint: Endpoint) -> None:
        try:
            connection = await connect(endpoint)
        except OSError:  # TimeoutError is one
            self._task = None
            endpoint.pending -= 1
            endpoint.failed(monotonic(), refused=True)
            self._endpoint = None
            self._tried.append(endpoint)
            self._order.revision.stats.retries += 1
            if not self.cancelled:
                self._attempt(monotonic(), fresh=False)
            return
        self._task = None
        self._send(connection)

    def _send(self, connection: UpstreamConnection) -> None:
        self._connection = connection
        order = self._order
        host, body = connection.endpoint.host_header, order.body
        if len(body) == 1 and len(body[0]) < JOINED:
            connection.send(self, [b"%bhost: %b\r\n\r\n%b" % (order.head, host, body[0])])
        else:
            connection.send(self, [b"%bhost: %b\r\n\r\n" % (order.head, host), *body])

    def expired(self) -> None:
        """The deadline passed."""
        if self.cancelled:
            return
        limit = self._order.service.route.limits.timeout_seconds
        if not self._slot:
            self._order.service.limiter.drop(self)
            self._order.revision.stats.rejected += 1
            self._fail(Refusal(503, f"no turn within {limit:g} s; try again", retry_after=1))
            return
        self._count_failure("timeout")
        if self._endpoint is not None:
            self._endpoint.failed(monotonic(), refused=False)
        if self.answering:
            self._cut()
        else:
            self._fail(Refusal(504, f"{self._order.revision.version} did not answer within {limit:g} s"))

    def _count_failure(self, failure: str) -> None:
        order = self._order
        seconds = monotonic() - self._started
        trace = order.request.headers.get(b"traceparent")
        order.revision.stats.answered(seconds, failure, directed=order.directed, first=order.first, trace=trace)

    def _fail(self, refusal: Refusal) -> None:
        self._release()
        order = self._order
        order.service.stats.refused[str(refusal.status)] += 1
        self._respond(refusal.status, refusal.body(), refusal.headers())
        if order.collect is not None:
            order.collect(refusal.status, None)

    def _translated(self, translate: Translate, status: int, body: bytes | None) -> None:
        if body is None:
            most = COLLECT_LIMIT // 2**20
            refusal = Refusal(
                self.too_large, f"the model's answer is larger than {most} MiB; ask about fewer rows, or with /infer"
            )
            self._respond(refusal.status, refusal.body(), b"")
            return
        try:
            status, told = translate(status, body)
        except Exception:
            # Everything is given back already, the deadline too: nothing else would ever answer this client.
            logger.exception("an answer could not be translated")
            status, told = 502, Refusal(502, "the model's answer cannot be translated; ask over /v2").body()
        self._respond(status, told, b"")

    def _respond(self, status: int, body: bytes, extra: bytes) -> None:
        close = self._client.closes(self._order.request)
        self._size = len(body)
        self._client.write(answer(status, body, extra=self._order.answer_headers + extra, close=close))
        self._client.finish(close=close)
        self._done(status)

    def _done(self, status: int, *, cut: bool = False) -> None:
        order = self._order
        if order.done is not None and (order.told or cut or status >= FAILED):
            seconds = monotonic() - order.request.arrived
            order.done(order, Ending(status, self._size, seconds, self._client.peer(), cut))

    def _release(self) -> None:
        """Give back slot, endpoint and connection; happens once."""
        if self.cancelled:
            return
        self.cancelled = True
        self._order.service.deadlines.drop(self)
        if self._task is not None:
            self._task.cancel()
        connection, self._connection = self._connection, None
        if self._endpoint is not None:
            self._endpoint.pending -= 1
            if connection is not None and not connection.closed:
                if self.status and connection.complete:
                    connection.resume()
                    self._endpoint.give(connection)
                else:
                    connection.close()
        if self._slot:
            self._order.revision.stats.in_flight -= 1
            self._order.service.limiter.leave()
        else:
            self._order.service.limiter.drop(self)
