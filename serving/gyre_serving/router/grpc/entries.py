"""How many fields a message holds, counted before it is decoded: one takes two bytes there, and a hundred once it is.

Only heads are looked at: of the message and of its inputs and outputs, never the values within them.
"""

from gyre_serving.router.message import Refusal

MOST_ENTRIES = 8192
"""Inputs, outputs and parameters of one message."""
MOST_FIELDS = 8 * MOST_ENTRIES
"""Of the message and its inputs and outputs: each of these has a few."""
_NESTED = frozenset({5, 6})
"""Inputs and outputs."""
_VARINT, _LENGTH = 0, 2
_FIXED = {1: 8, 5: 4}
_LONGEST = 10
_SEVEN, _MORE = 0x7F, 0x80


def bound(data: memoryview) -> None:
    """Look at a ModelInferRequest. What is cut off is left for its decoder to refuse.

    Raises:
        Refusal: 400 when it has too many fields, or such as the protocol has not.
    """
    _count(data, MOST_FIELDS, _NESTED)


def _count(data: memoryview, left: int, nested: frozenset[int]) -> int:
    """How many fields may still come behind these."""
    at = 0
    while at < len(data):
        left -= 1
        if left < 0:
            raise Refusal(400, f"the message holds more than {MOST_FIELDS} fields: send fewer inputs and parameters")
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == _LENGTH:
            size, at = _varint(data, at)
            if tag >> 3 in nested:
                left = _count(data[at : at + size], left, frozenset())
            at += size
        elif kind == _VARINT:
            _, at = _varint(data, at)
        elif kind in _FIXED:
            at += _FIXED[kind]
        else:
            raise Refusal(400, "the message is no ModelInferRequest: it holds a group")
    return left


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """A number, and where it ends."""
    value = 0
    for index, byte in enumerate(data[at : at + _LONGEST]):
        value |= (byte & _SEVEN) << 7 * index
        if byte < _MORE:
            return value, at + index + 1
    return 0, len(data)
