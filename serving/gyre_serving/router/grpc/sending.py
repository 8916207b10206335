"""The answers of a connection's calls on their way out: as fast as the client's windows and its reading let them."""

from abc import abstractmethod
from typing import TYPE_CHECKING, cast

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.exceptions import ProtocolError

from gyre_serving.router.grpc.frames import Frames, QuietBuffer
from gyre_serving.router.grpc.metadata import Headers

if TYPE_CHECKING:
    import asyncio

    from gyre_serving.router.data_port import DataPort
    from gyre_serving.router.grpc.budget import Budget
    from gyre_serving.router.grpc.call import Call

MAX_HEAD = 32768
STALLED_SECONDS = 60.0
LONGEST_SECONDS = 600.0
"""For a client to take an answer, however steadily it takes a little of it."""
_LARGE = 65536
"""Bytes after which the transport says whether the client still reads."""
_CONFIG = H2Configuration(
    client_side=False,
    header_encoding=None,
    # `Call` reads metadata itself, more strictly; what we send is made of tables.
    validate_inbound_headers=False,
    normalize_inbound_headers=False,
    validate_outbound_headers=False,
    normalize_outbound_headers=False,
)


class Sending:
    """The part of a connection that sends."""

    def __init__(self, port: "DataPort", budget: "Budget") -> None:
        self.port = port
        self.budget = budget
        self.loop = port.loop
        self._h2 = H2Connection(_CONFIG)
        self._h2.incoming_buffer = QuietBuffer(server=True)
        self._frames = Frames(MAX_HEAD, self.loop.time())
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._calls: dict[int, Call] = {}
        self._out: dict[int, tuple[memoryview, Headers | None]] = {}
        """Of each stream, what the client's window did not take yet, and its end unless more is to come."""
        self._wasted = 0
        self._feeding = False
        self._stalled = False

    def _forget(self, stream: int) -> "Call | None":
        """Hold nothing of a call any more; the call, where there was one."""
        self._out.pop(stream, None)
        call = self._calls.pop(stream, None)
        if call is not None:
            call.release()
        return call

    def _lose(self, stream: int) -> None:
        """Nobody takes the rest of a call's answers: end what runs for it too, and its clock."""
        call = self._forget(stream)
        if call is not None:
            call.abandon()

    @abstractmethod
    def _fall_idle(self) -> None:
        """A call ended, perhaps the last one."""

    def respond(self, call: "Call", headers: Headers, message: bytes | None, trailers: Headers) -> None:
        """Send an answer: a head, a message where there is one, trailers."""
        if self._calls.get(call.stream) is not call:
            return  # the client is gone
        try:
            if message is None:
                self._h2.send_headers(call.stream, headers + trailers, end_stream=True)
                self._ended(call)
            else:
                self._h2.send_headers(call.stream, headers)
                whole = b"\0" + len(message).to_bytes(4, "big") + message
                self._out[call.stream] = memoryview(whole), trailers
                self._push(call.stream)
        except ProtocolError:  # the stream or the connection was closed within the bytes that are handled just now
            self._lose(call.stream)
        if not self._feeding:
            self._flush()

    def send(self, call: "Call", headers: Headers, message: bytes) -> None:
        """Send one answer of several; the headers before the first of them."""
        if self._calls.get(call.stream) is not call:
            return
        try:
            if headers:
                self._h2.send_headers(call.stream, headers)
            self._frames.answered()
            self._wasted = max(0, self._wasted - 1)
            self._out[call.stream] = memoryview(b"\0" + len(message).to_bytes(4, "big") + message), None
            self._push(call.stream)
        except ProtocolError:  # see respond
            self._lose(call.stream)
        if not self._feeding:
            self._flush()

    def end(self, call: "Call", trailers: Headers) -> None:
        """End a call that was answered in part: behind what the client has not taken yet."""
        if self._calls.get(call.stream) is not call:
            return
        if call.stream in self._out:
            self._out[call.stream] = self._out[call.stream][0], trailers
            return
        try:
            self._h2.send_headers(call.stream, trailers, end_stream=True)
            self._ended(call)
        except ProtocolError:  # see respond
            self._lose(call.stream)
        if not self._feeding:
            self._flush()

    def _push_all(self, _event: object = None) -> None:
        for stream in list(self._out):
            try:
                if stream in self._out:
                    self._push(stream)
            except ProtocolError:
                self._lose(stream)

    def _push(self, stream: int) -> None:
        """Send as much of an answer as the client's window takes, and its end."""
        h2, (left, trailers) = self._h2, self._out[stream]
        while left and not self._stalled:
            size = min(len(left), h2.local_flow_control_window(stream), h2.max_outbound_frame_size)
            if size <= 0:
                break
            h2.send_data(stream, left[:size])
            self._frames.sent(size)
            left = left[size:]
            if left or size >= _LARGE:
                self._flush()  # within what came too: a window may let hundreds of answers go at once
        call = self._calls[stream]
        if left:
            self._out[stream] = left, trailers
            now = self.loop.time()
            call.until = call.until or now + LONGEST_SECONDS
            call.due = min(now + STALLED_SECONDS, call.until)
            return
        del self._out[stream]
        if trailers is None:
            call.sent()
            return
        h2.send_headers(stream, trailers, end_stream=True)
        self._ended(call)

    def _flush(self) -> None:
        data = self._h2.data_to_send()
        if data and not self._transport.is_closing():
            self._transport.write(data)

    def _ended(self, call: "Call") -> None:
        """Everything of a call was handed to the transport.

        A client that still sends ends its stream when it reads the status. It is not reset besides: a reset close
        behind the status could be taken for the status.
        """
        self._forget(call.stream)
        self._wasted = max(0, self._wasted - 1)
        self._fall_idle()
