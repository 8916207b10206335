"""Raw tensors of gRPC as binary tensors of REST: to servers that say that they take them, checked and logged alike."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.serving.support.grpc import Client, client, labels, raw, typed

LENGTH = "inference-header-content-length"


async def _known(asked: Client, model: Any) -> None:
    """Ask until the router heard what the server takes, and forget those calls."""
    async with asyncio.timeout(10):
        while not (model.heads and LENGTH in model.heads[-1]):
            assert labels(await asked.infer(raw([60, 1, 1]))) == [1]
    model.heads.clear()
    model.requests.clear()


def _rows(folder: Path) -> list[dict[str, Any]]:
    return [row for part in sorted(folder.rglob("*.parquet")) for row in pq.read_table(part).to_pylist()]


async def test_raw_tensors_go_binary_where_they_are_taken(start: Any, models: Any, kit: Any) -> None:
    """A server that announces binary tensors gets raw ones so, and typed ones as JSON; both are answered alike."""
    model = await models(binary=True)
    router = await start(kit.table(kit.route(model)), grpc_port=0)
    rows = ([60.0, 1.0, 1.0], [float("nan"), 1.0, 1.0], [20.0, 1.0, 1.0])
    async with client(router.router.grpc_port) as asked:
        await _known(asked, model)
        told = await asked.infer(raw(*rows, id="7"))
        assert LENGTH in model.heads[-1]
        assert model.heads[-1]["content-type"] == "application/octet-stream"
        assert model.requests[-1]["parameters"] == {"binary_data_output": True}
        assert labels(told) == labels(await asked.infer(typed(*rows))) == [1, 1, 0]
        assert LENGTH not in model.heads[-1]
    assert told.answer.id == "7"
    scores = np.frombuffer(told.answer.raw_output_contents[1], np.float32)
    assert scores.tolist() == np.array([0.1, 0.9, 0.1, 0.9, 0.8, 0.2], np.float32).tolist()


async def test_who_says_nothing_of_them_gets_json(start: Any, models: Any, kit: Any) -> None:
    """A server that does not announce binary tensors gets JSON, however often it is asked."""
    model = await models()
    router = await start(kit.table(kit.route(model)), grpc_port=0)
    async with client(router.router.grpc_port) as asked:
        for _ in range(20):
            assert labels(await asked.infer(raw([60, 1, 1]))) == [1]
    assert not any(LENGTH in head for head in model.heads)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        pytest.param({"datatype": "INT32"}, "datatype FP32 is wanted", id="type"),
        pytest.param({"name": "x"}, "input 'x' is unknown", id="name"),
        pytest.param({"shape": [3, 1]}, "shape [-1, 3] is wanted", id="shape"),
    ],
)
async def test_binary_tensors_are_checked(
    start: Any, models: Any, kit: Any, change: dict[str, Any], sentence: str
) -> None:
    """What does not fit the signature is refused before a server that takes binary tensors is asked."""
    model = await models(binary=True)
    router = await start(kit.table(kit.route(model)), grpc_port=0)
    request = raw([1, 1, 1])
    for name, value in change.items():
        if name == "shape":
            request.inputs[0].shape[:] = value
        else:
            setattr(request.inputs[0], name, value)
    async with client(router.router.grpc_port) as asked:
        await _known(asked, model)
        told = await asked.infer(request)
    assert (told.code, model.heads) == ("INVALID_ARGUMENT", [])
    assert sentence in told.sentence


async def test_texts_of_binary_tensors_are_checked(start: Any, models: Any, kit: Any) -> None:
    """A text that is none of its input's categories is refused in a binary tensor too, by name."""
    model = await models(binary=True)
    inputs = [*kit.signature["inputs"], {"name": "town", "datatype": "BYTES", "shape": [-1], "categories": ["Linz"]}]
    signature = kit.signature | {"inputs": inputs}
    router = await start(kit.table(kit.route(model), kit.route(model, "r2", 0, signature=signature)), grpc_port=0)
    request = raw([1, 1, 1], model_version="r2")
    request.inputs.add(name="town", datatype="BYTES", shape=[1])
    request.raw_input_contents.append(b"\4\0\0\0Wien")
    async with client(router.router.grpc_port) as asked:
        await _known(asked, model)
        told = await asked.infer(request)
    assert (told.code, model.heads) == ("INVALID_ARGUMENT", [])
    assert "'Wien' is none of its categories (Linz)" in told.sentence


async def test_binary_tensors_are_logged(start: Any, models: Any, kit: Any, tmp_path: Path) -> None:
    """The payload log's rows of a binary request are those of the same one over REST: keys, values and prediction."""
    model = await models(binary=True)
    rule = {"prefix": f"file://{tmp_path}/p", "feedbackPrefix": f"file://{tmp_path}/f"}
    router = await start(kit.table(kit.route(model), payloads=rule), grpc_port=0)
    rows = ([60.1, 1.0, float("nan")], [20.2, 0.1, 1.0])
    async with client(router.router.grpc_port) as asked:
        await _known(asked, model)
        request = raw(*rows)
        request.parameters["keys"].string_param = '["a", "b"]'
        assert labels(await asked.infer(request, [("x-request-id", "gRPC")])) == [1, 0]
        assert LENGTH in model.heads[-1]
    document = kit.rows([60.1, 1, None], [20.2, 0.1, 1], parameters={"keys": ["a", "b"]})
    assert (await router.infer(document, headers={"x-request-id": "REST"}))[0] == 200
    await router.stop()
    unlike = {"gyre_request_id", "gyre_time", "gyre_label_sample"}
    logged = {
        name: [
            {key: row[key] for key in row.keys() - unlike}
            for row in _rows(tmp_path / "p")
            if row["gyre_request_id"] == name
        ]
        for name in ("gRPC", "REST")
    }
    assert [row["gyre_key"] for row in logged["gRPC"]] == ["a", "b"]
    assert [row["age"] for row in logged["gRPC"]] == [60.1, 20.2]
    assert logged["gRPC"][0]["income"] is None
    assert [row["prediction"] for row in logged["gRPC"]] == [1, 0]
    assert logged["gRPC"] == logged["REST"]


async def test_binary_tensors_have_the_same_stand_ins(start: Any, models: Any, kit: Any) -> None:
    """Where nobody takes a binary request, the fallback's numbers answer it, and a server that wants JSON gets JSON."""
    model, other = await models(binary=True), await models()
    fallback = {"revisions": ["r2"], "static": {"label": 1.0}}
    table = kit.table(kit.route(model), kit.route(other, "r2", 0), fallback=fallback)
    router = await start(table, grpc_port=0)
    async with client(router.router.grpc_port) as asked:
        await _known(asked, model)
        model.kill()
        told = await asked.infer(raw([60, 1, 1]))
        assert (labels(told), told.head["x-gyre-fallback"]) == ([1], "revision")
        assert LENGTH not in other.heads[-1]
        other.kill()
        told = await asked.infer(raw([60, 1, 1], [1, 1, 1]))
        assert (labels(told), told.head["x-gyre-fallback"]) == ([1, 1], "static")
