"""Copies of answered requests for a shadow revision: sent after the client has its answer, compared, thrown away.

Nothing here delays a request or counts for one: a copy starts when the primary's answer was handed to
the client, takes none of the service's slots, and where too much is under way it is not sent.
"""

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from gyre_crds.contracts.routing import MirrorRule
from gyre_serving.router.comparing import LARGEST, Answer, Unreadable, compare, readable
from gyre_serving.router.endpoints import Endpoint
from gyre_serving.router.heads import Head
from gyre_serving.router.identity import sampled
from gyre_serving.router.stats import PairStats, Stats
from gyre_serving.router.upstream import UpstreamConnection, connect

if TYPE_CHECKING:
    from gyre_serving.router.order import Order
    from gyre_serving.router.service import Revision

MOST_BYTES = 32 * 2**20
"""Bodies and answers that a service's copies hold at once."""
OK = 200


class Original(NamedTuple):
    """What a copy is made of and compared with."""

    order: "Order"
    answer: Answer
    seconds: float

    @property
    def size(self) -> int:
        """Bytes of both bodies."""
        return sum(map(len, self.order.body)) + len(self.answer.body)


class Mirror:
    """One service's mirroring; it outlives table swaps, and follows their rule."""

    def __init__(self, service: str, stats: Stats, loop: asyncio.AbstractEventLoop) -> None:
        self._service = service
        self._stats = stats
        self.loop = loop
        self.rule: MirrorRule | None = None
        self.revision: Revision | None = None
        self.seconds = 30.0
        self.under_way: set[Copy] = set()
        self.held = 0
        """Bytes that copies under way hold."""

    def follow(self, rule: MirrorRule, revision: "Revision", seconds: float) -> None:
        """Go on by this rule; copies get the service's deadline, from their own start."""
        self.rule, self.revision, self.seconds = rule, revision, seconds

    def stop(self) -> None:
        """Send nothing more, and forget what is under way."""
        self.rule = self.revision = None
        for copy in list(self.under_way):
            copy.drop()

    def wants(self, revision: "Revision", request_id: str) -> bool:
        """Whether a request that the revision answers is to be mirrored."""
        rule, shadow = self.rule, self.revision
        if rule is None or shadow is None or revision.route.revision == shadow.route.revision:
            return False
        # Another word than the payload log's, or both would see the same requests only.
        return sampled(f"mirror:{request_id}", rule.share)

    def answered(self, order: "Order", answer: Answer | None, seconds: float) -> None:
        """The primary answered a wanted request with 200; None where its answer was too large to keep."""
        rule, shadow = self.rule, self.revision
        if rule is None or shadow is None or shadow.route.revision == order.revision.route.revision:
            return
        stats = self._stats.pair(self._service, order.revision.route.revision, shadow.route.revision)
        if answer is None or len(answer.body) > LARGEST:
            stats.skipped += 1
            return
        original = Original(order, answer, seconds)
        if len(self.under_way) >= rule.concurrency or self.held + original.size > MOST_BYTES:
            stats.dropped += 1
            return
        copy = Copy(self, rule, shadow, stats, original)
        self.under_way.add(copy)
        self.held += original.size
        copy.start()


class Copy:
    """One request again, for the shadow. An upstream connection's receiver, like an exchange."""

    __slots__ = (
        "_connection", "_endpoint", "_head", "_header", "_mirror", "_original", "_pieces", "_rule", "_shadow", "_size",
        "_started", "_stats", "_status", "_task", "_timer",
    )  # fmt: skip

    def __init__(
        self, mirror: Mirror, rule: MirrorRule, shadow: "Revision", stats: PairStats, original: Original
    ) -> None:
        self._mirror = mirror
        self._rule = rule
        self._shadow = shadow
        self._stats = stats
        self._original = original
        order = original.order
        # The primary's head names its path first.
        self._head = b"POST " + shadow.path + order.head[len(b"POST ") + len(order.revision.path) :]
        self._connection: UpstreamConnection | None = None
        self._endpoint: Endpoint | None = None
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._pieces: list[bytes] = []
        self._size = 0
        self._status = 0
        self._header: int | None = None
        self._started = 0.0

    def start(self) -> None:
        """Ask an endpoint of the shadow, over a kept connection where there is one."""
        loop = self._mirror.loop
        self._started = loop.time()
        self._timer = loop.call_later(self._mirror.seconds, self._fail)
        self._ask(fresh=False)

    def drop(self) -> None:
        """Forget the copy; it is counted nowhere."""
        self._finish()

    # the upstream's side
    def on_head(self, head: Head) -> None:
        """Keep the status, and where tensors begin."""
        self._status = head.status
        self._header = header_length(head.headers)

    def on_piece(self, body: bytes) -> None:
        """Keep what may still be compared."""
        self._size += len(body)
        if self._size <= LARGEST:
            self._pieces.append(body)

    def on_flush(self) -> None:
        """Nobody waits for parts."""

    def on_end(self) -> None:
        """Compare, count, and give everything back."""
        if self._status != OK:
            self._fail()
            return
        if self._endpoint is not None:
            self._endpoint.succeeded()
        stats, original, seconds = self._stats, self._original, self._mirror.loop.time() - self._started
        if self._size > LARGEST:
            stats.skipped += 1
        else:
            shadow = Answer(b"".join(self._pieces), self._header)
            try:
                signature = original.order.revision.route.signature
                found = compare(original.answer, shadow, self._rule.tolerance, signature)
            except Unreadable:
                # Where the client's answer is none either, nothing was to be learned of the shadow.
                if readable(original.answer):
                    stats.failed += 1
                else:
                    stats.skipped += 1
            else:
                stats.compared(found, original.seconds, seconds)
        self._finish()

    def on_broken(self, _error: Exception | None) -> None:
        """A stale kept connection is replaced once; anything else is the shadow's failure."""
        connection, self._connection = self._connection, None
        if connection is None or connection.fresh or connection.started:
            self._fail()
            return
        self._release()
        self._ask(fresh=True)

    def _ask(self, *, fresh: bool) -> None:
        endpoint = self._endpoint = self._shadow.backends.pick(self._mirror.loop.time(), self)
        if endpoint is None:
            self._stats.dropped += 1
            self._finish()
            return
        endpoint.pending += 1
        connection = None if fresh else endpoint.take()
        if connection is None:
            self._task = self._mirror.loop.create_task(self._connect(endpoint))
        else:
            self._send(connection)

    async def _connect(self, endpoint: Endpoint) -> None:
        try:
            connection = await connect(endpoint)
        except OSError:  # TimeoutError is one
            self._task = None
            self._fail()
            return
        self._task = None
        self._send(connection)

    def _send(self, connection: UpstreamConnection) -> None:
        self._connection = connection
        connection.send(
            self, [b"%bhost: %b\r\n\r\n" % (self._head, connection.endpoint.host_header), *self._original.order.body]
        )

    def _fail(self) -> None:
        """The shadow did not answer with 200, or not in time."""
        if self in self._mirror.under_way:
            self._stats.failed += 1
            self._finish()

    def _finish(self) -> None:
        mirror = self._mirror
        if self not in mirror.under_way:
            return
        mirror.under_way.discard(self)
        mirror.held -= self._original.size
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
        self._release()

    def _release(self) -> None:
        """Give endpoint and connection back. Its failures are left to the requests of clients."""
        endpoint, self._endpoint = self._endpoint, None
        connection, self._connection = self._connection, None
        if endpoint is None:
            return
        endpoint.leave(self)
        if connection is not None and not connection.closed:
            if self._status and connection.complete:
                endpoint.give(connection)
            else:
                connection.close()


def header_length(headers: list[tuple[bytes, bytes]]) -> int | None:
    """Bytes of JSON before the tensors of an answer, as `inference-header-content-length` says."""
    for name, value in headers:
        if name == b"inference-header-content-length" and value.isdigit():
            return int(value)
    return None
