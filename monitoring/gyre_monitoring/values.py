"""Arrow columns as the two things the engine counts: float64 numbers and texts."""

from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]
ColumnType = Literal["number", "string", "time", "vector", "nothing", "other"]

_WHOLE_LIMIT = 2.0**53  # above it not every whole number is a float


def column_type(kind: pa.DataType) -> ColumnType:
    """What a column holds, by its Arrow type; dictionaries count as their values."""
    types = pa.types
    if types.is_dictionary(kind):
        return column_type(kind.value_type)
    tests = (
        (types.is_null, "nothing"),
        (_is_number, "number"),
        (lambda one: types.is_string(one) or types.is_large_string(one) or types.is_string_view(one), "string"),
        (lambda one: types.is_timestamp(one) or types.is_date(one), "time"),
        (_is_vector, "vector"),
    )
    for matches, name in tests:
        if matches(kind):
            return name  # type: ignore[return-value]
    return "other"


def _is_vector(kind: pa.DataType) -> bool:
    types = pa.types
    lists = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return lists and _is_number(kind.value_type)


def _is_number(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(
        types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind) or types.is_decimal(kind),
    )


def numbers(column: pa.Array | pa.ChunkedArray) -> Floats:
    """A numeric, boolean or time column as float64; nulls are NaN, times are Unix seconds."""
    column = _plain(column)
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        column = pc.cast(pc.cast(column, pa.timestamp("us")), pa.int64())
        return numbers(column) / 1e6
    if column.type != pa.float64():
        column = pc.cast(column, pa.float64(), safe=False)
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)


def texts(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Any column as Arrow strings in the form categories are compared in; NaN, lists and objects become null."""
    column = _plain(column)
    if column_type(column.type) == "string":
        return pc.cast(column, pa.string())
    if column_type(column.type) in {"nothing", "other", "vector"}:
        return pa.nulls(len(column), pa.string())
    distinct, inverse = np.unique(numbers(column), return_inverse=True, equal_nan=True)
    names = pa.array([canonical(value) for value in distinct], pa.string())
    return names.take(pa.array(inverse))


def canonical(value: object) -> str | None:
    """One text for equal values: 1, 1.0, "1" and True are all `1`; NaN and None are None."""
    if value is None:
        return None
    if isinstance(value, str):
        return value
    number = float(value)  # type: ignore[arg-type]
    if np.isnan(number):
        return None
    return str(int(number)) if number.is_integer() and abs(number) < _WHOLE_LIMIT else repr(number)


def _plain(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if isinstance(column, pa.ChunkedArray):
        column = column.chunk(0) if column.num_chunks else pa.array([], column.type)
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
