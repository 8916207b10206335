"""One client of the small HTTP server: bytes in, requests out, answers back in order."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from http import HTTPStatus
from typing import TYPE_CHECKING, cast

import httptools

from gyre_serving.pod.messages import Answer, Request

if TYPE_CHECKING:
    from gyre_serving.pod.http import Server

_HEADER_LIMIT = 64
_HEADER_BYTES = 32768
_IDLE_SECONDS = 75.0
_PIPELINE = 8

_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode()
    for status in HTTPStatus
    if status >= HTTPStatus.OK
}


class Connection(asyncio.Protocol):
    """One client: requests are answered in their order, one at a time."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._parser = httptools.HttpRequestParser(self)
        self._queue: deque[tuple[Request, bool]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._broken = False
        self._begin()

    def _begin(self) -> None:
        self._url = b""
        self._headers: dict[str, str] = {}
        self._header_bytes = 0
        self._header_count = 0
        self._body: list[bytes] = []
        self._size = 0

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but ancestry
        self._server.connections.add(self)
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone; an answer under way is dropped, the model's work is not."""
        del exc
        self._server.connections.discard(self)
        self._server.emptied.set()
        self._disarm()
        self._queue.clear()

    def eof_received(self) -> bool:
        """The client sends no more; answers under way still reach it."""
        return self._task is not None

    def data_received(self, data: bytes) -> None:
        """Bytes of the client."""
        if self._broken:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse(HTTPStatus.BAD_REQUEST, "no other protocol is spoken here than HTTP/1.1")
        except httptools.HttpParserError as error:
            cause = error.__context__
            if isinstance(cause, _Refused):
                self._refuse(cause.status, cause.message)
            else:
                self._refuse(HTTPStatus.BAD_REQUEST, "the request is no valid HTTP/1.1")

    # httptools' callbacks

    def on_message_begin(self) -> None:
        """A request begins."""
        self._begin()

    def on_url(self, url: bytes) -> None:
        """A part of the request's target."""
        self._url += url
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header."""
        self._count(len(name) + len(value))
        self._header_count += 1
        if self._header_count > _HEADER_LIMIT:
            raise _Refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"at most {_HEADER_LIMIT} headers are read")
        self._headers.setdefault(name.decode("latin-1").lower(), value.decode("latin-1"))

    def on_headers_complete(self) -> None:
        """The headers are there."""
        if self._headers.get("expect", "").lower() == "100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._size += len(body)
        if self._size > self._server.max_body:
            raise _Refused(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body exceeds {self._server.max_body} bytes; send fewer rows"
            )
        self._body.append(body)

    def on_message_complete(self) -> None:
        """A request is whole."""
        path = httptools.parse_url(self._url).path or b"/"
        self._url = b""
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        method = self._parser.get_method().decode("latin-1")
        request = Request(method, path.decode("latin-1"), self._headers, body)
        self._queue.append((request, bool(self._parser.should_keep_alive())))
        self._disarm()
        if len(self._queue) > _PIPELINE:
            self._transport.pause_reading()
        if self._task is None:
            self._task = self._loop.create_task(self._answer_all())

    # answers

    async def _answer_all(self) -> None:
        while self._queue:
            request, keep_alive = self._queue.popleft()
            try:
                answer = await self._server.handler(request)
            except Exception as error:  # noqa: BLE001  a handler's bug costs one request, never the server
                answer = Answer(500, b'{"error":"internal error: %s"}' % type(error).__name__.encode())
            keep_alive = keep_alive and not self._server.draining
            self._write(answer, keep_alive=keep_alive, head=request.method == "HEAD")
            if not keep_alive:
                self._transport.close()
                break
            if len(self._queue) <= _PIPELINE:
                self._transport.resume_reading()
        self._task = None
        self._arm()

    def _write(self, answer: Answer, *, keep_alive: bool, head: bool = False) -> None:
        extra = "".join(f"{name}: {value}\r\n" for name, value in answer.headers.items())
        closing = "" if keep_alive else "connection: close\r\n"
        start = (
            f"content-type: {answer.content_type}\r\ncontent-length: {len(answer.body)}\r\n{extra}{closing}\r\n"
        ).encode("latin-1")
        if not self._transport.is_closing():
            self._transport.write(_LINES[answer.status] + start + (b"" if head else answer.body))

    def _refuse(self, status: int, message: str) -> None:
        """Answer that the bytes cannot be read; behind them nothing can be trusted, so the connection ends."""
        self._broken = True
        self._queue.clear()
        self._write(Answer(status, b'{"error":"%s"}' % message.encode()), keep_alive=False)
        self._transport.close()

    # ends

    def close_if_idle(self) -> None:
        """Close unless a request is being received or answered."""
        if self._task is None and not self._url:
            self._transport.close()

    def abort(self) -> None:
        """Drop the connection."""
        if self._task is not None:
            self._task.cancel()
        self._transport.abort()

    def _count(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > _HEADER_BYTES:
            raise _Refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"headers exceed {_HEADER_BYTES} bytes")

    def _arm(self) -> None:
        self._timer = self._loop.call_later(_IDLE_SECONDS, self._expire)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        with contextlib.suppress(RuntimeError):
            self._transport.close()


class _Refused(Exception):  # noqa: N818  an answer, not an error of the program
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = int(status)
        self.message = message
