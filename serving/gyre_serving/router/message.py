"""Requests as they were parsed, and the bytes of answers."""

from http import HTTPStatus
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from gyre_serving.router.auth.channel import Channel
    from gyre_serving.router.grpc.forms import Forms
    from gyre_serving.router.paths import Call

HOP_BY_HOP = frozenset({
    b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te",
    b"trailer", b"transfer-encoding", b"upgrade", b"http2-settings",
})  # fmt: skip
"""Headers that belong to one connection (RFC 9110, 7.6.1)."""

_STATUS = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
JSON = b"content-type: application/json\r\n"


def status_line(status: int) -> bytes:
    """The status line, for unknown codes without a phrase."""
    return _STATUS.get(status) or b"HTTP/1.1 %d \r\n" % status


class Request:
    """One request of the data port. Header names are lower case, as bytes."""

    __slots__ = (
        "arrived", "body", "call", "chunked", "chunked_answers", "error", "expects", "forms", "headers", "identity",
        "keep_alive", "length", "method", "split", "url",
    )  # fmt: skip

    channel: "Channel | None" = None
    """Who sent it, where it came over TLS; of the class, so that others do not pay for it."""

    def __init__(self) -> None:
        self.method = b""
        self.url = b""
        self.headers: dict[bytes, bytes] = {}
        self.body: list[bytes] = []
        self.forms: Forms | None = None
        """What becomes the body, of a request that came over gRPC."""
        self.split = b""
        """What a model of sequences is split by: what it has in common with the requests before and after it."""
        self.length = 0
        self.call: Call | None = None
        """What the URL asks for, once it was looked at."""
        self.chunked = False
        self.keep_alive = True
        self.chunked_answers = True
        """False for HTTP/1.0 clients, which know no chunks."""
        self.expects = False
        self.arrived = 0.0
        """When its last byte came, on the monotonic clock."""
        self.identity = b""
        """Answer header line with the request's id, once it is known."""
        self.error: Refusal | None = None
        """Answer this instead, and close."""

    def content(self) -> bytes:
        """The whole body."""
        return self.body[0] if len(self.body) == 1 else b"".join(self.body)


class Refusal(Exception):  # noqa: N818  an answer, not a fault of the program
    """An answer that the router gives itself: status, and one sentence that names what to change."""

    def __init__(self, status: int, sentence: str, *, retry_after: int | None = None) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence
        self.retry_after = retry_after

    def headers(self) -> bytes:
        """Extra header lines."""
        return b"" if self.retry_after is None else b"retry-after: %d\r\n" % self.retry_after

    def body(self) -> bytes:
        """The V2 protocol's error document."""
        # A sentence may quote what a client sent, lone surrogates included.
        return orjson.dumps({"error": self.sentence.encode("utf-8", "backslashreplace").decode()})


def answer(status: int, body: bytes, *, extra: bytes = b"", close: bool = False) -> bytes:
    """A whole answer with a JSON body."""
    return b"".join(
        (
            status_line(status),
            JSON,
            extra,
            b"connection: close\r\n" if close else b"",
            b"content-length: %d\r\n\r\n" % len(body),
            body,
        )
    )
