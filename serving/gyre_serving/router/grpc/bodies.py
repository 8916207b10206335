"""From a gRPC request for predictions to the V2 REST request of the steps behind it."""

import contextlib
from typing import Any

import orjson

from gyre_serving.golden.tensors import DTYPES
from gyre_serving.router.grpc.entries import MOST_ENTRIES
from gyre_serving.router.grpc.forms import RAW_ONLY, Forms, Input
from gyre_serving.router.message import Refusal
from gyre_serving.server.wire import BadTensor, count_of, from_binary

CONTENTS = {
    "BOOL": "bool_contents", "INT8": "int_contents", "INT16": "int_contents", "INT32": "int_contents",
    "INT64": "int64_contents", "UINT8": "uint_contents", "UINT16": "uint_contents", "UINT32": "uint_contents",
    "UINT64": "uint64_contents", "FP32": "fp32_contents", "FP64": "fp64_contents", "BYTES": "bytes_contents",
}  # fmt: skip
"""The field of InferTensorContents that holds a datatype's values."""
_SIZE_BF16 = 2


def forms_of(message: Any) -> Forms:
    """What a ModelInferRequest asks.

    Raises:
        Refusal: 400 naming the input whose contents do not fit its datatype and shape.
    """
    _bound(message)
    raw = message.raw_input_contents
    if raw and len(raw) != len(message.inputs):
        given = len(message.inputs)
        raise Refusal(400, f"raw_input_contents: one for each of the {given} inputs is wanted, got {len(raw)}")
    inputs = [_tensor(one, raw[index] if raw else None) for index, one in enumerate(message.inputs)]
    return Forms(_head(message), inputs)


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


def _tensor(given: Any, raw: bytes | None) -> Input:
    shape, datatype = list(given.shape), given.datatype
    head: dict[str, Any] = {"name": given.name, "datatype": datatype, "shape": shape}
    if given.parameters:
        head["parameters"] = _parameters(given.parameters)
    if datatype not in CONTENTS and datatype not in RAW_ONLY:
        raise Refusal(400, f"input {given.name!r:.80}: datatype {datatype!r:.40} is unknown; use one of {_KNOWN}")
    if any(size < 0 for size in shape):
        raise Refusal(400, f"input {given.name!r:.80}: shape {shape!r:.80} holds a negative size")
    try:
        return head, _typed(given) if raw is None else _raw(given, raw)
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


def _raw(given: Any, raw: bytes) -> bytes:
    if given.HasField("contents"):
        raise BadTensor("it has contents, and raw_input_contents besides; send one of them")
    return filled(raw, given.datatype, list(given.shape))


def filled(raw: bytes, datatype: str, shape: list[int]) -> bytes:
    """The bytes of a tensor, looked at.

    Raises:
        BadTensor: they do not fill its shape.
    """
    if datatype == "BYTES":
        from_binary(memoryview(raw), datatype, shape)  # their lengths stand in the bytes
        return raw
    wanted = count_of(shape) * (_SIZE_BF16 if datatype == "BF16" else DTYPES[datatype].itemsize)
    if len(raw) != wanted:
        raise BadTensor(f"{wanted} bytes are wanted for shape {shape} of {datatype}, got {len(raw)}")
    return raw


_KNOWN = ", ".join((*CONTENTS, *sorted(RAW_ONLY)))
