"""What server and worker say to each other: frames of a kind, a JSON head and raw tensors.

No pickle: a worker runs a user's code, and nothing that it says may run in the server.
"""

import socket
import struct
from collections.abc import Iterator, Mapping, Sequence
from enum import IntEnum
from typing import Any, NamedTuple

import orjson
from numpy.typing import NDArray

from gyre_crds.v1alpha1.version import Tensor
from gyre_serving.server.wire import from_binary, to_binary

Array = NDArray[Any]

_START = struct.Struct("<BIQ")
_HEAD_LIMIT = 16 << 20
_BODY_LIMIT = 4 << 30


class Kind(IntEnum):
    """Kinds of frames; all but RUN come from the worker."""

    RUN = 1
    HELLO = 2
    """Head: `{"pid"}`; the process is there and begins to load."""
    READY = 3
    """Head: `{"bytes", "modules"}`: memory that the version took, libraries that it imported."""
    REFUSED = 4
    """Head: `{"reason", "message", "retry"}` of a Failure."""
    OUTPUTS = 5
    RAISED = 6
    """Head: `{"error"}`, one line."""


class Frame(NamedTuple):
    """One message."""

    kind: Kind
    head: Any
    body: memoryview


def pack(kind: Kind, head: Any, blobs: Sequence[bytes] = ()) -> bytes:
    """The bytes of a frame."""
    text = orjson.dumps(head)
    return b"".join((_START.pack(kind, len(text), sum(map(len, blobs))), text, *blobs))


def pack_tensors(kind: Kind, tensors: Sequence[Tensor], values: Mapping[str, Array]) -> bytes:
    """A frame with these tensors, in the signature's order."""
    blobs = [to_binary(values[tensor.name], tensor.datatype) for tensor in tensors]
    shapes = [list(values[tensor.name].shape) for tensor in tensors]
    return pack(kind, {"shapes": shapes, "sizes": [len(blob) for blob in blobs]}, blobs)


def tensors_of(frame: Frame, tensors: Sequence[Tensor]) -> dict[str, Array]:
    """The tensors of a frame, writable, by name.

    Raises:
        BadTensor, ValueError, KeyError: the frame does not hold them.
    """
    found, rest = {}, frame.body
    for tensor, shape, size in zip(tensors, frame.head["shapes"], frame.head["sizes"], strict=True):
        found[tensor.name] = from_binary(rest[:size], tensor.datatype, shape)
        rest = rest[size:]
    return found


class Cutter:
    """Cuts a stream of bytes into frames."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Frames that are whole now.

        Raises:
            ValueError: the bytes are no frames.
        """
        self._held += data
        while len(self._held) >= _START.size:
            kind, head, body = _START.unpack_from(self._held)
            _check(head, body)
            size = _START.size + head + body
            if len(self._held) < size:
                return
            frame, self._held = self._held[:size], self._held[size:]
            yield _frame(kind, head, frame)


def receive(channel: socket.socket) -> Frame | None:
    """The next frame of a blocking socket, None at its end."""
    start = _exactly(channel, _START.size)
    if start is None:
        return None
    kind, head, body = _START.unpack(start)
    rest = _exactly(channel, head + body)
    return None if rest is None else _frame(kind, head, start + rest)


def _frame(kind: int, head: int, whole: bytearray) -> Frame:
    end = _START.size + head
    return Frame(Kind(kind), orjson.loads(whole[_START.size : end]), memoryview(whole)[end:])


def _check(head: int, body: int) -> None:
    if head > _HEAD_LIMIT or body > _BODY_LIMIT:
        raise ValueError(f"a frame of {head + body} bytes is none")


def _exactly(channel: socket.socket, size: int) -> bytearray | None:
    data = bytearray(size)
    view, at = memoryview(data), 0
    while at < size:
        count = channel.recv_into(view[at:])
        if count == 0:
            return None
        at += count
    return data
