"""One HTTP/2 connection of the gRPC port: calls side by side, bounded in number, in memory and in patience."""

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any, cast

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RemoteSettingsChanged,
    RequestReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings
from hyperframe.frame import GoAwayFrame

from gyre_serving.router.grpc.call import Call
from gyre_serving.router.grpc.frames import FloodError, Frames
from gyre_serving.router.grpc.metadata import Headers
from gyre_serving.router.message import Refusal, Request

if TYPE_CHECKING:
    from collections.abc import Callable

    from gyre_serving.router.data_port import DataPort

logger = logging.getLogger(__name__)

MOST_CALLS = 256
"""Calls at once on one connection; a client lets others wait."""
WINDOW = 65535
"""Bytes of a message that may come before its service is known (RFC 9113's default)."""
CONNECTION_WINDOW = 2**24
FRAME = 2**20
"""Largest frame: fewer frames cost less."""
MAX_HEAD = 32768
GREETING_SECONDS = 10.0
MESSAGE_SECONDS = 30.0
"""For a message to arrive."""
IDLE_SECONDS = 600.0
STALLED_SECONDS = 60.0
LINGER_SECONDS = 5.0
"""For the last bytes of a connection that ends: a client that does not read them keeps it no longer."""
HEADER_TABLE = 4096
"""Bytes of sent headers that are remembered, whatever the client would: each new one is sought among them all."""
MOST_WASTED = 500
"""Calls that a client may open and reset more often than it lets one end."""
_LAST_STREAM = 2**31 - 1
_CONFIG = H2Configuration(
    client_side=False,
    header_encoding=None,
    # `Call` reads metadata itself, more strictly; what we send is made of tables.
    validate_inbound_headers=False,
    normalize_inbound_headers=False,
    validate_outbound_headers=False,
    normalize_outbound_headers=False,
)


class GrpcConnection(asyncio.Protocol):
    """asyncio protocol of the gRPC port."""

    def __init__(self, port: "DataPort") -> None:
        self.port = port
        self.loop = port.loop
        self._h2 = H2Connection(_CONFIG)
        self._frames = Frames(MAX_HEAD, self.loop.time())
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._calls: dict[int, Call] = {}
        self._out: dict[int, tuple[memoryview, Headers]] = {}
        """Of each stream, what the client's window did not take yet."""
        self._consumed = 0
        self._wasted = 0
        self._feeding = False
        self._stalled = False
        self._last = _LAST_STREAM + 1
        """The last stream that the client was told would be answered, once it was told to go elsewhere."""
        self._due = 0.0
        """Loop time at which the sweeper closes; what it waits for is in the state."""
        self._on: dict[type[Event], Callable[[Any], None]] = {
            RequestReceived: self._open,
            DataReceived: self._data,
            StreamEnded: self._end,
            StreamReset: self._reset,
            WindowUpdated: self._push_all,
            RemoteSettingsChanged: self._settled,
            ConnectionTerminated: lambda _event: self._transport.close(),
        }

    # asyncio
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the settings."""
        self._transport = cast("asyncio.Transport", transport)
        self.port.connections.add(self)
        self._due = self.loop.time() + GREETING_SECONDS
        h2 = self._h2
        h2.local_settings = Settings(
            client=False,
            initial_values={
                SettingCodes.MAX_CONCURRENT_STREAMS: MOST_CALLS,
                SettingCodes.INITIAL_WINDOW_SIZE: WINDOW,
                SettingCodes.MAX_FRAME_SIZE: FRAME,
                SettingCodes.MAX_HEADER_LIST_SIZE: MAX_HEAD,
            },
        )
        # h2 looks at these two only when the client acknowledges a change, and there is none.
        h2.max_inbound_frame_size = FRAME
        h2.decoder.max_header_list_size = MAX_HEAD
        h2.initiate_connection()
        h2.increment_flow_control_window(CONNECTION_WINDOW)
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  every end is the same
        """The client is gone: stop what runs for it."""
        self.port.connections.discard(self)
        calls, self._calls = self._calls, {}
        self._out.clear()
        self._on.clear()  # they lead back here
        for call in calls.values():
            call.abandon()

    def data_received(self, data: bytes) -> None:
        """Parse; whatever is no HTTP/2 ends the connection."""
        self._feeding = True
        try:
            self._frames.take(data)
            for event in self._h2.receive_data(data):
                handler = self._on.get(type(event))
                if handler is not None:
                    handler(event)
        except FloodError as error:
            logger.debug("a gRPC connection is cut off: %s", error)
            self._calm()
        except ProtocolError as error:
            logger.debug("a gRPC connection broke the protocol: %s", error)
            self._close()
        except Exception:
            logger.exception("a gRPC connection could not be served")
            self._transport.abort()
        finally:
            self._feeding = False
        self._flush()

    def pause_writing(self) -> None:
        """The client does not read what it asked for: it is not to ask for more."""
        self._stalled = True
        self._due = self.loop.time() + STALLED_SECONDS
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """It reads again."""
        self._stalled = False
        self._due = 0.0
        self._transport.resume_reading()
        self._push_all()
        self._fall_idle()
        self._flush()

    # events
    def _open(self, event: RequestReceived) -> None:
        if self.outdated():
            # Nothing of this call was done, says its number: clients repeat it on a new connection by themselves.
            self._tell_to_leave(max(0, event.stream_id - 2))
            return
        call = Call(self, event.stream_id, self.loop.time() + MESSAGE_SECONDS)
        self._calls[event.stream_id] = call
        self._due = 0.0
        try:
            call.open(event.headers)
        except Refusal as refusal:
            call.refuse(refusal)

    def _data(self, event: DataReceived) -> None:
        self._consumed += event.flow_controlled_length
        if self._consumed >= CONNECTION_WINDOW // 2:
            self._h2.increment_flow_control_window(self._consumed)
            self._consumed = 0
        call = self._calls.get(event.stream_id)
        if call is None:
            return
        try:
            more = call.take(event.data) - WINDOW
        except Refusal as refusal:
            call.refuse(refusal)
        else:
            if more > 0 and not call.done:
                # Of a stream that was reset within the bytes that are handled just now h2 knows nothing any more.
                with contextlib.suppress(ProtocolError, KeyError):
                    self._h2.increment_flow_control_window(more, event.stream_id)

    def _end(self, event: StreamEnded) -> None:
        call = self._calls.get(event.stream_id)
        if call is None:
            return
        try:
            call.end()
        except Refusal as refusal:
            call.refuse(refusal)

    def _reset(self, event: StreamReset) -> None:
        self._out.pop(event.stream_id, None)
        call = self._calls.pop(event.stream_id, None)
        if call is None:
            return
        call.abandon()
        self._wasted += 1
        self._fall_idle()
        if self._wasted > MOST_WASTED:
            self._calm()

    def _settled(self, _event: RemoteSettingsChanged) -> None:
        encoder = self._h2.encoder
        encoder.header_table_size = min(encoder.header_table_size, HEADER_TABLE)
        self._fall_idle()
        self._push_all()

    # for calls
    def respond(self, call: Call, headers: Headers, message: bytes | None, trailers: Headers) -> None:
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
            self._calls.pop(call.stream, None)
            self._out.pop(call.stream, None)
        if not self._feeding:
            self._flush()

    def peer(self) -> str:
        """The client's address, for logs."""
        name = self._transport.get_extra_info("peername")
        return str(name[0]) if isinstance(name, tuple) else "local"

    def request(self) -> Request:
        """What a new call fills."""
        return Request()

    def outdated(self) -> bool:
        """Whether the client has to come anew, and show again who it is."""
        return False

    # for the sweeper
    def sweep(self, now: float) -> None:
        """Close what takes too long; tell the client to go elsewhere while the router drains."""
        self._frames.passed(now)
        if self._due and now >= self._due:
            self._transport.abort() if self._stalled or self._transport.is_closing() else self._leave()
            return
        for call in [one for one in self._calls.values() if one.due and now >= one.due]:
            self._late(call)
        if self.port.draining or self.outdated():
            self._tell_to_leave()
        if self.outdated():
            self.close_when_idle()

    def _tell_to_leave(self, last: int = _LAST_STREAM) -> None:
        """Calls up to the stream `last` are answered here. By hand: h2 would take nothing more."""
        if last < self._last:
            self._last = last
            self._transport.write(GoAwayFrame(last_stream_id=last).serialize())

    def _late(self, call: Call) -> None:
        if call.stream in self._out:  # the client opens no window for its answer
            self._out.pop(call.stream)
            self._calls.pop(call.stream)
            with contextlib.suppress(ProtocolError):
                self._h2.reset_stream(call.stream, ErrorCodes.CANCEL)
            self._flush()
        else:
            call.refuse(Refusal(408, "the message took too long to arrive"))

    def close_when_idle(self) -> None:
        """Draining: let go of a connection on which no call runs."""
        if not self._calls and not self._out:
            self._leave()

    def _leave(self) -> None:
        if not self._transport.is_closing():
            self._h2.close_connection()
            self._close()

    def _calm(self) -> None:
        """End it with the code that says why."""
        with contextlib.suppress(ProtocolError):  # it ended already
            self._h2.close_connection(ErrorCodes.ENHANCE_YOUR_CALM)
        self._close()

    def _close(self) -> None:
        """Let what was said reach the client, if it reads it soon."""
        self._flush()
        self._due = self.loop.time() + LINGER_SECONDS
        self._transport.close()

    def _ended(self, call: Call) -> None:
        """Everything of a call was handed to the transport.

        A client that still sends ends its stream when it reads the status. It is not reset besides: a reset close
        behind the status could be taken for the status.
        """
        self._calls.pop(call.stream, None)
        self._wasted = max(0, self._wasted - 1)
        self._fall_idle()

    def _fall_idle(self) -> None:
        if not self._calls and not self._stalled and not self._transport.is_closing():
            self._due = self.loop.time() + IDLE_SECONDS

    def _push_all(self, _event: object = None) -> None:
        for stream in list(self._out):
            try:
                self._push(stream)
            except ProtocolError:
                self._out.pop(stream, None)
                self._calls.pop(stream, None)

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
            if not self._feeding and len(left) > 0:
                self._flush()
        call = self._calls[stream]
        if left:
            self._out[stream] = left, trailers
            call.due = self.loop.time() + STALLED_SECONDS
            return
        del self._out[stream]
        h2.send_headers(stream, trailers, end_stream=True)
        self._ended(call)

    def _flush(self) -> None:
        data = self._h2.data_to_send()
        if data and not self._transport.is_closing():
            self._transport.write(data)
