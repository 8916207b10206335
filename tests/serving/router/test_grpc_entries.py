"""Messages that would take many times their bytes once they are read, or that no server can be told of."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tritonclient.grpc import service_pb2  # type: ignore[import-untyped]

from gyre_serving.router.grpc.answers import predictions
from gyre_serving.router.grpc.entries import MOST_FIELDS, bound
from gyre_serving.router.grpc.forms import HEADER_LENGTH
from gyre_serving.router.message import Refusal
from gyre_serving.server.wire import from_json
from tests.serving.support.grpc import client, labels, raw, typed


def _with_length(tag: int, data: bytes) -> bytes:
    size, out = len(data), bytearray([tag])
    while size > 127:
        out.append(size & 127 | 128)
        size >>= 7
    return bytes(out) + bytes([size]) + data


@pytest.mark.parametrize(
    ("data", "said"),
    [
        pytest.param(b"\x2a\0" * (MOST_FIELDS + 1), "fields", id="inputs"),
        pytest.param(b"\x22\0" * (MOST_FIELDS + 1), "fields", id="parameters"),
        pytest.param(b"\xf8\1\1" * (MOST_FIELDS + 1), "fields", id="fields that the protocol has not"),
        pytest.param(_with_length(0x2A, b"\x22\0" * MOST_FIELDS), "fields", id="parameters of an input"),
        pytest.param(_with_length(0x32, b"\x12\0" * MOST_FIELDS), "fields", id="parameters of an output"),
        pytest.param(b"\x0b\x0c" + b"\x2a\0" * MOST_FIELDS, "a group", id="behind a group"),
        pytest.param(b"\x0d" + bytes(4) + b"\x09" + bytes(8) + b"\x2a\0" * MOST_FIELDS, "fields", id="fixed"),
    ],
)
def test_fields_are_counted_before_they_are_read(data: bytes, said: str) -> None:
    """A message of more fields than any may have is refused by its heads, wherever these stand."""
    with pytest.raises(Refusal, match=said):
        bound(memoryview(data))


def test_values_are_no_fields() -> None:
    """A million values in an input are one field, typed or raw, and what is cut off is left to the decoder."""
    rows = [[60, 1, 1]] * 300_000
    for make in (typed, raw):
        data = make(*rows).SerializeToString()
        for size in (len(data), len(data) - 1, 1, 0):
            bound(memoryview(data)[:size])


async def test_messages_of_many_fields_are_refused(start: Any, models: Any, kit: Any) -> None:
    """Over the wire too, and the connection serves on."""
    router = await start(kit.table(kit.route(await models())), grpc_port=0)
    request = service_pb2.ModelInferRequest(model_name="m")
    for _ in range(MOST_FIELDS):
        request.inputs.add()
    async with client(router.router.grpc_port) as asked:
        told = await asked.infer(request)
        assert (told.code, "more than 65536 fields" in told.sentence) == ("INVALID_ARGUMENT", True)
        assert labels(await asked.infer(raw([60, 1, 1]))) == [1]


def _deep(request: Any) -> None:
    request.parameters["keys"].string_param = "[" * 300 + "]" * 300


def _both(request: Any) -> None:
    request.inputs[0].contents.fp32_contents.append(1)


def _vast(request: Any) -> None:
    request.inputs[0].shape[:] = [2**62, 0]
    request.raw_input_contents[0] = b""


def _texts(request: Any) -> None:
    del request.raw_input_contents[:]
    request.inputs[0].datatype, request.inputs[0].shape[:] = "BYTES", [1]
    request.inputs[0].contents.bytes_contents.append(b"\xff")


def _narrow(request: Any) -> None:
    _texts(request)
    request.inputs.add(name="x", datatype="INT8", shape=[1]).contents.int_contents.append(300)


def _short(request: Any) -> None:
    _texts(request)
    request.inputs.add(name="x", datatype="FP32", shape=[2]).contents.fp32_contents.append(1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(_deep, "cannot be passed on: Recursion limit", id="deep keys"),
        pytest.param(_both, "send one of them", id="raw and typed"),
        pytest.param(_vast, "cannot be passed on", id="a size beyond all arrays"),
        pytest.param(_narrow, "cannot be passed on", id="a number beyond its type beside texts of bytes"),
        pytest.param(_short, "shape [2] means 2 values, got 1", id="typed values that fill no shape"),
    ],
)
async def test_what_cannot_be_passed_on_is_the_clients_fault(
    start: Any, models: Any, kit: Any, change: Callable[[Any], None], said: str
) -> None:
    """Requests that no form can hold are refused with the reason; no model sees them, and no 500 is counted."""
    model = await models()
    router = await start(kit.table(kit.route(model), validation="Off"), grpc_port=0)
    request = raw([60, 1, 1])
    change(request)
    async with client(router.router.grpc_port) as asked:
        told = await asked.infer(request)
    assert (told.code, said in told.sentence) == ("INVALID_ARGUMENT", True), told.sentence
    assert model.heads == []


@pytest.mark.parametrize(
    ("shape", "size", "sent"),
    [
        pytest.param([2], 16, 8, id="cut off"),
        pytest.param([2], -1, 17, id="a negative size"),
        pytest.param([3], 16, 16, id="another shape"),
    ],
)
def test_binary_answers_fill_their_shapes(shape: list[int], size: int, sent: int) -> None:
    """What a model server says of its binary tensors is looked at before a client gets them raw."""
    text = b'{"outputs":[{"name":"a","datatype":"INT64","shape":%b,"parameters":{"binary_data_size":%d}}]}' % (
        str(shape).encode(), size,
    )  # fmt: skip
    with pytest.raises(Refusal, match="cannot be told over gRPC"):
        predictions({HEADER_LENGTH: b"%d" % len(text)}, text + bytes(sent), raw=True)


def test_no_values_are_of_any_type() -> None:
    """An empty list of JSON fills a shape without values, of whole numbers and truths as of fractions."""
    for datatype in ("INT64", "UINT8", "BOOL", "FP32"):
        assert from_json([], datatype, [0, 2]).shape == (0, 2)
    assert from_json([[], []], "INT64", [2, 0]).dtype == np.int64
