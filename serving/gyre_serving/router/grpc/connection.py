"""One HTTP/2 connection of the gRPC port: calls side by side, bounded in number, in memory and in patience."""

import asyncio
import contextlib
import logging
from collections import deque
from typing import TYPE_CHECKING, Any, cast

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

from gyre_serving.router.grpc.budget import CONNECTION_BYTES, WINDOW, Budget
from gyre_serving.router.grpc.call import Call
from gyre_serving.router.grpc.frames import FloodError
from gyre_serving.router.grpc.leaving import Leaving
from gyre_serving.router.grpc.methods import STREAM
from gyre_serving.router.grpc.sending import MAX_HEAD, STALLED_SECONDS
from gyre_serving.router.grpc.stream import StreamCall
from gyre_serving.router.message import Refusal, Request

if TYPE_CHECKING:
    from collections.abc import Callable

    from gyre_serving.router.data_port import DataPort

logger = logging.getLogger(__name__)

MOST_CALLS = 256
"""Calls at once on one connection; a client lets others wait."""
CONNECTION_WINDOW = 2**24
FRAME = 2**20
"""Largest frame: fewer frames cost less."""
GREETING_SECONDS = 10.0
MESSAGE_SECONDS = 30.0
"""For a message to arrive."""
HEADER_TABLE = 4096
"""Bytes of sent headers that are remembered, whatever the client would: each new one is sought among them all."""
MOST_WASTED = 500
"""Calls that a client may open and reset more often than it lets one end."""


class GrpcConnection(Leaving, asyncio.Protocol):
    """asyncio protocol of the gRPC port."""

    def __init__(self, port: "DataPort", budget: Budget) -> None:
        super().__init__(port, budget)
        self._consumed = 0
        self._opened = 0
        """Bytes of the windows that are open for messages larger than `WINDOW`."""
        self._waiting: deque[Call] = deque()
        """Calls whose windows are to be opened."""
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
        self._waiting.clear()
        for call in calls.values():
            call.abandon()
            call.release()

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
        kind = StreamCall if (b":path", STREAM) in event.headers else Call
        call = kind(self, event.stream_id, self.loop.time() + MESSAGE_SECONDS)
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
            call.take(event.data)
        except Refusal as refusal:
            call.refuse(refusal)

    # for calls
    def let_come(self, call: Call, size: int) -> None:
        """A message of so many bytes is wanted: let it come as soon as there is room."""
        if size > WINDOW and not call.done:
            call.wanted = size - WINDOW
            self._waiting.append(call)
            self._open_windows()
            if not self._feeding:
                self._flush()

    def let_follow(self, call: Call, size: int) -> None:
        """A message of so many bytes has its answer: its like may follow."""
        self._opened -= call.opened
        call.opened = 0
        if not call.ended and not self.leaving():
            with contextlib.suppress(ProtocolError, KeyError):
                self._h2.increment_flow_control_window(min(size, WINDOW), call.stream)
        self._open_windows()
        if not self._feeding:
            self._flush()

    def _open_windows(self) -> None:
        """Let messages come as far as the connection's bytes go, in the order of their calls."""
        while self._waiting:
            call = self._waiting[0]
            if self._opened and self._opened + call.wanted > CONNECTION_BYTES:
                return
            self._opened += call.wanted
            # Of a stream that was reset within the bytes that are handled just now h2 knows nothing any more.
            with contextlib.suppress(ProtocolError, KeyError):
                self._h2.increment_flow_control_window(call.wanted, call.stream)
            call.comes()
            self._waiting.popleft()

    def _forget(self, stream: int) -> Call | None:
        """Hold nothing of a call any more: another one's message may come."""
        call = super()._forget(stream)
        if call is not None and (call.opened or call.wanted):
            if call.wanted:
                call.wanted = 0
                self._waiting.remove(call)
            self._opened -= call.opened
            self._open_windows()
        return call

    def _end(self, event: StreamEnded) -> None:
        call = self._calls.get(event.stream_id)
        if call is None:
            return
        try:
            call.end()
        except Refusal as refusal:
            call.refuse(refusal)

    def _reset(self, event: StreamReset) -> None:
        call = self._forget(event.stream_id)
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

    def peer(self) -> str:
        """The client's address, for logs."""
        name = self._transport.get_extra_info("peername")
        return str(name[0]) if isinstance(name, tuple) else "local"

    def request(self) -> Request:
        """What a new call fills."""
        return Request()
