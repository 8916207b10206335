"""How a connection ends: what takes too long, who asks nothing or too much, and a router that drains."""

import contextlib
from typing import TYPE_CHECKING

from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from hyperframe.frame import GoAwayFrame

from gyre_serving.router.grpc.sending import Sending

if TYPE_CHECKING:
    from gyre_serving.router.data_port import DataPort
    from gyre_serving.router.grpc.budget import Budget
    from gyre_serving.router.grpc.call import Call

IDLE_SECONDS = 600.0
LINGER_SECONDS = 5.0
"""For the last bytes of a connection that ends: a client that does not read them keeps it no longer."""
_LAST_STREAM = 2**31 - 1


class Leaving(Sending):
    """The part of a connection that ends it."""

    def __init__(self, port: "DataPort", budget: "Budget") -> None:
        super().__init__(port, budget)
        self._last = _LAST_STREAM + 1
        """The last stream that the client was told would be answered, once it was told to go elsewhere."""
        self._due = 0.0
        """Loop time at which the sweeper closes; what it waits for is in the state."""

    def leaving(self) -> bool:
        """Whether the client is to go elsewhere."""
        return self.port.draining or self.outdated()

    def outdated(self) -> bool:
        """Whether the client has to come anew, and show again who it is."""
        return False

    def sweep(self, now: float) -> None:
        """Close what takes too long; tell the client to go elsewhere while the router drains."""
        self._frames.passed(now)
        if self._due and now >= self._due:
            self._transport.abort() if self._stalled or self._transport.is_closing() else self._leave()
            return
        for call in [one for one in self._calls.values() if one.due and now >= one.due]:
            self._late(call)
        if self.leaving():
            self._tell_to_leave()
            for call in list(self._calls.values()):
                call.leave()
        if self.outdated():
            self.close_when_idle()

    def _tell_to_leave(self, last: int = _LAST_STREAM) -> None:
        """Calls up to the stream `last` are answered here. By hand: h2 would take nothing more."""
        if last < self._last:
            self._last = last
            self._transport.write(GoAwayFrame(last_stream_id=last).serialize())

    def _late(self, call: "Call") -> None:
        if call.stream in self._out:  # the client opens no window for its answer
            self._lose(call.stream)
            with contextlib.suppress(ProtocolError):
                self._h2.reset_stream(call.stream, ErrorCodes.CANCEL)
            self._flush()
        else:
            call.refuse(call.late())

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

    def _fall_idle(self) -> None:
        if not self._calls and not self._stalled and not self._transport.is_closing():
            self._due = self.loop.time() + IDLE_SECONDS
