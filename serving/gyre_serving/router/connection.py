"""One client connection of the data port: parses strictly, answers in order, and closes what misbehaves."""

import asyncio
from collections import deque
from time import monotonic
from typing import cast

import httptools

from gyre_serving.router.jobs import Handler, Job
from gyre_serving.router.message import Refusal, Request, answer
from gyre_serving.router.parsing import MAX_HEAD, Parsing, check_head, refusal_of, too_large

MAX_PIPELINED = 16
IDLE_SECONDS = 75.0
HEAD_SECONDS = 10.0
STALLED_SECONDS = 60.0
LINGER_SECONDS = 1.0
_FALLEN_IDLE = -1.0
"""Deadline of a connection that just fell idle: the sweeper sets the real one, so no request reads a clock for it."""


class ClientConnection(Parsing, asyncio.Protocol):
    """asyncio protocol of the data port."""

    def __init__(self, handler: Handler) -> None:
        super().__init__()
        self._handler = handler
        self._loop = handler.loop
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._now = 0.0
        self._closed = False
        self._reading = True
        self._ended = False
        self._stalled = False
        self._met = False
        """Who sends the body that comes in was looked at."""
        self._held = False
        """What it sends is left unread meanwhile."""
        self._waiting: deque[Request] = deque()
        self._current: Request | None = None
        self._job: Job | None = None
        self.deadline = 0.0
        """Loop time at which the sweeper closes the connection; what it waits for is in the state."""

    # asyncio
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Register with the sweeper."""
        self._transport = cast("asyncio.Transport", transport)
        self._handler.connections.add(self)
        self.deadline = monotonic() + IDLE_SECONDS

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  every end is the same
        """The client is gone: stop what runs for it."""
        self._handler.connections.discard(self)
        self._waiting.clear()
        job, self._job = self._job, None
        if job is not None:
            job.abandon()
        # The parser and this hold each other for longer than a body should stay.
        self._current = self._request = None

    def eof_received(self) -> bool:
        """A client may close its half and still wait for answers."""
        self._ended = True
        return self._current is not None or bool(self._waiting)

    def data_received(self, data: bytes) -> None:
        """Parse; everything malformed ends in one answer and a closed connection."""
        if self._discarding:
            return
        self._now = monotonic()
        if self._in_head:
            self._head_bytes += len(data)
        try:
            self._feed(data)
        except httptools.HttpParserError as error:
            self._refuse(refusal_of(error))
        else:
            if not self._in_head:
                self._take_body()
                if not self._met:
                    self._meet()
            elif self._head_bytes > MAX_HEAD:
                self._refuse(Refusal(431, f"the request's head is larger than {MAX_HEAD} bytes"))
        if len(self._waiting) >= MAX_PIPELINED:
            self._stop_reading()

    def pause_writing(self) -> None:
        """The client does not read what it asked for."""
        self._stalled = True
        self.deadline = monotonic() + STALLED_SECONDS
        # Who does not read answers is not to ask for more: they would pile up here.
        self._stop_reading()
        if self._job is not None:
            self._job.pause()

    def resume_writing(self) -> None:
        """It reads again."""
        self._stalled = False
        if self._request is not None:
            self.deadline = monotonic() + HEAD_SECONDS
        else:
            self.deadline = _FALLEN_IDLE if self.idle() else 0.0
        if self._job is not None:
            self._job.resume()
        self._read_on()
        self._next()

    # httptools
    def on_message_begin(self) -> None:
        """A new request."""
        self._request = Request()
        self._in_head = True
        self._met = False
        self._repeated = 0
        if not self._stalled:
            self.deadline = self._now + HEAD_SECONDS

    def on_headers_complete(self) -> None:
        """The head is whole: refuse what need not send a body."""
        request = self._parsing()
        self._in_head = False
        self._head_bytes = 0
        request.method = self._parser.get_method()
        request.keep_alive = self._parser.should_keep_alive()
        check_head(request, self._parser.get_http_version())
        self._limit, patience = self._handler.body_limits(request)
        declared = self._declared = int(request.headers.get(b"content-length", b"0"))
        if declared > self._limit:
            raise too_large(self._limit)
        if (declared or request.chunked) and not self._stalled:
            self.deadline = self._now + patience

    def on_message_complete(self) -> None:
        """The request is whole: run it, or line it up behind the one that runs."""
        request = self._parsing()
        if self._parser.should_upgrade():
            if request.chunked:
                raise Refusal(501, "a chunked body cannot follow an offered upgrade; leave the upgrade header out")
            if not request.body and self._declared:
                # The parser skips the body of a request that offers an upgrade; `_feed` takes it from here.
                self._unparsed = self._declared
                return
        self._request = None
        request.arrived = self._now
        self._in_head = True
        if not self._stalled:
            self.deadline = 0.0
        if self._current is None and not self._waiting and not self._stalled and not self._closed:
            self._start(request)
        else:
            self._enqueue(request)

    # for jobs
    def write(self, data: bytes) -> None:
        """Send bytes of the current answer."""
        self._transport.write(data)

    def writelines(self, data: list[bytes]) -> None:
        """Send pieces of the current answer."""
        self._transport.writelines(data)

    def closes(self, request: Request) -> bool:
        """Whether the answer to the request must be the connection's last."""
        return not request.keep_alive or self._handler.draining

    def finish(self, *, close: bool) -> None:
        """The current answer is written."""
        self._job = None
        self._current = None
        if close:
            self._close(refused=self._discarding)
        elif self._waiting:
            self._loop.call_soon(self._next)
        elif self._ended:
            self._transport.close()
        elif self._request is None and not self._stalled:
            self.deadline = _FALLEN_IDLE

    def abort(self) -> None:
        """Cut the connection: the client must see that the answer is not whole."""
        self._job = None
        self._transport.abort()

    # for the sweeper
    def idle(self) -> bool:
        """Whether nothing is being sent, run or answered."""
        return self._current is None and not self._waiting and self._request is None

    def sweep(self, now: float) -> None:
        """Close the connection when what it waits for took too long."""
        if self.deadline == _FALLEN_IDLE:
            self.deadline = now + IDLE_SECONDS
        if not self.deadline or now < self.deadline:
            return
        if self.idle() or self._discarding or self._stalled:
            self._transport.abort()
        else:
            self._refuse(Refusal(408, "the request took too long to arrive"))

    def close_when_idle(self) -> None:
        """Draining: let go of a connection that asks nothing."""
        if self.idle():
            self._transport.close()

    def peer(self) -> str:
        """The client's address, for logs."""
        name = self._transport.get_extra_info("peername")
        return str(name[0]) if isinstance(name, tuple) else "local"

    def _meet(self) -> None:
        """A body begins, of which most may be under way: read on once its sender is known."""
        request = self._request
        self._met = True
        if request is None:
            return
        try:
            doubt = self._handler.in_doubt(request, self)
        except Refusal as refusal:
            self._refuse(refusal)
            return
        if doubt is not None:
            self._held = True
            self._stop_reading()
            doubt.add_done_callback(lambda _: self._meet_again(request))
        elif request.expects and self._current is None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _meet_again(self, request: Request) -> None:
        """Nothing is in doubt any more, or this request is not: it came whole, was given up, or its client is gone."""
        if self._transport.is_closing():
            return
        self._held = False
        if self._request is request:
            self._meet()
        self._read_on()

    def _enqueue(self, request: Request) -> None:
        if self._closed:
            return  # the last answer is out; what still came behind it was not wanted
        self._waiting.append(request)
        if self._current is None and len(self._waiting) == 1:
            self._next()

    def _next(self) -> None:
        if self._current is not None or not self._waiting or self._stalled or self._closed:
            return
        request = self._waiting.popleft()
        self._read_on()
        self._start(request)

    def _stop_reading(self) -> None:
        if self._reading:
            self._reading = False
            self._transport.pause_reading()

    def _read_on(self) -> None:
        """Take requests again, unless as many wait as may, their answers would not be read, or one is in doubt."""
        if not self._reading and not self._stalled and not self._held and len(self._waiting) < MAX_PIPELINED // 2:
            self._reading = True
            self._transport.resume_reading()

    def _start(self, request: Request) -> None:
        self._current = request
        if request.error is not None:
            self.write(answer(request.error.status, request.error.body(), extra=request.error.headers(), close=True))
            self.finish(close=True)
            return
        job = self._handler.handle(request, self)
        if self._current is request:
            self._job = job

    def _refuse(self, refusal: Refusal) -> None:
        """Answer behind everything that came before, read no more, close."""
        request, self._request = Request(), None
        request.error = refusal
        self._discarding = True
        self._in_head = False
        if self._held:
            self._held = False
            self._read_on()  # else the client would see a reset instead of the answer
        if not self._stalled:
            self.deadline = 0.0  # what runs before it has a deadline of its own
        self._enqueue(request)

    def _close(self, *, refused: bool) -> None:
        """Close after the answer left; a client still sending would otherwise see a reset instead of it."""
        self._discarding = True
        self._closed = True
        self._waiting.clear()
        if not refused:
            self._transport.close()
            return
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self.deadline = monotonic() + LINGER_SECONDS
        self._loop.call_later(LINGER_SECONDS, self._transport.close)
