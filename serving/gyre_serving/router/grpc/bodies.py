"""From a gRPC request for predictions to the V2 REST body of the steps behind it.

The body is JSON, which every model server takes and in which values are checked, logged, cached and compared.
What JSON cannot hold (FP16, BF16, BYTES that are no UTF-8) goes as binary tensors, unparsed, as such bodies of REST do.
"""

import contextlib
import json
from math import inf
from typing import Any, NamedTuple

import orjson

from gyre_serving.golden.tensors import DTYPES
from gyre_serving.router.message import Refusal
from gyre_serving.server.wire import Array, BadTensor, count_of, from_binary, to_binary

CONTENTS = {
    "BOOL": "bool_contents", "INT8": "int_contents", "INT16": "int_contents", "INT32": "int_contents",
    "INT64": "int64_contents", "UINT8": "uint_contents", "UINT16": "uint_contents", "UINT32": "uint_contents",
    "UINT64": "uint64_contents", "FP32": "fp32_contents", "FP64": "fp64_contents", "BYTES": "bytes_contents",
}  # fmt: skip
"""The field of InferTensorContents that holds a datatype's values."""
RAW_ONLY = frozenset({"FP16", "BF16"})
"""Datatypes without such a field, and without a place in the JSON of some model servers."""
HEADER_LENGTH = b"inference-header-content-length"
MOST_ENTRIES = 8192
"""Inputs, outputs and parameters of one message: each takes two bytes there, and hundreds once it is read."""
_SIZE_BF16 = 2


class Body(NamedTuple):
    """What the steps get."""

    pieces: list[bytes]
    headers: dict[bytes, bytes]


def body_of(message: Any) -> Body:
    """The body of a ModelInferRequest.

    Raises:
        Refusal: 400 naming the input whose contents do not fit its datatype and shape.
    """
    _bound(message)
    raw = message.raw_input_contents
    if raw and len(raw) != len(message.inputs):
        given = len(message.inputs)
        raise Refusal(400, f"raw_input_contents: one for each of the {given} inputs is wanted, got {len(raw)}")
    document = _head(message)
    tensors = [_tensor(one, raw[index] if raw else None) for index, one in enumerate(message.inputs)]
    if not any(one.datatype in RAW_ONLY for one in message.inputs):
        with contextlib.suppress(UnicodeDecodeError):
            document["inputs"] = [{**head, "data": _json(values)} for head, values in tensors]
            text = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
            return Body([text], {b"content-type": b"application/json"})
    return _binary(document, tensors)


def _bound(message: Any) -> None:
    tensors = len(message.inputs) + len(message.outputs)
    if tensors <= MOST_ENTRIES:
        parameters = sum(len(one.parameters) for one in (*message.inputs, *message.outputs, message))
        if tensors + parameters <= MOST_ENTRIES:
            return
    raise Refusal(400, f"inputs, outputs and parameters: a message holds at most {MOST_ENTRIES} of them together")


def _head(message: Any) -> dict[str, Any]:
    document: dict[str, Any] = {}
    if message.id:
        document["id"] = message.id
    if message.parameters:
        document["parameters"] = _parameters(message.parameters)
        _list_keys(document["parameters"])
    if message.outputs:
        document["outputs"] = [
            {"name": one.name, "parameters": _parameters(one.parameters)} if one.parameters else {"name": one.name}
            for one in message.outputs
        ]
    return document


def _parameters(given: Any) -> dict[str, Any]:
    return {name: getattr(one, field) for name, one in given.items() if (field := one.WhichOneof("parameter_choice"))}


def _list_keys(parameters: dict[str, Any]) -> None:
    """A parameter of gRPC is no list: the rows' keys come as the JSON text of one."""
    if isinstance(parameters.get("keys"), str):
        with contextlib.suppress(orjson.JSONDecodeError):
            parameters["keys"] = orjson.loads(parameters["keys"])


def _tensor(given: Any, raw: bytes | None) -> tuple[dict[str, Any], Array | bytes | list[Any]]:
    """An input without its data, and these: an array or the bytes of raw contents, a list of typed ones."""
    shape, datatype = list(given.shape), given.datatype
    head: dict[str, Any] = {"name": given.name, "datatype": datatype, "shape": shape}
    if given.parameters:
        head["parameters"] = _parameters(given.parameters)
    if datatype not in CONTENTS and datatype not in RAW_ONLY:
        raise Refusal(400, f"input {given.name!r:.80}: datatype {datatype!r:.40} is unknown; use one of {_KNOWN}")
    if any(size < 0 for size in shape):
        raise Refusal(400, f"input {given.name!r:.80}: shape {shape!r:.80} holds a negative size")
    try:
        return head, _typed(given) if raw is None else _raw(raw, datatype, shape)
    except (BadTensor, ValueError) as error:
        raise Refusal(400, f"input {given.name!r:.80}: {error}") from error


def _typed(given: Any) -> list[Any]:
    field = CONTENTS.get(given.datatype)
    if field is None:
        raise BadTensor(f"{given.datatype} has no typed contents; send raw_input_contents")
    filled = [descriptor.name for descriptor, _ in given.contents.ListFields()]
    if filled not in ([], [field]):
        raise BadTensor(f"{given.datatype} stands in {field}, got {', '.join(filled)}")
    return list(getattr(given.contents, field))


def _raw(raw: bytes, datatype: str, shape: list[int]) -> Array | bytes:
    if datatype != "BF16":
        return from_binary(memoryview(raw), datatype, shape)
    wanted = _SIZE_BF16 * count_of(shape)
    if len(raw) != wanted:
        raise BadTensor(f"{wanted} bytes are wanted for shape {shape} of BF16, got {len(raw)}")
    return raw


def _json(values: Array | bytes | list[Any]) -> Any:
    """What orjson writes as flat data; missing numbers become null."""
    if isinstance(values, bytes):
        return values
    if isinstance(values, list):
        return [one.decode() for one in values] if values and isinstance(values[0], bytes) else _finite(values)
    flat = values.ravel()
    if flat.dtype.kind == "O":
        return [one.decode() for one in flat]
    return _finite(flat) if flat.dtype.kind == "f" else flat


def _finite(values: Array | list[Any]) -> Any:
    """The same, written by Python where it holds an infinity: orjson would make it null, a missing value."""
    if inf not in values and -inf not in values:
        return values
    return orjson.Fragment(json.dumps(values if isinstance(values, list) else values.tolist()))


def _binary(document: dict[str, Any], tensors: list[tuple[dict[str, Any], Array | bytes | list[Any]]]) -> Body:
    blobs: list[bytes] = []
    inputs = []
    for head, values in tensors:
        blobs.append(values if isinstance(values, bytes) else _bytes(values, head["datatype"]))
        size = {"binary_data_size": len(blobs[-1])}
        inputs.append({**head, "parameters": head.get("parameters", {}) | size})
    document["inputs"] = inputs
    document["parameters"] = document.get("parameters", {}) | {"binary_data_output": True}
    text = orjson.dumps(document)
    headers = {HEADER_LENGTH: str(len(text)).encode(), b"content-type": b"application/octet-stream"}
    return Body([text, *blobs], headers)


def _bytes(values: Array | list[Any], datatype: str) -> bytes:
    if isinstance(values, list):
        import numpy as np  # noqa: PLC0415

        values = np.array(values, dtype=DTYPES[datatype])
    return to_binary(values, datatype)


_KNOWN = ", ".join((*CONTENTS, *sorted(RAW_ONLY)))
