"""Rows by columns become the input tensors of a signature."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gyre_crds.contracts.golden import Rows
from gyre_crds.reasons import Inference
from gyre_crds.v1alpha1.version import Signature, Tensor
from gyre_serving.pod.failure import Failure

Array = NDArray[Any]

DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype(np.uint16),
    "UINT32": np.dtype(np.uint32),
    "UINT64": np.dtype(np.uint64),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype(np.int16),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "FP16": np.dtype(np.float16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    "BYTES": np.dtype(np.object_),
}
"""numpy's type of each datatype of the Open Inference Protocol; BYTES are objects of type bytes."""


def from_rows(signature: Signature, rows: Rows) -> dict[str, Array]:
    """The tensors of these rows, by input name.

    A tensor with `columns` takes these along its last dimension; one without takes the column of its own
    name, or, as the only input, every column in order.

    Raises:
        Failure: a column that an input needs is not among the rows, or holds what the type cannot.
    """
    count = len(rows.values[0]) if rows.values else 0
    table = dict(zip(rows.columns, rows.values, strict=True))
    return {tensor.name: _tensor(tensor, table, count, only=len(signature.inputs) == 1) for tensor in signature.inputs}


def neutral(signature: Signature) -> dict[str, Array]:
    """One row of zeros (empty strings), for a version that has no golden rows."""
    return {tensor.name: _zeros(tensor) for tensor in signature.inputs}


def _zeros(tensor: Tensor) -> Array:
    shape = [max(1, size) for size in tensor.shape]
    if tensor.datatype == "BYTES":
        return np.full(shape, b"", dtype=object)
    return np.zeros(shape, dtype=DTYPES[tensor.datatype])


def _tensor(tensor: Tensor, table: dict[str, list[Any]], count: int, *, only: bool) -> Array:
    names = list(tensor.columns) or ([tensor.name] if tensor.name in table else list(table) if only else [tensor.name])
    missing = [name for name in names if name not in table]
    if missing:
        raise Failure(
            Inference.MODEL_DOES_NOT_LOAD,
            f"input {tensor.name} needs column {missing[0]}, the golden rows have {', '.join(table)}",
        )
    columns = [_column(tensor, name, table[name]) for name in names]
    stacked = np.stack(columns, axis=-1) if len(tensor.shape) > 1 else columns[0]
    try:
        return stacked.reshape([count, *tensor.shape[1:]])
    except ValueError as error:
        raise Failure(
            Inference.MODEL_DOES_NOT_LOAD,
            f"input {tensor.name} has shape {tensor.shape}, the golden rows give it {len(names)} columns",
        ) from error


def _column(tensor: Tensor, name: str, values: list[Any]) -> Array:
    if tensor.datatype == "BYTES":
        return np.array(["" if value is None else str(value) for value in values], dtype=object)
    try:
        return np.array(values, dtype=DTYPES[tensor.datatype])  # None becomes NaN where the type has one
    except (TypeError, ValueError, OverflowError) as error:
        raise Failure(
            Inference.MODEL_DOES_NOT_LOAD,
            f"column {name} of the golden rows does not fit {tensor.datatype} of input {tensor.name}: {error}",
        ) from error
