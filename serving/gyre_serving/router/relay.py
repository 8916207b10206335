"""The answer on its way to the client: its head rewritten, its pieces passed on, a copy kept where one is wanted."""

import logging
from time import monotonic

from gyre_serving.router.access import FAILED, Ending
from gyre_serving.router.heads import Head
from gyre_serving.router.message import Refusal, answer, status_line
from gyre_serving.router.mirror import header_length
from gyre_serving.router.order import Order, Recipient, Translate

logger = logging.getLogger(__name__)

COLLECT_LIMIT = 8 * 2**20
"""Largest answer kept for translation or for the payload log."""
JOINED = 16384
"""Bodies below this are sent in one piece with their heads: a copy costs less than a second buffer."""


class Relay:
    """Passes one answer on."""

    __slots__ = (
        "_client", "_held", "_json_length", "_order", "_out", "_size", "_streaming", "_until_close", "answering",
        "status", "too_large",
    )  # fmt: skip

    def __init__(self, order: Order, client: Recipient) -> None:
        self._order = order
        self._client = client
        self._out: list[bytes] = []
        self._held: list[bytes] | None = [] if order.collect or order.translate or order.mirror else None
        self._json_length: int | None = None
        self._size = 0
        self._streaming = False
        self._until_close = False
        self.answering = False
        self.status = 0
        self.too_large = 502
        """What an answer beyond `COLLECT_LIMIT` becomes where it is to be translated."""

    def on_head(self, head: Head) -> None:
        """Rewrite the head: hop-by-hop headers go, the contract's headers come."""
        self.status = head.status
        if self._held is not None:
            self._json_length = header_length(head.headers)
        if self._order.translate is not None:
            return
        request = self._order.request
        length = head.length
        self.answering = True
        lines = [status_line(head.status), self._order.answer_headers, head.lines]
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
