"""The built-in server's reading and writing of the Open Inference Protocol."""

import json
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gyre_crds.v1alpha1.version import Signature, Tensor
from gyre_serving.pod.http import Request
from gyre_serving.server.protocol import BadRequest, Query, decode, encode
from gyre_serving.server.wire import from_binary, from_json, to_binary, to_json

SIGNATURE = Signature(
    inputs=[
        Tensor(name="X", datatype="FP32", shape=[-1, 2]),
        Tensor(name="n", datatype="INT8", shape=[-1, 1]),
        Tensor(name="s", datatype="BYTES", shape=[-1, 1]),
    ],
    outputs=[Tensor(name="y", datatype="FP32", shape=[-1]), Tensor(name="t", datatype="BYTES", shape=[-1])],
)


def _body(**change: Any) -> bytes:
    tensors: dict[str, Any] = {
        "X": {"datatype": "FP32", "shape": [2, 2], "data": [1.5, None, 3, 4]},
        "n": {"datatype": "INT8", "shape": [2, 1], "data": [[1], [-2]]},
        "s": {"datatype": "BYTES", "shape": [2, 1], "data": ["a", "ä"]},
    }
    for name, fields in change.items():
        tensors[name] = {**tensors.get(name, {}), **fields}
    return json.dumps({"id": "7", "inputs": [{"name": name, **fields} for name, fields in tensors.items()]}).encode()


def _read(body: bytes, headers: dict[str, str] | None = None) -> Query:
    return decode(Request("POST", "/", headers or {}, body), SIGNATURE, batched=True)


def test_null_is_a_missing_number_and_text_is_utf_8() -> None:
    """Flat and nested data arrive in the declared types; null becomes NaN."""
    query = _read(_body())
    np.testing.assert_array_equal(query.inputs["X"], np.array([[1.5, np.nan], [3, 4]], dtype=np.float32))
    assert query.inputs["X"].dtype == np.float32
    assert query.inputs["n"].tolist() == [[1], [-2]]
    assert query.inputs["s"].tolist() == [[b"a"], ["ä".encode()]]
    assert (query.rows, query.id) == (2, "7")


def test_nan_as_triton_s_clients_write_it_is_read_too() -> None:
    """NaN is no JSON, and is read all the same."""
    query = _read(_body().replace(b"null", b"NaN"))
    assert np.isnan(query.inputs["X"][0, 1])


REFUSED = [
    pytest.param(b"", "no JSON", id="an empty body"),
    pytest.param(b"[1]", "no JSON object", id="a list"),
    pytest.param(b'{"inputs": {"X": 1}}', "a list of tensors", id="inputs as an object"),
    pytest.param(b'{"inputs": [1]}', "a list of tensors", id="a tensor that is a number"),
    pytest.param(b'{"inputs": []}', "input 'X' is missing; the model takes X (FP32 [-1, 2]), n", id="nothing given"),
    pytest.param(_body(z={"datatype": "FP32", "shape": [1], "data": [1]}), "input 'z' is unknown", id="unknown name"),
    pytest.param(_body(X={"datatype": "FP64"}), "X: datatype FP32 is wanted, got FP64", id="another datatype"),
    pytest.param(_body(X={"shape": [2, 3]}), "X: shape [-1, 2] is wanted, got [2, 3]", id="another width"),
    pytest.param(_body(X={"shape": [0, 2], "data": []}), "X: shape [-1, 2] is wanted, got [0, 2]", id="no rows"),
    pytest.param(_body(X={"shape": "2"}), "X: shape [-1, 2] is wanted", id="a shape that is none"),
    pytest.param(_body(X={"shape": [2, True]}), "X: shape [-1, 2] is wanted", id="a shape with true in it"),
    pytest.param(_body(X={"data": [1, 2, 3]}), "4 values are wanted for shape [2, 2], got 3", id="too few values"),
    pytest.param(_body(X={"data": [[1, 2], [3]]}), "the nested lists differ in length", id="ragged lists"),
    pytest.param(_body(X={"data": [1, 2, 3, "4"]}), "numbers are wanted for FP32, got text", id="text for a number"),
    pytest.param(_body(X={"data": [1, 2, None, "4"]}), "numbers or null are wanted, got text", id="text beside null"),
    pytest.param(_body(X={"data": [True, False, True, True]}), "got true or false", id="booleans for numbers"),
    pytest.param(_body(X={"data": 5}), "data: a list is wanted", id="a bare number"),
    pytest.param(_body(n={"data": [1, None]}), "null has no meaning in INT8", id="null for a whole number"),
    pytest.param(_body(n={"data": [1, 1.5]}), "whole numbers are wanted for INT8", id="a fraction for a whole number"),
    pytest.param(_body(n={"data": [1, 300]}), "INT8 holds -128 to 127, got 1 to 300", id="a number out of range"),
    pytest.param(_body(n={"shape": [1, 1], "data": [1]}), "as many rows, got X: 2, n: 1, s: 2", id="fewer rows in one"),
    pytest.param(_body(s={"data": ["a", 1]}), "texts are wanted for BYTES", id="a number for text"),
    pytest.param(_body().replace(b'"n"', b'"X"'), "input 'X' is given twice", id="one input twice"),
    pytest.param(_body()[:-1] + b',"outputs":[{"name":"q"}]}', "outputs: 'q' is unknown", id="an unknown output"),
    pytest.param(
        _body()[:-1] + b',"outputs":[{"name":"y","parameters":{"classification":2}}]}',
        "classification is not served",
        id="an extension that is not there",
    ),
    pytest.param(b'{"inputs":' + b"[" * 100_000, "no JSON", id="a hundred thousand brackets"),
    pytest.param(b'{"a":NaN,"inputs":' + b"[" * 100_000, "no JSON", id="the same with NaN"),
]


@pytest.mark.parametrize(("body", "sentence"), REFUSED)
def test_a_request_that_cannot_be_read_names_the_input(body: bytes, sentence: str) -> None:
    """Each malformed request is refused with what is wanted and what came."""
    with pytest.raises(BadRequest) as refused:
        _read(body)
    assert sentence in str(refused.value)


def _binary(data: bytes, size: int, tail: bytes = b"") -> tuple[bytes, dict[str, str]]:
    tensor = {"name": "X", "datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": size}}
    others = json.loads(_body())["inputs"][1:]
    for other in others:
        other["shape"], other["data"] = [1, 1], other["data"][:1]
    head = json.dumps({"inputs": [tensor, *others]}).encode()
    return head + data + tail, {"inference-header-content-length": str(len(head))}


def test_binary_tensors_follow_the_json() -> None:
    """The header says where they begin, binary_data_size how long each is."""
    query = _read(*_binary(struct.pack("<2f", 1.5, float("nan")), 8))
    np.testing.assert_array_equal(query.inputs["X"], np.array([[1.5, np.nan]], dtype=np.float32))


@pytest.mark.parametrize(
    ("data", "size", "tail", "sentence"),
    [
        pytest.param(b"1234", 4, b"", "8 bytes are wanted for shape [1, 2] of FP32, got 4", id="too short"),
        pytest.param(b"1234", 8, b"", "binary_data_size 8 is not within the 4 bytes left", id="beyond the body"),
        pytest.param(b"12345678", 8, b"9", "1 bytes follow the last tensor", id="a rest"),
        pytest.param(b"12345678", -1, b"", "binary_data_size -1", id="negative"),
    ],
)
def test_binary_tensors_of_the_wrong_size_are_refused(data: bytes, size: int, tail: bytes, sentence: str) -> None:
    """Sizes that do not add up are told with both numbers."""
    with pytest.raises(BadRequest) as refused:
        _read(*_binary(data, size, tail))
    assert sentence in str(refused.value)


@pytest.mark.parametrize("length", ["x", "99999", "-1"])
def test_a_json_length_beyond_the_body_is_refused(length: str) -> None:
    """The header must be a length within the body."""
    with pytest.raises(BadRequest, match="is no length within the body"):
        _read(_body(), {"inference-header-content-length": length})


def test_answers_keep_the_signature_s_order_and_write_nan_as_null() -> None:
    """All outputs in the signature's order, id repeated, NaN as null, text as text."""
    outputs = {"t": np.array([b"a", b"b"], dtype=object), "y": np.array([1.5, np.nan], dtype=np.float32)}
    answer = encode(Query({}, 2, "7"), outputs, head=b'{"model_name":"m","model_version":"1"', signature=SIGNATURE)
    assert json.loads(answer.body) == {
        "model_name": "m",
        "model_version": "1",
        "id": "7",
        "outputs": [
            {"name": "y", "datatype": "FP32", "shape": [2], "data": [1.5, None]},
            {"name": "t", "datatype": "BYTES", "shape": [2], "data": ["a", "b"]},
        ],
    }


def test_one_output_as_binary() -> None:
    """Only what is asked for is answered, as binary where that is asked for."""
    outputs = {"t": np.array([b"a"], dtype=object), "y": np.array([2.0], dtype=np.float32)}
    answer = encode(Query({}, 1, None, {"t": True}), outputs, head=b'{"a":1', signature=SIGNATURE)
    cut = int(answer.headers["inference-header-content-length"])
    assert json.loads(answer.body[:cut])["outputs"][0]["parameters"] == {"binary_data_size": 5}
    assert answer.body[cut:] == b"\x01\x00\x00\x00a"


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=20), min_size=1, max_size=8))
def test_text_survives_the_binary_form(texts: list[bytes]) -> None:
    """Any bytes come back as they went."""
    data = to_binary(np.array(texts, dtype=object), "BYTES")
    assert from_binary(memoryview(data), "BYTES", [len(texts)]).tolist() == texts


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=64), st.integers(1, 4))
def test_any_bytes_as_text_are_read_or_refused(data: bytes, count: int) -> None:
    """Arbitrary bytes never break the reader: they are the texts, or a BadTensor."""
    try:
        texts = from_binary(memoryview(data), "BYTES", [count])
    except ValueError:
        return
    assert to_binary(texts, "BYTES") == data


@settings(max_examples=200, deadline=None)
@given(st.lists(st.none() | st.floats(width=32, allow_nan=False), min_size=1, max_size=20))
def test_floats_survive_json(values: list[float | None]) -> None:
    """float32 and missing values come back the same, through both directions."""
    read = from_json(values, "FP32", [len(values)])
    written = [None if np.isnan(value) else value for value in to_json(read, "FP32").tolist()]
    again = from_json(written, "FP32", [len(values)])
    np.testing.assert_array_equal(read, again)
    assert [bool(np.isnan(value)) for value in read] == [value is None for value in values]


@settings(max_examples=400, deadline=None)
@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3), st.lists, max_leaves=12)
)
def test_any_json_as_data_is_read_or_refused(data: Any) -> None:
    """Whatever JSON stands under data: a tensor of the declared shape, or a BadRequest. Never another exception."""
    body = _body(X={"data": data}, n={"data": data}, s={"data": data})
    try:
        query = _read(body)
    except BadRequest:
        return
    assert query.inputs["X"].shape == (2, 2)
