"""What a client's frames cost, told from their heads before anything else looks at them.

Frames that ask nothing (pings, settings, windows opened byte by byte, empty data) take as much work here as
calls do, from nine bytes on, and a call's head in many large frames is held until its last one came.
"""

from h2.frame_buffer import FrameBuffer
from hyperframe.frame import DataFrame, Frame

_PREFACE = 24
_HEAD = 9
_DATA, _HEADERS, _SETTINGS, _CONTINUATION = 0, 1, 4, 9
_END_HEADERS = 4
FIRST, MOST = 1000, 4000
"""Frames that a connection may send without asking: from its start, and after any amount of calls and data."""
A_SECOND = 10
"""More of them with the time: keepalives of connections on which nothing is asked for hours."""
_CALL = 16
"""More with each call: its data, windows and pings."""
_TINY = 256
"""Bytes of data that pay for their frame."""
_SENT = 1024
"""Bytes sent for each of which a window may be opened once."""
_SETTING = 10
"""A change of settings looks at every call."""


class QuietBuffer(FrameBuffer):
    """Hands frames of data on untold.

    h2 writes each frame as text for a trace that nobody reads: all of its data in hexadecimal digits, which took a
    third of a large message's time.
    """

    def __next__(self) -> Frame:
        frame = super().__next__()
        if type(frame) is DataFrame:
            frame.__dict__["_body_repr"] = str
        return frame


class FloodError(Exception):
    """The client sends much more than it asks."""


class Frames:
    """Follows the frames of one connection."""

    __slots__ = ("_block", "_left", "_most_head", "_paid", "_part", "_sent", "_swept")

    def __init__(self, most_head: int, now: float) -> None:
        """Args: bytes of a call's head, in all of its frames together, and loop seconds."""
        self._most_head = most_head
        self._left = _PREFACE
        """Bytes until the next frame."""
        self._part = b""
        """Of its head."""
        self._block = 0
        self._paid: float = FIRST
        self._sent = 0
        self._swept = now

    def take(self, data: bytes) -> None:
        """Look at what came.

        Raises:
            FloodError: it is not worth the work.
        """
        if self._part:
            data = self._part + data
        at = self._left
        while len(data) - at >= _HEAD:
            length = int.from_bytes(data[at : at + 3], "big")
            self._frame(data[at + 3], data[at + 4], length)
            at += _HEAD + length
        self._left, self._part = max(0, at - len(data)), data[at:]

    def answered(self) -> None:
        """A message of a call that has many got its answer: it counts like a call."""
        self._pay(_CALL)

    def sent(self, size: int) -> None:
        """Bytes of answers went out, which the client lets follow by windows."""
        whole, self._sent = divmod(self._sent + size, _SENT)
        self._pay(whole)

    def passed(self, now: float) -> None:
        """Time passed, until loop second `now`."""
        self._pay((now - self._swept) * A_SECOND)
        self._swept = now

    def _frame(self, kind: int, flags: int, length: int) -> None:
        if kind in (_HEADERS, _CONTINUATION):
            self._block += length
            if self._block > self._most_head:
                raise FloodError(f"the head of a call is larger than {self._most_head} bytes")
            if flags & _END_HEADERS:
                self._block = 0
                self._pay(_CALL)
            return
        self._pay(length // _TINY - 1 if kind == _DATA else -_SETTING if kind == _SETTINGS else -1)
        if self._paid < 0:
            raise FloodError("many more frames came than calls and data")

    def _pay(self, frames: float) -> None:
        self._paid = min(self._paid + frames, MOST)
