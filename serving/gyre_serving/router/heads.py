"""Heads of model servers' answers, each read once: a server puts the same bytes before most of its answers."""

from gyre_serving.router.message import HOP_BY_HOP

_OURS = HOP_BY_HOP | {b"x-request-id", b"x-gyre-version", b"x-gyre-revision", b"x-gyre-feedback-id", b"x-gyre-fallback"}
_END = b"\r\n\r\n"
_NO_BODY = frozenset({204, 304})
LONGEST = 2048
MOST = 1024


class Head:
    """Status and headers of an answer, names in lower case."""

    __slots__ = ("headers", "length", "lines", "status")

    def __init__(self, status: int, headers: list[tuple[bytes, bytes]], length: int | None) -> None:
        self.status = status
        self.headers = headers
        self.length = length
        """The answer's length: bytes, -1 for chunked, None for until the end of the connection."""
        self.lines = b"".join([
            b"%b: %b\r\n" % (name, value)
            for name, value in headers
            if name not in _OURS and not (length == -1 and name == b"content-length")
        ])  # fmt: skip
        """Header lines for the client: without those of the connection, and those that the router sets."""


class Heads:
    """Heads by their bytes, of answers that came whole in one read over connections that stay."""

    def __init__(self) -> None:
        self._known: dict[bytes, Head] = {}

    def find(self, data: bytes) -> tuple[Head, bytes] | None:
        """The head and the body, where the data is one whole answer that begins with a head met before."""
        end = data.find(_END, 0, LONGEST) + len(_END)
        head = self._known.get(data[:end])
        return (head, data[end:]) if head is not None and len(data) - end == head.length else None

    def keep(self, data: bytes, head: Head) -> None:
        """Remember the head of data that the parser found to be one whole answer, if another may be told by it."""
        end = data.find(_END, 0, LONGEST) + len(_END)
        # Where an interim answer stands in front, the first head is not this one's.
        mine = data.startswith(b"HTTP/1.1 %d" % head.status) and head.status not in _NO_BODY
        if not mine or end < len(_END) or len(data) - end != head.length:
            return
        if len(self._known) >= MOST:
            self._known.clear()
        self._known[data[:end]] = head
