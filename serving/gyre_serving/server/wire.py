"""One tensor between numpy and the protocol's two forms."""

import math
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gyre_serving.golden.tensors import DTYPES

Array = NDArray[Any]

_FLOATS = {"FP16", "FP32", "FP64"}
_LENGTH = struct.Struct("<I")
MOST_SIZES = 32
"""Sizes of a shape, as many as numpy knows: the product of a million of them would be computed for hours."""


class BadTensor(ValueError):  # noqa: N818  an answer, not an error of the program
    """The data is not of the type or size that the request declares."""


def count_of(shape: list[int]) -> int:
    """How many values fill the shape.

    Raises:
        BadTensor: it has too many sizes.
    """
    if len(shape) > MOST_SIZES:
        raise BadTensor(f"shape: at most {MOST_SIZES} sizes are taken, got {len(shape)}")
    return math.prod(shape)


def from_json(data: Any, datatype: str, shape: list[int]) -> Array:
    """A tensor of JSON data, flat or nested; `null` is a missing value where the type has one.

    Raises:
        BadTensor: wrong count, wrong type, null where nothing can be missing.
    """
    if not isinstance(data, list):
        raise BadTensor("data: a list is wanted")
    if datatype == "BYTES":
        return _texts(data, shape)
    try:
        raw = np.array(data)
    except ValueError as error:  # ragged
        raise BadTensor("data: the nested lists differ in length") from error
    if datatype == "UINT64" and raw.dtype.kind == "f":
        raw = _large(data, raw)
    if raw.size != (count := count_of(shape)):
        raise BadTensor(f"data: {count} values are wanted for shape {shape}, got {raw.size}")
    if not raw.size:  # of no values numpy makes fractions
        return np.zeros(shape, DTYPES[datatype])
    return _cast(raw, datatype).reshape(shape)


def _large(data: Any, found: Array) -> Array:
    """Whole numbers again: numpy makes fractions of whole numbers above and below 2**63 side by side."""
    whole = np.array(data, dtype=object)
    fit = all(type(value) is int and 0 <= value < 1 << 64 for value in whole.ravel())
    return whole.astype(np.uint64) if fit else found


def _cast(raw: Array, datatype: str) -> Array:
    dtype = DTYPES[datatype]
    kind = raw.dtype.kind
    if datatype in _FLOATS:
        if kind == "O":
            raw, kind = _with_missing(raw), "f"
        if kind not in "fiu":
            raise BadTensor(f"data: numbers are wanted for {datatype}, got {_sort(raw)}")
        with np.errstate(over="ignore"):
            return raw.astype(dtype, copy=False)
    if kind == "O" and any(value is None for value in raw.ravel()):
        raise BadTensor(f"data: null has no meaning in {datatype}; only FP16, FP32 and FP64 have missing values")
    if kind != ("b" if datatype == "BOOL" else kind if kind in "iu" else "?"):
        wanted = "true or false" if datatype == "BOOL" else "whole numbers"
        raise BadTensor(f"data: {wanted} are wanted for {datatype}, got {_sort(raw)}")
    if datatype != "BOOL":
        _check_range(raw, dtype, datatype)
    return raw.astype(dtype, copy=False)


def _with_missing(raw: Array) -> Array:
    values = raw.ravel()
    if any(value is not None and (isinstance(value, bool) or not isinstance(value, int | float)) for value in values):
        raise BadTensor(f"data: numbers or null are wanted, got {_sort(raw)}")
    try:
        return np.array(values, dtype=np.float64)  # None becomes NaN
    except OverflowError as error:
        raise BadTensor("data: a number is too large") from error


def _check_range(raw: Array, dtype: np.dtype[Any], datatype: str) -> None:
    info = np.iinfo(dtype)
    if raw.size and (int(raw.min()) < info.min or int(raw.max()) > info.max):
        raise BadTensor(f"data: {datatype} holds {info.min} to {info.max}, got {int(raw.min())} to {int(raw.max())}")


def _sort(raw: Array) -> str:
    found = next(
        (value for value in raw.ravel().tolist() if value is not None and not isinstance(value, int | float)), None
    )
    names = {str: "text", bool: "true or false", list: "lists of different lengths", dict: "objects"}
    if found is not None:
        return names.get(type(found), type(found).__name__)
    return {"b": "true or false", "f": "fractions", "U": "text"}.get(raw.dtype.kind, "mixed values")


def _texts(data: list[Any], shape: list[int]) -> Array:
    flat: list[Any] = list(_leaves(data))
    if len(flat) != (count := count_of(shape)):
        raise BadTensor(f"data: {count} values are wanted for shape {shape}, got {len(flat)}")
    if not all(isinstance(value, str) for value in flat):
        raise BadTensor("data: texts are wanted for BYTES")
    return np.array([value.encode() for value in flat], dtype=object).reshape(shape)


def _leaves(data: list[Any]) -> Any:
    for value in data:
        if isinstance(value, list):
            yield from _leaves(value)
        else:
            yield value


def from_binary(data: memoryview, datatype: str, shape: list[int]) -> Array:
    """A tensor of raw little-endian values; BYTES are each a 4-byte length and the bytes.

    Raises:
        BadTensor: the size does not fit the shape.
    """
    count = count_of(shape)
    if datatype == "BYTES":
        return np.array(_elements(data, count), dtype=object).reshape(shape)
    dtype = DTYPES[datatype]
    if len(data) != count * dtype.itemsize:
        raise BadTensor(f"{count * dtype.itemsize} bytes are wanted for shape {shape} of {datatype}, got {len(data)}")
    return np.frombuffer(data, dtype=dtype).reshape(shape)


def _elements(data: memoryview, count: int) -> list[bytes]:
    found: list[bytes] = []
    at = 0
    while at < len(data) and len(found) <= count:
        if at + _LENGTH.size > len(data):
            break
        (size,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        found.append(bytes(data[at : at + size]))
        at += size
    if len(found) != count or at != len(data):
        raise BadTensor(f"{count} texts with their lengths are wanted, the bytes hold something else")
    return found


def to_json(values: Array, datatype: str) -> Any:
    """What orjson writes as the flat list `data`; NaN becomes null."""
    if datatype == "BYTES":
        return [_text(value) for value in values.ravel()]
    return np.ascontiguousarray(values, dtype=DTYPES[datatype]).ravel()


def to_binary(values: Array, datatype: str) -> bytes:
    """Raw little-endian values; BYTES are each a 4-byte length and the bytes."""
    if datatype != "BYTES":
        return np.ascontiguousarray(values, dtype=DTYPES[datatype]).tobytes()
    texts = [value if isinstance(value, bytes) else str(value).encode() for value in values.ravel()]
    return b"".join(_LENGTH.pack(len(text)) + text for text in texts)


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
