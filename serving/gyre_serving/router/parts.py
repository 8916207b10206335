"""The parts of one call of many rows while they are asked: side by side, halved where they fail, collected."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from gyre_serving.router.exchange import Exchange
from gyre_serving.router.message import Refusal, Request
from gyre_serving.router.orders import Compose
from gyre_serving.router.passage import Passage
from gyre_serving.router.paths import Ask, Call
from gyre_serving.router.rows import Answers, Rows
from gyre_serving.router.tensors import parse

EXTRA = 128
"""Requests of one call beyond its parts, to find the rows that make parts fail."""
PATIENCE = 3
"""Parts that nobody takes before the rest is given up."""
OK = 200
_FAILED_BY_ROWS = frozenset({400, 413, 422, 500})
_UNREACHABLE = frozenset({502, 503, 504})


class Part(NamedTuple):
    """Rows that are asked together."""

    first: int
    rows: int
    extra: bool = False
    """Half of one that failed: no evidence, for the whole was counted."""

    def halves(self) -> "tuple[Part, Part]":
        """Both halves."""
        half = self.rows // 2
        return Part(self.first, half, extra=True), Part(self.first + half, self.rows - half, extra=True)


class _Recipient:
    """Takes a part's answer in a client's stead."""

    __slots__ = ("_ended", "_peer", "_text")

    def __init__(self, peer: str, ended: Callable[[int, bytes], None]) -> None:
        self._peer = peer
        self._ended = ended
        self._text = b""

    def write(self, data: bytes) -> None:
        self._text += data

    def writelines(self, data: list[bytes]) -> None:
        self._text += b"".join(data)

    def closes(self, _request: Request) -> bool:
        return False

    def peer(self) -> str:
        return self._peer

    def abort(self) -> None:
        self._ended(502, Refusal(502, "the model server broke off its answer").body())

    def finish(self, *, close: bool) -> None:  # noqa: ARG002  nothing is kept open
        head, _, body = self._text.partition(b"\r\n\r\n")
        self._ended(int(head.split(b" ", 2)[1]), body)


@dataclass(slots=True)
class Batch:
    """One call under way."""

    passage: Passage
    rows: Rows
    compose: Compose
    loop: asyncio.AbstractEventLoop
    ended: Callable[["Batch"], None]
    warning: bytes = b""
    """Header line for a request that does not fit the signature and is asked all the same."""
    waiting: deque[Part] = field(default_factory=deque)
    running: dict[int, Exchange] = field(default_factory=dict)
    failed: dict[int, Refusal] = field(default_factory=dict)
    """By row."""
    answers: Answers = field(init=False)
    parts: list[dict[str, object]] = field(default_factory=list)
    extra: int = EXTRA
    unreached: int = 0
    cancelled: bool = False

    def __post_init__(self) -> None:
        """Cut the rows."""
        self.answers = Answers(self.rows.count)

    # the client's side
    def abandon(self) -> None:
        """The client went away: nobody wants the rest."""
        self.cancelled = True
        self.passage.job = None  # they hold each other, rows and all
        self.waiting.clear()
        for exchange in list(self.running.values()):
            exchange.abandon()
        self.running.clear()

    def pause(self) -> None:
        """Nothing is sent before all is known."""

    def resume(self) -> None:
        """See `pause`."""

    # parts
    def advance(self) -> None:
        """Ask as many parts as may run at once; without any left, answer."""
        if self.cancelled:
            return
        most = self.passage.service.route.batch.concurrency
        while self.waiting and len(self.running) < most:
            self._ask(self.waiting.popleft())
        if not self.waiting and not self.running:
            self.cancelled = True
            self.ended(self)

    def _ask(self, part: Part) -> None:
        if self.unreached >= PATIENCE:
            self._fail(part, Refusal(503, f"not asked: the model server took none of {PATIENCE} parts before"))
            return
        try:
            exchange = self._exchange(part)
            self.running[part.first] = exchange
            exchange.start()
        except Refusal as refusal:
            self.running.pop(part.first, None)
            self._fail(part, refusal)

    def _exchange(self, part: Part) -> Exchange:
        whole = self.passage
        request = Request()
        request.headers = whole.request.headers
        request.body = [self.rows.body(part.first, part.rows)]
        request.arrived = time.monotonic()
        call = Call(Ask.INFER, whole.call.service, whole.call.version, b"/infer")
        peer = whole.client.peer()
        recipient = _Recipient(peer, lambda status, body: self._answered(part, status, body))
        passage = Passage(call, request, recipient, whole.service, self._id(part))
        passage.revision, passage.propensity = whole.revision, whole.propensity
        passage.directed = whole.directed or part.extra
        self.compose(passage)
        order = passage.order
        order.stand_ins = None  # one revision answers the whole call
        order.done = None  # the call is told once
        order.translate = lambda status, body: (status, body)
        exchange = Exchange(order, recipient, self.loop)
        exchange.too_large = 413  # fewer rows have a smaller answer
        return exchange

    def _id(self, part: Part) -> str:
        return f"{self.passage.request_id}.{part.first}"

    def _answered(self, part: Part, status: int, body: bytes) -> None:
        self.running.pop(part.first, None)
        # Not from here: a refusal comes back at once, and its follower's would be one deeper.
        self.loop.call_soon(self.advance)
        self.unreached = self.unreached + 1 if status in _UNREACHABLE else 0
        if status != OK:
            self._refused(part, Refusal(status, _sentence(body)))
            return
        try:
            self.answers.add(part.first, part.rows, body)
        except Refusal as refusal:
            self._fail(part, refusal)
            return
        said: dict[str, object] = {"first": part.first, "rows": part.rows, "id": self._id(part)}
        feedback_id = self.compose.feedback_id(self.passage.service, self._id(part))
        self.parts.append(said if feedback_id is None else said | {"feedback_id": feedback_id})

    def _refused(self, part: Part, refusal: Refusal) -> None:
        """One row may fail a part: its halves are asked, while there is something left for that."""
        if refusal.status in _FAILED_BY_ROWS and part.rows > 1 and self.extra >= 2:  # noqa: PLR2004  two halves
            self.extra -= 2
            self.waiting.extendleft(reversed(part.halves()))
        else:
            self._fail(part, refusal)

    def _fail(self, part: Part, refusal: Refusal) -> None:
        told = Refusal(refusal.status, refusal.sentence)  # without the frames of the one that was raised
        self.failed |= dict.fromkeys(range(part.first, part.first + part.rows), told)


def _sentence(body: bytes) -> str:
    try:
        return str(parse(body).document["error"])[:1000]
    except (Refusal, KeyError, TypeError):
        return "the model server refused the row without a reason"
