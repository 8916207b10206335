"""Logged requests as columns: bodies become lists once, lists become arrays a tensor at a time.

A body of 150 kB is 5,000 rows and more: nothing here is done row by row in Python, and what is the
same in all rows of a request is written once and repeated by Arrow.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gyre_crds.contracts.payload import PayloadColumn
from gyre_crds.v1alpha1.version import Signature, Tensor
from gyre_serving.router.identity import for_labelling
from gyre_serving.router.payloads.records import TIME, Layout, Record
from gyre_serving.router.payloads.values import flatten, tensors_of

AT_ONCE = 10_000
"""Values held as Python objects, each about 100 bytes with the lists of a small request around it."""
LONG = 64
"""Values of a request from which on it pays to treat it by itself."""
Flat: TypeAlias = Any
"""A tensor's values: a list, or an array of numpy where they came as a binary tensor."""
Array: TypeAlias = Any
"""pyarrow's stubs know no array whose kind is known only at run time."""
_TEXTS = pa.dictionary(pa.int32(), pa.string())
_UNREADABLE = (ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError, pa.ArrowException)


def payload_table(records: Iterable[Record], layout: Layout) -> tuple[pa.Table, int]:
    """The part of these records and how many of them could not be read (their rows are left out).

    Texts that are the same in all rows of a request are dictionary-encoded.
    """
    tables: list[pa.Table] = [_schema(layout).empty_table()]
    unreadable = 0
    batch: list[_Read] = []
    held = 0
    for record in records:
        try:
            one = _read(record, layout.signature)
        except _UNREADABLE:
            unreadable += 1
            continue
        batch.append(one)
        held += one.values()
        if held >= AT_ONCE:
            unreadable += _add(batch, layout, tables)
            batch, held = [], 0
    unreadable += _add(batch, layout, tables)
    return pa.concat_tables(tables).unify_dictionaries(), unreadable


class _Read(NamedTuple):
    """A record's values."""

    record: Record
    rows: int
    inputs: list[Flat]
    """Flat, in the order of the signature."""
    keys: list[str | None] | None
    labels: Flat | None
    scores: Flat | None

    def values(self) -> int:
        """How many Python objects it holds."""
        return sum(map(len, self.inputs)) + self.rows


def _add(batch: "list[_Read]", layout: Layout, tables: list[pa.Table]) -> int:
    """Append the batch's table; how many records did not fit their columns."""
    if not batch:
        return 0
    try:
        tables.append(_table(batch, layout))
    except _UNREADABLE:
        if len(batch) == 1:
            return 1
        # One value does not fit its column: find the records that it stands in, and only now, record by record.
        return sum(_add([one], layout, tables) for one in batch)
    return 0


def _table(batch: "list[_Read]", layout: Layout) -> pa.Table:
    schema = _schema(layout)
    made: dict[str, Array] = {}
    for index, tensor in enumerate(layout.signature.inputs):
        made |= _features(tensor, [one.inputs[index] for one in batch], [one.rows for one in batch], layout.redact)
    made |= _own(batch, layout)
    return pa.table([made[name] for name in schema.names], schema=schema)


def _own(batch: "list[_Read]", layout: Layout) -> dict[str, Array]:
    """What the router knows of each row."""
    records = [one.record for one in batch]
    counts = [one.rows for one in batch]
    first = np.cumsum(counts) - counts

    of_record = np.repeat(np.arange(len(counts), dtype=np.int32), counts)

    def each(values: list[Any], kind: pa.DataType) -> Array:
        return _array(values, kind).take(_indices(of_record))

    def texts(values: list[str]) -> Array:
        return pa.DictionaryArray.from_arrays(_indices(of_record), pa.array(values, pa.string()))

    return {
        PayloadColumn.REQUEST_ID.value: texts([one.request_id for one in records]),
        PayloadColumn.ROW.value: pa.array((np.arange(sum(counts)) - np.repeat(first, counts)).astype(np.int32)),
        PayloadColumn.KEY.value: _joined([one.keys for one in batch], counts, pa.string()),
        PayloadColumn.TIME.value: each([one.time_us for one in records], TIME),
        PayloadColumn.REVISION.value: texts([one.revision for one in records]),
        PayloadColumn.VERSION.value: texts([one.version for one in records]),
        PayloadColumn.PROPENSITY.value: each([one.propensity for one in records], pa.float64()),
        PayloadColumn.LABEL_SAMPLE.value: pa.array(
            np.concatenate([for_labelling(one.record.request_id, one.rows, layout.label_sample) for one in batch])
        ),
        PayloadColumn.PREDICTION.value: _joined([one.labels for one in batch], counts, _label_type(layout.signature)),
        PayloadColumn.SCORE.value: _joined([one.scores for one in batch], counts, pa.float64()),
    }


def _features(tensor: Tensor, values: list[Flat], counts: list[int], redact: frozenset[str]) -> dict[str, Array]:
    """A tensor's columns, of all records at once."""
    kind, total = arrow_type(tensor.datatype), sum(counts)
    wanted = [one for one in tensor.columns or (tensor.name,) if one not in redact]
    if not wanted:
        return {}
    flat = _chained(values, kind)
    if tensor.columns:
        width = len(tensor.columns)
        rows = np.arange(total) * width
        return {
            name: flat.take(_indices(rows + index)) for index, name in enumerate(tensor.columns) if name not in redact
        }
    if _single(tensor):
        return {tensor.name: flat}
    widths = np.repeat([len(one) // count if count else 0 for one, count in zip(values, counts, strict=True)], counts)
    offsets = np.concatenate(([0], widths.cumsum())).astype(np.int32)
    return {tensor.name: pa.ListArray.from_arrays(_indices(offsets), flat)}


def _joined(values: Sequence[Flat | None], counts: list[int], kind: Any) -> Array:
    """One array of all records' lists; None stands for nothing known of a record's rows."""
    if all(one is None for one in values):
        return pa.nulls(sum(counts), kind)
    return _chained([[None] * count if one is None else one for one, count in zip(values, counts, strict=True)], kind)


def _chained(values: Sequence[Flat], kind: pa.DataType) -> Array:
    """One array of all lists."""
    if sum(map(len, values)) < LONG * len(values):
        return _array(list(chain.from_iterable(values)), kind)
    return pa.concat_arrays([_array(one, kind) for one in values])


def _array(values: Flat, kind: pa.DataType) -> Array:
    """The values, None and NaN as missing.

    Raises:
        pa.ArrowException: one does not fit.
    """
    if pa.types.is_string(kind):
        return pa.array(values, kind, from_pandas=True)
    if not pa.types.is_floating(kind):
        return pa.array(values, kind)
    try:
        made = pa.array(values, kind)
    except pa.ArrowInvalid:
        # Of whole numbers Arrow takes no more than a double holds exactly; a model takes the nearest.
        made = pa.array([float(one) if type(one) is int else one for one in values], kind)
    # Cheaper afterwards than asking of every Python object.
    return pc.if_else(pc.is_nan(made), pa.scalar(None, kind), made)


def _indices(numbers: npt.NDArray[np.integer[Any]]) -> Array:
    return pa.array(numbers)


def arrow_type(datatype: str) -> pa.DataType:
    """The column type that holds any value of a V2 datatype."""
    if datatype == "BOOL":
        return pa.bool_()
    if datatype == "BYTES":
        return pa.string()
    if datatype == "UINT64":
        return pa.uint64()
    return pa.float64() if datatype.startswith("FP") else pa.int64()


def _schema(layout: Layout) -> pa.Schema:
    # A column of the router's own takes the place of a feature that has its name.
    kinds = dict(_fields(layout.signature))
    return pa.schema([(name, kind) for name, kind in kinds.items() if name not in layout.redact])


def _fields(signature: Signature) -> Iterator[tuple[str, pa.DataType]]:
    for tensor in signature.inputs:
        kind = arrow_type(tensor.datatype)
        if tensor.columns:
            yield from ((column, kind) for column in tensor.columns)
        else:
            yield tensor.name, kind if _single(tensor) else pa.list_(kind)
    yield PayloadColumn.REQUEST_ID.value, _TEXTS
    yield PayloadColumn.ROW.value, pa.int32()
    yield PayloadColumn.KEY.value, pa.string()
    yield PayloadColumn.TIME.value, TIME
    yield PayloadColumn.REVISION.value, _TEXTS
    yield PayloadColumn.VERSION.value, _TEXTS
    yield PayloadColumn.PROPENSITY.value, pa.float64()
    yield PayloadColumn.LABEL_SAMPLE.value, pa.bool_()
    yield PayloadColumn.PREDICTION.value, _label_type(signature)
    yield PayloadColumn.SCORE.value, pa.float64()


def _label_type(signature: Signature) -> pa.DataType:
    prediction = signature.prediction
    output = next((one for one in signature.outputs if prediction and one.name == prediction.output), None)
    return arrow_type(output.datatype) if output else pa.float64()


def _single(tensor: Tensor) -> bool:
    """Whether the tensor holds one value a row."""
    return all(size == 1 for size in tensor.shape[1:])


def _read(record: Record, signature: Signature) -> _Read:
    given = tensors_of(record.request, "inputs", b"".join(record.tensors))
    count = given[signature.inputs[0].name]["shape"][0]
    held = record.size()
    if not 0 <= count <= held:
        # A row takes a byte at least: a shape that says more would only make the router fill its memory.
        raise ValueError(f"{count} rows in {held} bytes")
    inputs = [_values(tensor, given[tensor.name]["data"], count) for tensor in signature.inputs]
    labels, scores = _predictions(record, signature, count)
    keys = record.keys if record.keys is not None and len(record.keys) == count else None
    return _Read(record, count, inputs, keys, labels, scores)


def _values(tensor: Tensor, data: Any, count: int) -> Flat:
    """A tensor's values, row by row."""
    flat = flatten(data)
    width = len(flat) // count if count else 0
    if width * count != len(flat):
        raise ValueError(f"{tensor.name} does not fill its shape")
    wanted = len(tensor.columns) if tensor.columns else 1 if _single(tensor) else width
    if count and width != wanted:
        raise ValueError(f"{tensor.name} has {width} values a row")
    return flat


def _predictions(record: Record, signature: Signature, count: int) -> tuple[Flat | None, Flat | None]:
    prediction, cut = signature.prediction, record.answer_json
    if cut is None:
        found = tensors_of(record.answer, "outputs", b"")
    else:
        found = tensors_of(record.answer[:cut], "outputs", memoryview(record.answer)[cut:])
    if prediction is None:
        return None, None
    labels = flatten(found[prediction.output]["data"])
    if len(labels) != count:
        raise ValueError("not one prediction a row")
    if prediction.score is None or prediction.positive is None or prediction.score not in found:
        return labels, None
    score = found[prediction.score]
    scores = flatten(score["data"])
    width = len(scores) // count if count else 0
    if width * count != len(scores) or score.get("shape", [count])[0] != count:
        raise ValueError("scores of other rows")
    column = prediction.positive if width > 1 else 0
    return labels, scores[column::width] if width else None
