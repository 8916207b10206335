"""Large requests of numbers, checked without making a Python object of each number.

A body of 150 kB is 20,000 numbers, and 0.5 ms of CPU where each becomes an object that is only asked
for its type. Here the parser skips over the numbers, which proves that they are JSON; and what is left of
a tensor's text without the letters of numbers is the punctuation of its shape, or something does not fit.
"""

from math import prod
from typing import Any

import msgspec

from gyre_crds.v1alpha1.version import Tensor

_OF_NUMBERS = b"0123456789+-.eE \t\r\n"
_OF_LISTS = b"[] \t\r\n"


class _Given(msgspec.Struct, forbid_unknown_fields=True):
    """A tensor that can be glanced at."""

    name: str
    datatype: Any
    shape: Any
    data: msgspec.Raw


class _Document(msgspec.Struct, forbid_unknown_fields=True):
    """A request that can be glanced at: without parameters, in which keys may stand."""

    inputs: list[_Given]
    id: str | None = None


_decode = msgspec.json.Decoder(_Document).decode


def fits(body: bytes, tensors: dict[str, Tensor]) -> bool:
    """Whether the body is surely a request for these floating-point tensors, without a missing value.

    False says nothing: the body is to be parsed, and the checker finds the words. Numbers beyond the
    largest double are JSON, and left to the model server.
    """
    try:
        given = _decode(body).inputs
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    missing = dict(tensors)
    for one in given:
        tensor = missing.pop(one.name, None)
        if tensor is None or not _fits(one, tensor):
            return False
    return not missing


def _fits(given: _Given, tensor: Tensor) -> bool:
    return (
        given.datatype == tensor.datatype
        and tensor.datatype.startswith("FP")
        and fits_shape(given.shape, tensor.shape)
        and _filled(bytes(given.data), given.shape)
    )


def fits_shape(shape: Any, wanted: list[int]) -> bool:
    """Whether the shape is one that the signature allows."""
    if not isinstance(shape, list) or len(shape) != len(wanted):
        return False
    for want, got in zip(wanted, shape, strict=True):
        if type(got) is not int or got < 0 or want not in (-1, got):
            return False
    return True


def _filled(data: bytes, shape: list[int]) -> bool:
    """Whether the data, flat or as a list of rows, holds nothing but the numbers of the shape.

    Commas tell how many values a list holds, but not whether it holds one or none.
    """
    count = prod(shape)
    if not 0 < count <= len(data) or (count == 1 and not data.strip(_OF_LISTS)):
        return False
    left = data.translate(None, _OF_NUMBERS)
    if left == b"[" + b"," * (count - 1) + b"]":
        return True
    if len(shape) != 2 or (shape[1] == 1 and count > 1):  # noqa: PLR2004  deeper nesting is rare enough to be parsed
        return False
    row = b"[" + b"," * (shape[1] - 1) + b"]"
    return left == b"[" + b",".join([row] * shape[0]) + b"]"
