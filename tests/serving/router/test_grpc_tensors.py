"""Every datatype over gRPC, read and answered by the built-in server's own reader of the protocol."""

import json
from typing import Any

import numpy as np
import pytest
from tritonclient.grpc import service_pb2  # type: ignore[import-untyped]
from tritonclient.utils import deserialize_bytes_tensor, serialize_byte_tensor  # type: ignore[import-untyped]

from gyre_crds.v1alpha1.version import Signature
from gyre_serving.pod.http import Request
from gyre_serving.router.grpc.answers import predictions
from gyre_serving.router.grpc.bodies import CONTENTS, forms_of
from gyre_serving.router.grpc.forms import HEADER_LENGTH, RAW_ONLY
from gyre_serving.router.grpc.messages import MESSAGES
from gyre_serving.server.protocol import decode, encode

VALUES: dict[str, np.ndarray[Any, Any]] = {
    "BOOL": np.array([True, False]),
    "INT8": np.array([-128, 127], np.int8),
    "INT16": np.array([-(2**15), 7], np.int16),
    "INT32": np.array([-(2**31), 7], np.int32),
    "INT64": np.array([-(2**63), 2**63 - 1], np.int64),
    "UINT8": np.array([0, 255], np.uint8),
    "UINT16": np.array([0, 2**16 - 1], np.uint16),
    "UINT32": np.array([0, 2**32 - 1], np.uint32),
    "UINT64": np.array([0, 2**64 - 1], np.uint64),
    "FP16": np.array([0.5, np.nan], np.float16),
    "FP32": np.array([0.1, np.nan], np.float32),
    "FP64": np.array([1e300, np.nan]),
    "BYTES": np.array(["Linz", "größer"], object),
}


def _signature(datatype: str) -> Signature:
    tensor = {"name": "x", "datatype": datatype, "shape": [-1]}
    return Signature.model_validate({"inputs": [tensor], "outputs": [tensor]})


def _asked(request: Any, *, binary: bool) -> Request:
    """What a model server is asked, in JSON where that is wanted and can be."""
    forms = forms_of(MESSAGES["ModelInferRequest"].FromString(request.SerializeToString()))
    text = None if binary else forms.json()
    if text is not None:
        return Request("POST", "/", {}, text)
    prepared = forms.binary()
    headers = {name.decode(): value.decode() for name, value in prepared.headers.items()}
    return Request("POST", "/", headers, b"".join(prepared.body))


def _echoed(request: Any, datatype: str, *, raw: bool, binary: bool = False) -> Any:
    """The answer of a server that gives back what it read."""
    signature = _signature(datatype)
    query = decode(_asked(request, binary=binary), signature, batched=True)
    answer = encode(query, query.inputs, head=b'{"model_name":"m"', signature=signature)
    told = {name.lower().encode(): value.encode() for name, value in answer.headers.items()}
    return service_pb2.ModelInferResponse.FromString(predictions(told, answer.body, raw=raw))


def _request(datatype: str) -> Any:
    request = service_pb2.ModelInferRequest(model_name="m")
    request.inputs.add(name="x", datatype=datatype, shape=[2])
    return request


@pytest.mark.parametrize("binary", [pytest.param(True, id="binary"), pytest.param(False, id="JSON")])
@pytest.mark.parametrize("datatype", sorted(VALUES))
def test_raw_tensors_come_back_bit_by_bit(datatype: str, *, binary: bool) -> None:
    """What goes raw through the router to a server that repeats it comes back raw and the same, NaN too."""
    request = _request(datatype)
    values = VALUES[datatype]
    sent = serialize_byte_tensor(values).item() if datatype == "BYTES" else values.tobytes()
    request.raw_input_contents.append(sent)
    answer = _echoed(request, datatype, raw=True, binary=binary)
    assert list(answer.raw_output_contents) == [sent]
    assert not answer.outputs[0].HasField("contents")


@pytest.mark.parametrize("datatype", sorted(VALUES.keys() & CONTENTS.keys()))
def test_typed_tensors_come_back_typed(datatype: str) -> None:
    """The same with typed contents."""
    request = _request(datatype)
    given = [one.encode() for one in VALUES[datatype]] if datatype == "BYTES" else VALUES[datatype].tolist()
    getattr(request.inputs[0].contents, CONTENTS[datatype]).extend(given)
    answer = _echoed(request, datatype, raw=False)
    assert not answer.raw_output_contents
    assert answer.outputs[0].contents.SerializeToString() == request.inputs[0].contents.SerializeToString()


def test_bytes_that_are_no_text_pass() -> None:
    """Bytes that JSON cannot hold go as binary tensors, raw and typed, and come back as they were."""
    datatype, values = "BYTES", np.array([b"\xff\x00\xfe", b""], object)
    request = _request(datatype)
    request.raw_input_contents.append(serialize_byte_tensor(values).item())
    answer = _echoed(request, datatype, raw=True)
    assert deserialize_bytes_tensor(answer.raw_output_contents[0]).tolist() == values.tolist()
    request = _request(datatype)
    request.inputs[0].contents.bytes_contents.extend(values.tolist())
    assert list(_echoed(request, datatype, raw=False).outputs[0].contents.bytes_contents) == values.tolist()


@pytest.mark.parametrize("raw", [pytest.param(True, id="raw"), pytest.param(False, id="typed")])
@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64"])
def test_infinity_is_no_missing_value(datatype: str, *, raw: bool) -> None:
    """The model server reads the infinities, and NaN beside them, that the client sent."""
    values = np.array([np.inf, np.nan, -np.inf, 0.1], VALUES[datatype].dtype)
    request = _request(datatype)
    request.inputs[0].shape[:] = [4]
    if raw or datatype in RAW_ONLY:
        request.raw_input_contents.append(values.tobytes())
    else:
        getattr(request.inputs[0].contents, CONTENTS[datatype]).extend(values.tolist())
    read = decode(_asked(request, binary=False), _signature(datatype), batched=True).inputs["x"]
    np.testing.assert_array_equal(read, values)


def test_parameters_keep_their_types() -> None:
    """Parameters of request, input and wanted output stand in the body with the type that they had."""
    request = _request("FP16")
    request.raw_input_contents.append(b"\0\0\0\0")
    request.parameters["priority"].uint64_param = 2**63
    request.parameters["exact"].bool_param = False
    request.inputs[0].parameters["unit"].string_param = "m"
    request.outputs.add(name="x").parameters["classification"].int64_param = 3
    assert request.inputs[0].datatype in RAW_ONLY
    prepared = forms_of(MESSAGES["ModelInferRequest"].FromString(request.SerializeToString())).binary()
    assert prepared.headers[HEADER_LENGTH] == b"%d" % len(prepared.body[0])
    tensor = {"name": "x", "datatype": "FP16", "shape": [2], "parameters": {"unit": "m", "binary_data_size": 4}}
    assert json.loads(prepared.body[0]) == {
        "parameters": {"exact": False, "priority": 2**63, "binary_data_output": True},
        "outputs": [{"name": "x", "parameters": {"classification": 3}}],
        "inputs": [tensor],
    }
    assert prepared.body[1:] == [b"\0\0\0\0"]
