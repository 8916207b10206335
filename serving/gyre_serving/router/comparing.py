"""Do two V2 answers agree? Numbers within a tolerance, labels and texts exactly. Pure."""

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite, isnan
from operator import sub
from typing import Any, NamedTuple

import orjson

from gyre_crds.contracts.routing import Tolerance
from gyre_crds.v1alpha1.version import Signature

LARGEST = 256 * 1024
"""Bytes of an answer that is compared: parsing more would hold up other requests."""
_FORMATS = {
    "BOOL": "?", "INT8": "b", "INT16": "h", "INT32": "i", "INT64": "q", "UINT8": "B", "UINT16": "H", "UINT32": "I",
    "UINT64": "Q", "FP16": "e", "FP32": "f", "FP64": "d",
}  # fmt: skip
"""struct's letters of the datatypes of fixed size, little-endian."""


class Answer(NamedTuple):
    """An answer's body, and how many bytes of it are JSON where tensors follow (None: all of it)."""

    body: bytes
    header: int | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """What two answers differ by."""

    agrees: bool
    label: bool = False
    """The prediction is another."""
    largest: float = 0.0
    """Largest absolute difference of two numbers."""


SAME = Difference(agrees=True)
_OTHER = Difference(agrees=False)


class Unreadable(Exception):  # noqa: N818  a finding about an answer, not a fault of the program
    """An answer is no V2 answer, or too large."""


def compare(primary: Answer, shadow: Answer, tolerance: Tolerance, signature: Signature | None) -> Difference:
    """How the shadow's answer differs from the primary's.

    Args:
        primary: the answer that the client got.
        shadow: the answer to the same request.
        tolerance: for outputs of floating-point types; all others are compared exactly.
        signature: names the prediction; a classification's is compared exactly, whatever its type.

    Raises:
        Unreadable: when one of them is too large or no V2 answer.
    """
    ours, theirs = _outputs(primary), _outputs(shadow)
    if ours.keys() != theirs.keys():
        return _OTHER
    prediction = signature.prediction if signature is not None else None
    label = prediction.output if prediction is not None else None
    exact = label if prediction is not None and prediction.task == "Classification" else None
    agrees, label_differs, largest = True, False, 0.0
    for name, mine in ours.items():
        found = _tensor(mine, theirs[name], tolerance, exact=name == exact)
        if not found.agrees:
            agrees = False
            label_differs = label_differs or name == label
        largest = max(largest, found.largest)
    return Difference(agrees=agrees, label=label_differs, largest=largest)


def readable(answer: Answer) -> bool:
    """Whether it is a V2 answer with numbers where its types say so."""
    try:
        outputs = _outputs(answer)
    except Unreadable:
        return False
    numbers = (value for one in outputs.values() if one.datatype != "BYTES" for value in one.data)
    return all(value is None or isinstance(value, int | float) for value in numbers)


def _tensor(mine: "_Output", other: "_Output", tolerance: Tolerance, *, exact: bool) -> Difference:
    if mine.shape != other.shape or mine.datatype != other.datatype:
        return _OTHER
    if mine.data == other.data:
        return SAME
    if len(mine.data) != len(other.data) or mine.datatype == "BYTES":
        return _OTHER
    try:
        gaps = _gaps(mine.data, other.data)
    except TypeError as error:
        raise Unreadable("an answer holds no numbers where its type says so") from error
    largest = max(gaps, default=0.0)
    if exact or not mine.datatype.startswith("FP"):
        return Difference(agrees=largest == 0, largest=_finite(largest))
    allowed, relative = tolerance.absolute, tolerance.relative
    # The first test spares the walk over the values in the case of most answers.
    near = largest <= allowed or all(
        gap <= allowed + relative * abs(value or 0.0) for gap, value in zip(gaps, mine.data, strict=True)
    )
    return Difference(agrees=near, largest=_finite(largest))


def _gaps(mine: Sequence[Any], other: Sequence[Any]) -> list[float]:
    """The distances, in C where all values are finite numbers."""
    try:
        gaps = list(map(abs, map(sub, mine, other)))
        plain = isfinite(sum(gaps))
    except TypeError:
        plain = False
    return gaps if plain else list(map(_gap, mine, other))


def _gap(a: float | None, b: float | None) -> float:
    """The distance of two numbers; missing values are alike, and infinitely far from all others."""
    if a == b:
        return 0.0
    lacks_a, lacks_b = a is None or isnan(a), b is None or isnan(b)
    if a is None or b is None or lacks_a or lacks_b:
        return 0.0 if lacks_a and lacks_b else inf
    return abs(a - b)


def _finite(value: float) -> float:
    return value if value < inf else 0.0


class _Output(NamedTuple):
    datatype: str
    shape: tuple[int, ...]
    data: Sequence[Any]


def _outputs(answer: Answer) -> dict[str, _Output]:
    if len(answer.body) > LARGEST:
        raise Unreadable(f"an answer of {len(answer.body)} bytes is not compared, only up to {LARGEST}")
    try:
        document = _parsed(answer.body[: answer.header])
        rest = memoryview(answer.body)[answer.header :] if answer.header is not None else memoryview(b"")
        found = {}
        for one in document["outputs"]:
            size = one.get("parameters", {}).get("binary_data_size")
            data = _flat(one["data"]) if size is None else _numbers(one["datatype"], rest[:size])
            rest = rest[size or 0 :]
            found[one["name"]] = _Output(one["datatype"], tuple(one["shape"]), data)
    except (ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise Unreadable(f"no V2 answer: {error!r:.200}") from error
    return found


def _parsed(text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return json.loads(text)  # NaN and Infinity, which servers write and strict JSON has not


def _flat(data: Any) -> list[Any]:
    if not isinstance(data, list):
        raise TypeError("data is no list")
    flat: list[Any] = data
    while flat and isinstance(flat[0], list):
        flat = [value for row in flat for value in row]
    return flat


def _numbers(datatype: str, raw: memoryview) -> Sequence[Any]:
    """The values of a binary tensor; texts and BF16 stay bytes, which only are equal or not."""
    letter = _FORMATS.get(datatype)
    if letter is None:
        return raw.tobytes() if datatype != "BF16" else [raw.tobytes()]
    return struct.unpack(f"<{len(raw) // struct.calcsize('<' + letter)}{letter}", raw)
