"""One connection to a model server: sends a request, hands the parsed answer to its exchange."""

import asyncio
from typing import Protocol, cast

import httptools

from gyre_serving.router.endpoints import Endpoint
from gyre_serving.router.heads import Head, Heads

CONNECT_SECONDS = 2.0
_PUNCTUAL_SECONDS = 0.1
"""How late a timer of a router that is not held up may be."""
MAX_ANSWER_HEAD = 65536
_heads = Heads()


class Receiver(Protocol):
    """Who takes the answer."""

    def on_head(self, head: Head) -> None:
        """Status and headers."""

    def on_piece(self, body: bytes) -> None:
        """A piece of the body."""

    def on_end(self) -> None:
        """The answer is whole."""

    def on_flush(self) -> None:
        """What was handed over so far came in one read: pass it on."""

    def on_broken(self, error: Exception | None) -> None:
        """The connection ended before the answer was whole."""


class UpstreamConnection(asyncio.Protocol):
    """asyncio protocol of an upstream connection; kept alive in its endpoint's pool between answers."""

    __slots__ = (
        "_fed", "_head", "_head_bytes", "_headers", "_parser", "_paused", "_receiver", "_status", "_transport",
        "_whole", "closed", "dirty", "endpoint", "fresh", "length", "started",
    )  # fmt: skip

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.closed = False
        self.dirty = False
        self._paused = False
        self.fresh = True
        """No answer came over it yet: its breaking is the endpoint's failure, not a stale keep-alive."""
        self.started = False
        """Bytes of the current answer came."""
        self.length: int | None = None
        """The answer's length: bytes, -1 for chunked, None for until the end of the connection."""
        self._receiver: Receiver | None = None
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._parser = httptools.HttpResponseParser(self)
        self._clear()

    def _clear(self) -> None:
        self._status = 0
        self._fed = False
        self._head: Head | None = None
        self._headers: list[tuple[bytes, bytes]] = []
        self._head_bytes = 0
        self._whole = False
        self.started = False
        self.length = None

    # for exchanges
    def send(self, receiver: Receiver, pieces: list[bytes]) -> None:
        """Send a whole request; its answer goes to `receiver`."""
        self._receiver = receiver
        self._clear()
        if len(pieces) == 1:
            self._transport.write(pieces[0])
        else:
            self._transport.writelines(pieces)

    @property
    def complete(self) -> bool:
        """Whether the whole answer came, so that the connection may carry another request."""
        return self._whole

    def pause(self) -> None:
        """Read no more: the client is slower than the model."""
        if not self.closed and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if not self.closed and self._paused:
            self._paused = False
            self._transport.resume_reading()

    def close(self) -> None:
        """Close; an exchange that still waited is not told."""
        self._receiver = None
        self.closed = True
        self._transport.abort()

    # asyncio
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Ended: an answer without a length is whole now, any other is broken."""
        self.closed = True
        receiver, self._receiver = self._receiver, None
        if receiver is None:
            self.endpoint.lost(self)
            return
        if self._status and self.started and self.length is None and exc is None:
            receiver.on_end()
        else:
            receiver.on_broken(exc)

    def data_received(self, data: bytes) -> None:
        """Parse; an answer that nobody asked for or that is no HTTP ends the connection."""
        receiver = self._receiver
        if receiver is None:
            self.close()
            return
        if not self._fed:
            found = _heads.find(data)
            if found is not None:
                self._take(receiver, *found)
                return
        first = not self._fed
        self._fed = True
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self.close()
            receiver.on_broken(error)
            return
        if self._whole:
            self._receiver = None
            self.fresh = False
            if self.dirty:
                self.close()
            elif first and self._head is not None:
                _heads.keep(data, self._head)
            receiver.on_end()
        else:
            receiver.on_flush()

    def _take(self, receiver: Receiver, head: Head, body: bytes) -> None:
        """Hand over a whole answer whose head is known."""
        self._status = head.status
        self.started = self._whole = True
        self.length = head.length
        self._receiver = None
        self.fresh = False
        receiver.on_head(head)
        if body:
            receiver.on_piece(body)
        receiver.on_end()

    # httptools
    def on_message_begin(self) -> None:
        """An answer begins; a second one in the same read is one too many."""
        if self._whole:
            self.dirty = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header; trailers are dropped."""
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > MAX_ANSWER_HEAD:
            raise ValueError("the answer's head is too large")
        if self.started:
            return
        name = name.lower()
        self._headers.append((name, value))
        if name == b"content-length":
            if self.length is None:
                self.length = int(value)
        elif name == b"transfer-encoding":
            self.length = -1

    def on_headers_complete(self) -> None:
        """The head is whole; interim answers (1xx) are skipped."""
        if self._whole:
            return
        self._status = self._parser.get_status_code()
        if self._status < 200:  # noqa: PLR2004  1xx
            return
        self.started = True
        if self._status in {204, 304}:
            self.length = 0
        self._head = Head(self._status, self._headers, self.length)
        if self._receiver is not None:
            self._receiver.on_head(self._head)

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        if self._receiver is not None and not self._whole:
            self._receiver.on_piece(body)

    def on_message_complete(self) -> None:
        """Whole, unless it was interim."""
        if not self.started:
            self._headers = []
            self.length = None
            return
        self._whole = True
        # Asked here, because the parser forgets it with the message.
        self.dirty = self.dirty or not self._parser.should_keep_alive()


class HeldUpError(TimeoutError):
    """This router itself stood still (no processor, a frozen node), which says nothing of the endpoint."""


async def connect(endpoint: Endpoint) -> UpstreamConnection:
    """A new connection to the endpoint.

    Raises:
        HeldUpError: when the time for it went by while this process was held up.
        OSError: when it refuses, or does not answer in `CONNECT_SECONDS`.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            _, connection = await loop.create_connection(
                lambda: UpstreamConnection(endpoint), endpoint.host, endpoint.port
            )
    except TimeoutError:
        if loop.time() - began > CONNECT_SECONDS + _PUNCTUAL_SECONDS:
            raise HeldUpError from None
        raise
    return connection
