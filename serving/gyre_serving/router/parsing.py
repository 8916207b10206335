"""Requests off the bytes of a connection, strictly: what two programs could read differently is refused."""

import logging
from abc import abstractmethod

import httptools

from gyre_serving.router.message import Refusal, Request

logger = logging.getLogger(__name__)

MAX_URL = 8192
MAX_HEAD = 32768
MAX_HEADERS = 100


class Parsing:
    """The part of a connection that puts a request together; httptools calls it."""

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._request: Request | None = None
        """The one that is coming in."""
        self._in_head = True
        self._head_bytes = 0
        self._repeated = 0
        self._limit = 0
        self._declared = 0
        self._unparsed = 0
        self._discarding = False

    @abstractmethod
    def on_message_complete(self) -> None:
        """The request is whole."""

    def on_url(self, url: bytes) -> None:
        """The request target, perhaps in pieces."""
        request = self._parsing()
        request.url += url
        if len(request.url) > MAX_URL:
            raise Refusal(414, f"the URL is longer than {MAX_URL} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header, or a trailer, which is dropped."""
        headers = self._parsing().headers
        if len(headers) + self._repeated >= MAX_HEADERS:
            raise Refusal(431, f"more than {MAX_HEADERS} headers")
        if not self._in_head:
            self._repeated += 1
            return
        key = name.lower()
        if key in headers:
            if key in _SINGLE:
                raise Refusal(400, f"header {key.decode()} stands twice")
            self._repeated += 1
            value = headers[key] + (b"; " if key == b"cookie" else b", ") + value
        headers[key] = value

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        request = self._parsing()
        request.length += len(body)
        if request.length > self._limit:
            raise too_large(self._limit)
        request.body.append(body)

    def _feed(self, data: bytes) -> None:
        while data and not self._discarding:
            if self._unparsed:
                data = self._take_unparsed(data)
                continue
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                # An offered upgrade may be ignored (RFC 9110, 7.8); what follows is plain HTTP/1.1.
                data = data[upgrade.args[0] :]
                if not self._unparsed:
                    self._parser = httptools.HttpRequestParser(self)
            else:
                return

    def _take_body(self) -> None:
        """The parser would only copy the rest of a body whose length is known: it goes by it."""
        if self._request is not None and self._declared:
            self._unparsed = self._declared - self._request.length

    def _take_unparsed(self, data: bytes) -> bytes:
        """Take a body that goes by the parser; what is left of the data comes back."""
        piece, rest = data[: self._unparsed], data[self._unparsed :]
        self.on_body(piece)
        self._unparsed -= len(piece)
        if not self._unparsed:
            self.on_message_complete()
            self._parser = httptools.HttpRequestParser(self)
        return rest

    def _parsing(self) -> Request:
        if self._request is None:
            raise Refusal(400, "bytes outside of a request")
        return self._request


_SINGLE = frozenset(
    {b"host", b"content-length", b"transfer-encoding", b"content-type", b"inference-header-content-length"}
)


def refusal_of(error: httptools.HttpParserError) -> Refusal:
    """The answer to what stopped the parser: a refusal of ours, a fault of ours, or malformed bytes."""
    cause = error.__context__
    if isinstance(cause, Refusal):
        return cause
    if isinstance(error, httptools.HttpParserCallbackError):
        logger.error("a request could not be handled", exc_info=cause)
        return Refusal(500, "the router failed on this request; its log says why")
    return Refusal(400, f"malformed HTTP request: {error}")


def too_large(limit: int) -> Refusal:
    """The answer to a body of more bytes."""
    return Refusal(413, f"the body is larger than the {limit} bytes that this service takes")


def check_head(request: Request, version: str) -> None:
    """What the parser lets by and two programs could read differently."""
    headers = request.headers
    if version not in {"1.1", "1.0"}:
        raise Refusal(505, "speak HTTP/1.1")
    if request.method == b"CONNECT":
        raise Refusal(405, "CONNECT is not served here")
    if version == "1.1" and b"host" not in headers:
        raise Refusal(400, "header host is missing")
    encoding = headers.get(b"transfer-encoding")
    if encoding is not None:
        if version == "1.0" or encoding.lower() != b"chunked":
            raise Refusal(501, "transfer-encoding: only chunked, and only over HTTP/1.1")
        request.chunked = True
    expect = headers.get(b"expect")
    if expect is not None:
        if expect.lower() != b"100-continue":
            raise Refusal(417, "expect: only 100-continue is known")
        request.expects = True
    request.chunked_answers = version == "1.1"
