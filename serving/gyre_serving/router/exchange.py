"""One proxied request: admitted, sent to an endpoint of its revision, its answer passed on, counted."""

import asyncio
from time import monotonic

from gyre_serving.router.access import GONE
from gyre_serving.router.comparing import Answer
from gyre_serving.router.endpoints import Endpoint
from gyre_serving.router.message import Refusal
from gyre_serving.router.mirror import OK
from gyre_serving.router.order import Order, Recipient
from gyre_serving.router.relay import JOINED, Relay
from gyre_serving.router.upstream import HeldUpError, UpstreamConnection, connect

TRIES = 3
"""Endpoints that may refuse the connection before the request fails."""


class Exchange(Relay):
    """Runs an order. Callbacks, no task: a task for each request would double its CPU."""

    __slots__ = (
        "_connection", "_endpoint", "_loop", "_resent", "_slot", "_spent", "_started", "_task", "_tried", "cancelled",
    )  # fmt: skip

    def __init__(self, order: Order, client: Recipient, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(order, client)
        self._loop = loop
        self._connection: UpstreamConnection | None = None
        self._endpoint: Endpoint | None = None
        self._task: asyncio.Task[None] | None = None
        self._tried: list[Endpoint] = []
        self._resent = False
        """A kept connection broke under the request: it gets one more, which has to be a new one."""
        self._spent = False
        """A server may have died of it: nobody else is asked."""
        self._slot = False
        self._started = 0.0
        self.cancelled = False

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
        self._attempt(now)

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
    def on_end(self) -> None:
        """The answer is whole: count it, give everything back, tell who collects."""
        order = self._order
        if self._endpoint is not None:
            if self.status == 503:  # noqa: PLR2004  the endpoint says that it cannot
                self._blame(self._endpoint, busy=True)
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
            order.collect(self.status, body, self._json_length)
        if order.mirror is not None and self.status == OK:
            order.mirror.answered(order, Answer(body, self._json_length) if body is not None else None, seconds)

    def on_broken(self, error: Exception | None) -> None:
        """The connection ended too early.

        A kept connection may have been closed before the request was read: it is sent once more. A new one was
        not, so the request may be what the server died of, and is not carried on to the next.
        """
        connection, self._connection = self._connection, None
        endpoint = self._endpoint
        if connection is None or endpoint is None:
            return
        self._endpoint = None
        if connection.fresh or connection.started:
            self._blame(endpoint)
            self._tried.append(endpoint)
        endpoint.leave(self)
        if connection.started:
            self._broken_answer(error)
        elif connection.fresh:
            self._spent = True
            said = "its model server ended the connection before it answered, and no other is asked: it may be the "
            self._unreachable("broken_answer", Refusal(502, f"{self._order.revision.version}: {said}request's fault"))
        else:
            self._resent = True
            self._order.revision.stats.retries += 1
            self._attempt(monotonic())

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

    def _attempt(self, now: float) -> None:
        """Ask an endpoint."""
        endpoint = None
        if len(self._tried) < TRIES:
            endpoint = self._order.revision.backends.pick(now, self, self._tried)
        if endpoint is None:
            self._unreachable(*self._nobody(now))
            return
        self._endpoint = endpoint
        endpoint.pending += 1
        connection = None if self._resent else endpoint.take()
        if connection is None:
            self._task = self._loop.create_task(self._connect(endpoint))
        else:
            self._send(connection)

    def _nobody(self, now: float) -> tuple[str, Refusal]:
        """Class and sentence where no endpoint is asked (any more)."""
        version, backends = self._order.revision.version, self._order.revision.backends
        if self._tried:
            return "unreachable", Refusal(502, f"{version}: no model server took the request")
        if not backends.endpoints:
            return "no_endpoints", Refusal(503, f"{version} has no ready model server", retry_after=1)
        wait = backends.wait(now)
        return "ejected", Refusal(
            503, f"{version}: its model servers failed and are left alone; come back in {wait} s", retry_after=wait
        )

    def _blame(self, endpoint: Endpoint, *, refused: bool = False, busy: bool = False) -> None:
        if endpoint.failed(monotonic(), self, refused=refused, busy=busy):
            self._order.revision.stats.ejections += 1

    def _unreachable(self, failure: str, refusal: Refusal) -> None:
        """Nobody answered and the client saw nothing yet: a stand-in may, one without a server if that may die."""
        self._count_failure(failure)
        before = self._order
        stand_ins = before.stand_ins if before.stand_ins is not None else iter(())
        stand_in = next((one for one in stand_ins if one.local is not None or not self._spent), None)
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
            self._attempt(self._started)
            return
        self._release()
        if stand_in.translate is not None:
            self._translated(stand_in.translate, 200, stand_in.local)
        else:
            self._respond(200, stand_in.local, b"")

    async def _connect(self, endpoint: Endpoint) -> None:
        try:
            connection = await connect(endpoint)
        except OSError as error:  # TimeoutError is one
            self._task = None
            if not isinstance(error, HeldUpError):
                self._blame(endpoint, refused=True)
            endpoint.leave(self)
            self._endpoint = None
            self._tried.append(endpoint)
            self._order.revision.stats.retries += 1
            if not self.cancelled:
                self._attempt(monotonic())
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
            self._blame(self._endpoint)
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
            order.collect(refusal.status, None, None)

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
            self._endpoint.leave(self)
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
