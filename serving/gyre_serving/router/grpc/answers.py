"""From the V2 REST answer of the steps to the message that a gRPC client gets."""

from collections.abc import Mapping
from typing import Any

from gyre_crds.contracts.routing import FEEDBACK_HEADER
from gyre_serving.router.grpc.bodies import CONTENTS, filled
from gyre_serving.router.grpc.forms import HEADER_LENGTH, RAW_ONLY
from gyre_serving.router.grpc.messages import MESSAGES
from gyre_serving.router.message import Refusal
from gyre_serving.router.tensors import parse
from gyre_serving.server.wire import from_binary, from_json, to_binary

_FEEDBACK = FEEDBACK_HEADER.encode()


def predictions(headers: Mapping[bytes, bytes], body: bytes, *, raw: bool) -> bytes:
    """A ModelInferResponse.

    Args:
        headers: of the answer.
        body: JSON, or JSON followed by binary tensors.
        raw: whether the tensors go into `raw_output_contents`; those without typed contents do so always.

    Raises:
        Refusal: 502 when the model server's answer is none of the protocol.
    """
    try:
        return bytes(_predictions(headers, body, raw=raw).SerializeToString())
    except (Refusal, KeyError, TypeError, ValueError, AttributeError) as error:
        raise Refusal(502, f"the model's answer cannot be told over gRPC: {error}") from error


def _predictions(headers: Mapping[bytes, bytes], body: bytes, *, raw: bool) -> Any:
    cut = int(headers.get(HEADER_LENGTH, len(body)))
    document, tail = parse(body[:cut]).document, memoryview(body)[cut:]
    answer = MESSAGES["ModelInferResponse"](
        model_name=str(document.get("model_name", "")),
        model_version=str(document.get("model_version") or ""),
        id=str(document.get("id") or ""),
    )
    _set(answer.parameters, document.get("parameters"))
    feedback_id = headers.get(_FEEDBACK)
    if feedback_id is not None:
        # Clients that hide an answer's metadata, as Triton's does, find it here.
        answer.parameters[FEEDBACK_HEADER].string_param = feedback_id.decode()
    raw = raw or any(given["datatype"] in RAW_ONLY for given in document["outputs"])
    for given in document["outputs"]:
        tail = _output(answer, given, tail, raw=raw)
    return answer


def _output(answer: Any, given: dict[str, Any], tail: memoryview, *, raw: bool) -> memoryview:
    datatype, shape = given["datatype"], given["shape"]
    output = answer.outputs.add(name=given["name"], datatype=datatype, shape=shape)
    parameters = given.get("parameters") or {}
    size = parameters.get("binary_data_size")
    if size is not None and not 0 <= size <= len(tail):
        raise ValueError(f"output {given['name']!r:.80} has {size!r:.20} bytes of the {len(tail)} that are left")
    _set(output.parameters, {name: value for name, value in parameters.items() if name != "binary_data_size"})
    if size is not None and raw:
        answer.raw_output_contents.append(filled(bytes(tail[:size]), datatype, shape))
        return tail[size:]
    if size is not None:
        values, tail = from_binary(tail[:size], datatype, shape), tail[size:]
    else:
        values = from_json(given["data"], datatype, shape)
    if raw:
        answer.raw_output_contents.append(to_binary(values, datatype))
    else:
        getattr(output.contents, CONTENTS[datatype]).extend(values.ravel().tolist())
    return tail


def _set(parameters: Any, given: object) -> None:
    """Take over what a parameter of gRPC can hold."""
    for name, value in given.items() if isinstance(given, dict) else ():
        if isinstance(value, bool):
            parameters[name].bool_param = value
        elif isinstance(value, int):
            parameters[name].int64_param = value
        elif isinstance(value, float):
            parameters[name].double_param = value
        elif isinstance(value, str):
            parameters[name].string_param = value
