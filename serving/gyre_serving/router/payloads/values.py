"""The tensors of a logged body: lists of JSON, or arrays of what followed it as binary tensors."""

import json
from typing import Any, TypeAlias

import numpy as np
import orjson
from numpy.typing import NDArray

from gyre_serving.server.wire import from_binary

Buffer: TypeAlias = bytes | memoryview
_SHORT_FLOATS = frozenset({"FP16", "FP32"})


def tensors_of(text: bytes, side: str, rest: Buffer) -> dict[str, Any]:
    """The tensors of a V2 document by name, each with its data.

    Args:
        text: JSON.
        side: `inputs` or `outputs`.
        rest: the binary tensors that follow it, in the order in which the document names them.

    Raises:
        ValueError: where a tensor does not fill its shape.
    """
    found = {}
    left = memoryview(rest)
    for one in _load(text)[side]:
        size = one.get("parameters", {}).get("binary_data_size")
        if size is None:
            found[one["name"]] = one
        else:
            found[one["name"]] = {**one, "data": _values(left[:size], one["datatype"], one["shape"])}
            left = left[size:]
    return found


def flatten(data: Any) -> Any:
    """The values row by row, of flat or nested lists; of arrays too."""
    if isinstance(data, np.ndarray):
        return data.ravel()
    values: list[Any] = data if isinstance(data, list) else [data]
    while values and isinstance(values[0], list):
        values = [value for row in values for value in row]
    return values


def _load(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return json.loads(body)


def _values(data: memoryview, datatype: str, shape: list[int]) -> Any:
    values = from_binary(data, datatype, shape)
    if datatype == "BYTES":
        return [one.decode() for one in values.ravel()]
    return _as_written(values) if datatype in _SHORT_FLOATS else values


def _as_written(values: NDArray[Any]) -> Any:
    """As doubles that are the numbers' shortest texts: 0.1 as one of four bytes is 0.1 here, as it is from JSON."""
    if np.isinf(values).any():
        return values.astype(np.float64)
    return orjson.loads(orjson.dumps(values.ravel(), option=orjson.OPT_SERIALIZE_NUMPY))
