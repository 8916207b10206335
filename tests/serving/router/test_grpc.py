"""gRPC V2 as its clients see it: forms of tensors, metadata, and what a refused call says."""

import math
from typing import Any

import grpc  # type: ignore[import-untyped]
import numpy as np
import pytest
import tritonclient.grpc.aio as triton  # type: ignore[import-untyped]
from tritonclient.grpc import service_pb2

from gyre_serving.router.grpc.messages import MESSAGES
from tests.serving.support.grpc import client, labels, raw, typed


@pytest.mark.parametrize("name", sorted(MESSAGES))
def test_messages_are_those_of_the_protocol(name: str) -> None:
    """Every field of ours has the number, type and name that Triton's client knows it by, and none is missing."""
    found: Any = service_pb2.DESCRIPTOR.message_types_by_name[name.partition(".")[0]]
    for inner in name.split(".")[1:]:
        found = found.nested_types_by_name[inner]

    def fields(descriptor: Any) -> set[tuple[Any, ...]]:
        return {
            (one.name, one.number, one.type, one.is_repeated, one.message_type.full_name if one.message_type else "")
            for one in descriptor.fields
        }

    assert fields(MESSAGES[name].DESCRIPTOR) == fields(found)


async def test_tritons_client_is_served(start: Any, models: Any, kit: Any) -> None:
    """Triton's own gRPC client finds the service alive, described and right, also about missing values."""
    router = await start(kit.table(kit.route(await models())), grpc_port=0)
    async with triton.InferenceServerClient(f"127.0.0.1:{router.router.grpc_port}") as asked:
        assert await asked.is_server_live()
        assert await asked.is_server_ready()
        assert await asked.is_model_ready("m")
        assert (await asked.get_server_metadata()).name == "gyre-router"
        described = await asked.get_model_metadata("m")
        assert (described.inputs[0].name, list(described.inputs[0].shape)) == ("features", [-1, 3])
        given = triton.InferInput("features", [3, 3], "FP32")
        given.set_data_from_numpy(np.array([[60, 1, 1], [20, 1, 1], [math.nan, 1, 1]], dtype=np.float32))
        answer = await asked.infer("m", [given], request_id="7")
        assert answer.as_numpy("label").tolist() == [1, 0, 1]
        assert answer.as_numpy("probabilities").dtype == np.float32
        assert answer.get_response().id == "7"


async def test_answers_come_in_the_form_of_the_question(start: Any, models: Any, kit: Any) -> None:
    """Raw tensors are answered raw, typed ones typed, with the same values; NaN is a missing value in both."""
    router = await start(kit.table(kit.route(await models())), grpc_port=0)
    rows = ([60.0, 1.0, 1.0], [math.nan, 1.0, 1.0], [20.0, 1.0, 1.0])
    async with client(router.router.grpc_port) as asked:
        first, second = await asked.infer(raw(*rows)), await asked.infer(typed(*rows))
    assert labels(first) == labels(second) == [1, 1, 0]
    assert len(first.answer.raw_output_contents) == 2
    assert not first.answer.outputs[0].HasField("contents")
    assert not second.answer.raw_output_contents
    scores = np.frombuffer(first.answer.raw_output_contents[1], np.float32).tolist()
    assert list(second.answer.outputs[1].contents.fp32_contents) == scores


async def test_metadata_goes_both_ways(start: Any, models: Any, kit: Any, tmp_path: Any) -> None:
    """The client's metadata reaches the model as headers; ids, revision and feedback id come back."""
    model = await models()
    rule = {"prefix": f"file://{tmp_path}/p", "feedbackPrefix": f"file://{tmp_path}/f"}
    router = await start(kit.table(kit.route(model), payloads=rule), grpc_port=0)
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with client(router.router.grpc_port) as asked:
        told = await asked.infer(raw([60, 1, 1]), [("x-request-id", "q-1"), ("traceparent", trace), ("a-bin", b"\0")])
    assert told.head["x-request-id"] == "q-1"
    assert (told.head["x-gyre-version"], told.head["x-gyre-revision"]) == ("v-r1", "r1")
    feedback_id = told.answer.parameters["x-gyre-feedback-id"].string_param
    assert told.head["x-gyre-feedback-id"] == feedback_id
    assert feedback_id.endswith("~q-1")
    assert (model.heads[-1]["traceparent"], model.heads[-1]["x-request-id"]) == (trace, "q-1")
    assert {"te", "grpc-timeout", "a-bin"}.isdisjoint(model.heads[-1])


def _named(request: Any, **fields: Any) -> Any:
    for name, value in fields.items():
        setattr(request.inputs[0], name, value)
    return request


def _shaped(request: Any, *shape: int) -> Any:
    del request.inputs[0].shape[:]
    request.inputs[0].shape.extend(shape)
    return request


def _many(field: str) -> Any:
    """More of something than a model has: a few bytes each, which cost hundreds once they are read."""
    request = raw([1, 1, 1])
    for number in range(9000):
        match field:
            case "parameters":
                request.inputs[0].parameters[str(number)].int64_param = number
            case "inputs":
                request.inputs.add(name="features", datatype="BOOL")
            case _:
                request.outputs.add()
    return request


def _twice(request: Any) -> Any:
    request.raw_input_contents.append(b"")
    return request


def _odd(request: Any) -> Any:
    request.inputs[0].contents.int_contents.append(1)
    return request


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(
            (_named(raw([1, 1, 1]), datatype="FP64"), "INVALID_ARGUMENT", "24 bytes are wanted"), id="raw size"
        ),
        pytest.param(
            (_named(typed([1, 1, 1]), datatype="INT64"), "INVALID_ARGUMENT", "int64_contents"), id="wrong field"
        ),
        pytest.param((_odd(typed([1, 1, 1])), "INVALID_ARGUMENT", "fp32_contents, got int_contents"), id="two fields"),
        pytest.param(
            (_named(raw([1, 1, 1]), datatype="FLOAT"), "INVALID_ARGUMENT", "datatype 'FLOAT'"), id="no datatype"
        ),
        pytest.param(
            (_named(raw([1, 1, 1]), datatype="INT32"), "INVALID_ARGUMENT", "datatype FP32 is wanted"), id="type"
        ),
        pytest.param(
            (_named(typed([1, 1, 1]), datatype="FP16"), "INVALID_ARGUMENT", "raw_input_contents"), id="typed FP16"
        ),
        pytest.param(
            (_named(raw([1, 1, 1]), name="x"), "INVALID_ARGUMENT", "input 'x' is unknown"), id="unknown input"
        ),
        pytest.param((_shaped(raw([1, 1, 1]), 3, 1), "INVALID_ARGUMENT", "shape [-1, 3] is wanted"), id="shape"),
        pytest.param((_shaped(raw([1, 1, 1]), -1, -3), "INVALID_ARGUMENT", "negative size"), id="negative shape"),
        pytest.param((_shaped(raw([1, 1, 1]), 2**40, 2**40), "INVALID_ARGUMENT", "bytes are wanted"), id="vast shape"),
        pytest.param((_twice(raw([1, 1, 1])), "INVALID_ARGUMENT", "one for each of the 1 inputs"), id="raw count"),
        pytest.param((_shaped(typed([1, 1, 1]), 2, 3), "INVALID_ARGUMENT", "means 6 values, got 3"), id="typed count"),
        pytest.param((service_pb2.ModelInferRequest(model_name="m"), "INVALID_ARGUMENT", "is missing"), id="no input"),
        pytest.param((_shaped(raw([1, 1, 1]), *[2**62] * 40_000), "INVALID_ARGUMENT", "at most 32 sizes"), id="sizes"),
        pytest.param((_many("inputs"), "INVALID_ARGUMENT", "at most 8192 of them together"), id="vast inputs"),
        pytest.param((_many("outputs"), "INVALID_ARGUMENT", "at most 8192 of them together"), id="vast outputs"),
        pytest.param((_many("parameters"), "INVALID_ARGUMENT", "at most 8192 of them"), id="vast parameters"),
        pytest.param((raw([1, 1, 1], name="x"), "NOT_FOUND", "no InferenceService 'x'"), id="unknown model"),
        pytest.param(
            (raw([1, 1, 1], name="m/v?x"), "NOT_FOUND", "no InferenceService 'm/v?x'"), id="name that is a path"
        ),
        pytest.param((raw([1, 1, 1], name=""), "INVALID_ARGUMENT", "model_name is missing"), id="no model"),
        pytest.param((raw([1, 1, 1], model_version="9"), "NOT_FOUND", "has no version '9'"), id="unknown version"),
    ],
)
async def test_what_does_not_fit_is_named(start: Any, models: Any, kit: Any, case: tuple[Any, str, str]) -> None:
    """A call that cannot be answered has the status of its fault and the sentence that REST says; no model is asked."""
    request, code, sentence = case
    model = await models()
    router = await start(kit.table(kit.route(model)), grpc_port=0)
    async with client(router.router.grpc_port) as asked:
        told = await asked.infer(request)
    assert (told.code, model.heads) == (code, [])
    assert sentence in told.sentence


@pytest.mark.parametrize(
    ("status", "code"),
    [
        pytest.param(400, "INVALID_ARGUMENT", id="400"),
        pytest.param(404, "NOT_FOUND", id="404"),
        pytest.param(429, "RESOURCE_EXHAUSTED", id="429"),
        pytest.param(500, "INTERNAL", id="500"),
        pytest.param(503, "UNAVAILABLE", id="503"),
    ],
)
async def test_faults_of_the_model_pass_with_their_sentence(
    start: Any, models: Any, kit: Any, status: int, code: str
) -> None:
    """A model server's error becomes the status that means it, with the server's own words."""
    router = await start(kit.table(kit.route(await models(status=status))), grpc_port=0)
    async with client(router.router.grpc_port) as asked:
        told = await asked.infer(raw([1, 1, 1]))
    assert (told.code, told.sentence) == (code, "asked to fail")
    assert told.head.get("x-gyre-revision", told.trailers.get("x-gyre-revision")) == "r1"


@pytest.mark.parametrize(
    "garbage",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{]", id="no JSON"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]", id="no object"),
        pytest.param(b'HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{"outputs":[{}]}', id="outputs without a name"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", id="broken off"),
        pytest.param(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n", id="a redirect"),
    ],
)
async def test_garbage_of_a_model_server_is_said(start: Any, models: Any, kit: Any, garbage: bytes) -> None:
    """An answer that is none of the protocol's ends the call with a sentence, and the next call is served."""
    model = await models(raw_answer=garbage)
    router = await start(kit.table(kit.route(model)), grpc_port=0)
    async with client(router.router.grpc_port) as asked:
        told = await asked.infer(raw([1, 1, 1]))
        assert told.code in {"UNAVAILABLE", "UNKNOWN"}
        assert told.sentence
        model.raw_answer = None
        assert labels(await asked.infer(raw([60, 1, 1]))) == [1]


async def test_nobody_to_ask(start: Any, models: Any, kit: Any) -> None:
    """Without an endpoint a call is UNAVAILABLE and says when to come back; the service is not ready."""
    model = await models()
    router = await start(kit.table(kit.route(model)), grpc_port=0)
    assert router.offer(kit.route(model) | {"service": ""})
    async with client(router.router.grpc_port) as asked:
        told = await asked.infer(raw([1, 1, 1]))
        assert told.code == "UNAVAILABLE"
        assert told.trailers["grpc-retry-pushback-ms"] == "1000"
        ready = await asked.call("ModelReady", service_pb2.ModelReadyRequest(name="m"))
        assert not ready.answer.ready
        gone = await asked.call("ModelReady", service_pb2.ModelReadyRequest(name="x"))
        assert gone.code == "NOT_FOUND"


async def test_what_is_not_served_is_unimplemented(start: Any, models: Any, kit: Any) -> None:
    """What is not served says so: methods of Triton alone, messages compressed in another way than gzip."""
    router = await start(kit.table(kit.route(await models())), grpc_port=0)
    async with client(router.router.grpc_port) as asked:
        told = await asked.call("RepositoryIndex", service_pb2.RepositoryIndexRequest())
        assert told.code == "UNIMPLEMENTED"
        packed = asked.stub.ModelInfer(raw(*[[1, 1, 1]] * 1000), compression=grpc.Compression.Deflate)
        assert (await packed.code()).name == "UNIMPLEMENTED"
        assert "send identity or gzip" in await packed.details()
        assert labels(await asked.infer(raw([60, 1, 1]))) == [1]
