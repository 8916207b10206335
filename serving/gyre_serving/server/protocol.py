"""The Open Inference Protocol (V2 REST) as bytes: requests to tensors, tensors to answers.

JSON, and the binary tensor extension that Triton speaks: `Inference-Header-Content-Length` says where the JSON
ends and the raw little-endian tensors begin.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeGuard

import orjson
from numpy.typing import NDArray

from gyre_crds.v1alpha1.version import Signature, Tensor
from gyre_serving.pod.http import Answer, Request
from gyre_serving.server.wire import BadTensor, from_binary, from_json, to_binary, to_json

Array = NDArray[Any]

HEADER_LENGTH = "inference-header-content-length"
_BINARY = "application/octet-stream"


class BadRequest(Exception):  # noqa: N818  an answer, not an error of the program
    """The request cannot be answered; the message names what and the cure."""


@dataclass(slots=True)
class Query:
    """One request for predictions."""

    inputs: dict[str, Array]
    rows: int
    id: str | None = None
    outputs: dict[str, bool] = field(default_factory=dict)
    """Outputs to answer and whether as binary; empty means all."""
    binary: bool = False
    """Whether outputs that say nothing are answered as binary."""


def decode(request: Request, signature: Signature, *, batched: bool) -> Query:
    """Read a request.

    Args:
        request: JSON, or JSON followed by tensors.
        signature: what the model takes.
        batched: whether the first dimension is the rows.

    Raises:
        BadRequest: naming the input, what is wanted and what came.
    """
    head, tail = _split(request)
    given = _loads(head)
    tensors = given.get("inputs")
    if not isinstance(tensors, list) or not all(isinstance(tensor, dict) for tensor in tensors):
        raise BadRequest("inputs: a list of tensors is wanted, each {name, datatype, shape, data}")
    inputs = _inputs(tensors, tail, signature)
    rows = _rows(inputs) if batched else 1
    parameters = given.get("parameters")
    binary = bool(parameters.get("binary_data_output")) if isinstance(parameters, dict) else False
    outputs = _wanted(given["outputs"], signature, binary=binary) if given.get("outputs") else {}
    identity = given.get("id")
    return Query(inputs, rows, identity if isinstance(identity, str) else None, outputs, binary)


def encode(query: Query, outputs: Mapping[str, Array], *, head: bytes, signature: Signature) -> Answer:
    """Write the answer.

    Args:
        query: says which outputs, and how.
        outputs: the model's tensors by name.
        head: JSON of model name and version without its closing brace.
        signature: datatypes and order of the outputs.
    """
    entries: list[dict[str, Any]] = []
    blobs: list[bytes] = []
    for tensor in signature.outputs:
        if query.outputs and tensor.name not in query.outputs:
            continue
        values = outputs[tensor.name]
        entry: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(values.shape)}
        if query.outputs.get(tensor.name, query.binary):
            blobs.append(to_binary(values, tensor.datatype))
            entry["parameters"] = {"binary_data_size": len(blobs[-1])}
        else:
            entry["data"] = to_json(values, tensor.datatype)
        entries.append(entry)
    identity = b"" if query.id is None else b',"id":' + orjson.dumps(query.id)
    body = head + identity + b',"outputs":' + orjson.dumps(entries, option=orjson.OPT_SERIALIZE_NUMPY) + b"}"
    if not blobs:
        return Answer(200, body)
    return Answer(200, body + b"".join(blobs), _BINARY, {HEADER_LENGTH: str(len(body))})


def _split(request: Request) -> tuple[bytes, memoryview]:
    length = request.headers.get(HEADER_LENGTH)
    if length is None:
        return request.body, memoryview(b"")
    if not length.isdecimal() or int(length) > len(request.body):
        raise BadRequest(f"header {HEADER_LENGTH}: {length[:40]!r} is no length within the body")
    cut = int(length)
    return request.body[:cut], memoryview(request.body)[cut:]


def _loads(text: bytes) -> dict[str, Any]:
    try:
        given = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        given = _loads_lax(text, error)
    if not isinstance(given, dict):
        raise BadRequest('the body is no JSON object; send {"inputs": [...]}')
    return given


def _loads_lax(text: bytes, first: Exception) -> Any:
    """JSON with NaN and Infinity, which are no JSON but what clients of Triton send for missing values."""
    if b"NaN" not in text and b"Infinity" not in text:
        raise BadRequest(f"the body is no JSON: {first}") from first
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the body is no JSON: {error}") from error


def _inputs(tensors: list[dict[str, Any]], tail: memoryview, signature: Signature) -> dict[str, Array]:
    known = {tensor.name: tensor for tensor in signature.inputs}
    inputs: dict[str, Array] = {}
    for given in tensors:
        name = given.get("name")
        tensor = known.get(name) if isinstance(name, str) else None
        if tensor is None or name in inputs:
            what = "is given twice" if name in inputs else "is unknown"
            raise BadRequest(f"input {str(name)[:80]!r} {what}; the model takes {describe(signature)}")
        inputs[tensor.name], tail = _tensor(given, tensor, tail)
    missing = [name for name in known if name not in inputs]
    if missing:
        raise BadRequest(f"input {missing[0]!r} is missing; the model takes {describe(signature)}")
    if len(tail):
        raise BadRequest(f"{len(tail)} bytes follow the last tensor; let binary_data_size cover them")
    return inputs


def _tensor(given: dict[str, Any], tensor: Tensor, tail: memoryview) -> tuple[Array, memoryview]:
    datatype, shape = given.get("datatype"), given.get("shape")
    if datatype != tensor.datatype:
        raise BadRequest(f"input {tensor.name}: datatype {tensor.datatype} is wanted, got {str(datatype)[:20]}")
    if not _is_shape(shape) or not _fits(shape, tensor.shape):
        raise BadRequest(f"input {tensor.name}: shape {tensor.shape} is wanted, got {str(shape)[:60]}")
    parameters = given.get("parameters")
    size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
    if size is not None and (type(size) is not int or not 0 <= size <= len(tail)):
        raise BadRequest(f"input {tensor.name}: binary_data_size {size!r} is not within the {len(tail)} bytes left")
    try:
        if size is None:
            return from_json(given.get("data"), tensor.datatype, shape), tail
        return from_binary(tail[:size], tensor.datatype, shape), tail[size:]
    except BadTensor as error:
        raise BadRequest(f"input {tensor.name}: {error}") from error


def _is_shape(shape: object) -> TypeGuard[list[int]]:
    return isinstance(shape, list) and all(type(size) is int and 0 < size < 1 << 31 for size in shape)


def _fits(shape: list[int], wanted: list[int]) -> bool:
    return len(shape) == len(wanted) and all(want in (-1, got) for got, want in zip(shape, wanted, strict=True))


def _rows(inputs: Mapping[str, Array]) -> int:
    counts = {name: len(values) for name, values in inputs.items()}
    if len(set(counts.values())) > 1:
        raise BadRequest(f"all inputs want as many rows, got {', '.join(f'{n}: {c}' for n, c in counts.items())}")
    return next(iter(counts.values()))


def _wanted(outputs: Any, signature: Signature, *, binary: bool) -> dict[str, bool]:
    known = [tensor.name for tensor in signature.outputs]
    wanted: dict[str, bool] = {}
    for output in outputs if isinstance(outputs, list) else [None]:
        name = output.get("name") if isinstance(output, dict) else None
        if not isinstance(output, dict) or name not in known:
            raise BadRequest(f"outputs: {str(name)[:80]!r} is unknown; the model gives {', '.join(known)}")
        parameters = output.get("parameters")
        parameters = parameters if isinstance(parameters, dict) else {}
        if "classification" in parameters:
            raise BadRequest(f"outputs: {name}: parameter classification is not served; ask for the scores")
        wanted[str(name)] = bool(parameters.get("binary_data", binary))
    return wanted


def describe(signature: Signature) -> str:
    """The inputs as words: `X (FP32 [-1, 4])`."""
    return ", ".join(f"{tensor.name} ({tensor.datatype} {tensor.shape})" for tensor in signature.inputs)
