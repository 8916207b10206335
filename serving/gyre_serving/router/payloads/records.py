"""What is kept of a request until its part is written, and how it becomes columns."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import orjson
import pyarrow as pa

from gyre_crds.contracts.payload import FeedbackColumn, PayloadColumn
from gyre_crds.v1alpha1.version import Signature, Tensor
from gyre_serving.router.identity import for_labelling

_UNREADABLE = (ValueError, KeyError, TypeError, IndexError, AttributeError, pa.ArrowException)
_TIME = pa.timestamp("us", tz="UTC")


class Record(NamedTuple):
    """One answered request: raw bodies, so that memory is counted in bytes and parsing happens off the loop."""

    request_id: str
    time_us: int
    """Arrival, microseconds since the epoch."""
    revision: str
    version: str
    propensity: float
    keys: list[str | None] | None
    request: bytes
    answer: bytes

    def size(self) -> int:
        """Bytes held, with what the objects themselves take."""
        return len(self.request) + len(self.answer) + 600 + 80 * len(self.keys or ())


class Label(NamedTuple):
    """One label that came back."""

    request_id: str
    row: int
    label: float | str
    time_us: int
    first: bool

    def size(self) -> int:
        """Bytes held."""
        return 300 + (len(self.label) if isinstance(self.label, str) else 0)


@dataclass(frozen=True)
class Layout:
    """The columns of a part: what the signature names, less what is redacted."""

    signature: Signature
    redact: frozenset[str] = frozenset()
    label_sample: float = 0.0
    """Share of the rows that are marked for human labelling."""

    def key(self) -> str:
        """Equal layouts have equal keys."""
        return f"{self.signature.model_dump_json()}|{sorted(self.redact)}|{self.label_sample}"


def arrow_type(datatype: str) -> pa.DataType:
    """The column type that holds any value of a V2 datatype."""
    if datatype == "BOOL":
        return pa.bool_()
    if datatype == "BYTES":
        return pa.string()
    if datatype == "UINT64":
        return pa.uint64()
    return pa.float64() if datatype.startswith("FP") else pa.int64()


def payload_table(records: Iterable[Record], layout: Layout) -> tuple[pa.Table, int]:
    """The part of these records and how many of them could not be read (their rows are left out)."""
    readable = []
    unreadable = 0
    for record in records:
        try:
            readable.append(_rows(record, layout))
        except _UNREADABLE:
            unreadable += 1
    try:
        return _assembled(readable, layout), unreadable
    except _UNREADABLE:
        # One value does not fit its column: find the records that it stands in, and only now, record by record.
        fitting = [rows for rows in readable if _fits(rows, layout)]
        return _assembled(fitting, layout), unreadable + len(readable) - len(fitting)


def _assembled(rows: list[dict[str, list[Any]]], layout: Layout) -> pa.Table:
    types = _feature_types(layout.signature) | _own_types(layout.signature)
    kept = {name: kind for name, kind in types.items() if name not in layout.redact}
    arrays = [
        pa.array(list(chain.from_iterable(one[name] for one in rows)), type=kind, from_pandas=True)
        for name, kind in kept.items()
    ]
    return pa.table(arrays, names=list(kept))


def _fits(rows: dict[str, list[Any]], layout: Layout) -> bool:
    try:
        _assembled([rows], layout)
    except _UNREADABLE:
        return False
    return True


def feedback_table(labels: list[Label]) -> pa.Table:
    """The part of these labels, which are all numbers or all strings."""
    text = isinstance(labels[0].label, str)
    return pa.table(
        {
            FeedbackColumn.REQUEST_ID.value: pa.array([one.request_id for one in labels], pa.string()),
            FeedbackColumn.ROW.value: pa.array([one.row for one in labels], pa.int32()),
            FeedbackColumn.LABEL.value: pa.array([one.label for one in labels], pa.string() if text else pa.float64()),
            FeedbackColumn.TIME.value: pa.array([one.time_us for one in labels], _TIME),
            FeedbackColumn.FIRST.value: pa.array([one.first for one in labels], pa.bool_()),
        }
    )


def _own_types(signature: Signature) -> dict[str, pa.DataType]:
    prediction = signature.prediction
    output = next((one for one in signature.outputs if prediction and one.name == prediction.output), None)
    return {
        PayloadColumn.REQUEST_ID.value: pa.string(),
        PayloadColumn.ROW.value: pa.int32(),
        PayloadColumn.KEY.value: pa.string(),
        PayloadColumn.TIME.value: _TIME,
        PayloadColumn.REVISION.value: pa.string(),
        PayloadColumn.VERSION.value: pa.string(),
        PayloadColumn.PROPENSITY.value: pa.float64(),
        PayloadColumn.LABEL_SAMPLE.value: pa.bool_(),
        PayloadColumn.PREDICTION.value: arrow_type(output.datatype) if output else pa.float64(),
        PayloadColumn.SCORE.value: pa.float64(),
    }


def _feature_types(signature: Signature) -> dict[str, pa.DataType]:
    types: dict[str, pa.DataType] = {}
    for tensor in signature.inputs:
        kind = arrow_type(tensor.datatype)
        if tensor.columns:
            types |= dict.fromkeys(tensor.columns, kind)
        else:
            types[tensor.name] = kind if _single(tensor) else pa.list_(kind)
    return types


def _single(tensor: Tensor) -> bool:
    """Whether the tensor holds one value a row."""
    return all(size == 1 for size in tensor.shape[1:])


def _load(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return json.loads(body)


def _rows(record: Record, layout: Layout) -> dict[str, list[Any]]:
    signature = layout.signature
    given = {one["name"]: one for one in _load(record.request)["inputs"]}
    count = given[signature.inputs[0].name]["shape"][0]
    rows: dict[str, list[Any]] = {}
    for tensor in signature.inputs:
        rows |= _features(tensor, given[tensor.name], count)
    labels, scores = _predictions(_load(record.answer)["outputs"], signature, count)
    keys = record.keys if record.keys is not None and len(record.keys) == count else [None] * count
    rows |= {
        PayloadColumn.REQUEST_ID.value: [record.request_id] * count,
        PayloadColumn.ROW.value: list(range(count)),
        PayloadColumn.KEY.value: list(keys),
        PayloadColumn.TIME.value: [record.time_us] * count,
        PayloadColumn.REVISION.value: [record.revision] * count,
        PayloadColumn.VERSION.value: [record.version] * count,
        PayloadColumn.PROPENSITY.value: [record.propensity] * count,
        PayloadColumn.LABEL_SAMPLE.value: _picked(record.request_id, count, layout.label_sample),
        PayloadColumn.PREDICTION.value: labels,
        PayloadColumn.SCORE.value: scores,
    }
    return rows


def _picked(request_id: str, count: int, share: float) -> list[bool]:
    if share <= 0:
        return [False] * count
    return for_labelling(request_id, count, share)


def _features(tensor: Tensor, given: dict[str, Any], count: int) -> dict[str, list[Any]]:
    flat = _flatten(given["data"])
    width = len(flat) // count if count else 0
    if width * count != len(flat):
        raise ValueError(f"{tensor.name} does not fill its shape")
    if tensor.columns:
        if width != len(tensor.columns):
            raise ValueError(f"{tensor.name} has {width} columns")
        return {column: flat[index::width] for index, column in enumerate(tensor.columns)}
    if width == 1 and _single(tensor):
        return {tensor.name: flat}
    return {tensor.name: [flat[start : start + width] for start in range(0, len(flat), width)]}


def _predictions(outputs: Any, signature: Signature, count: int) -> tuple[list[Any], list[float | None]]:
    empty: list[Any] = [None] * count
    prediction = signature.prediction
    if prediction is None:
        return empty, empty
    found = {one["name"]: one for one in outputs}
    labels = _flatten(found[prediction.output]["data"])
    if len(labels) != count:
        raise ValueError("not one prediction a row")
    if prediction.score is None or prediction.positive is None or prediction.score not in found:
        return labels, empty
    scores = _flatten(found[prediction.score]["data"])
    width = len(scores) // count if count else 0
    column = prediction.positive if width > 1 else 0
    return labels, scores[column::width] if width else empty


def _flatten(data: Any) -> list[Any]:
    values: list[Any] = data if isinstance(data, list) else [data]
    while values and isinstance(values[0], list):
        values = [value for row in values for value in row]
    return values
