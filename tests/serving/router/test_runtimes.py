"""The router before the real runtimes: a fetched version on the built-in server and on Triton, side by side."""

import asyncio
import itertools
import json
import queue
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tritonclient.grpc import InferenceServerClient, InferInput, service_pb2  # type: ignore[import-untyped]

from tests.serving.support import pod, triton
from tests.serving.support.grpc import client
from tests.serving.support.versions import COLUMNS, Version, infer_body, signature


class Runtimes(NamedTuple):
    """Addresses of both runtimes, each ready with the same version."""

    python: str
    triton: str
    server: pod.Container


@pytest.fixture(scope="module")
def runtimes(
    version: Version, installation: triton.Installation, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Runtimes]:
    """Both runtimes as in pods."""
    with ExitStack() as stack:
        roots = [tmp_path_factory.mktemp(name) / "models" for name in ("python", "triton")]
        orders = [version.order(runtime="Python"), version.order()]
        for root, order in zip(roots, orders, strict=True):
            root.mkdir()
            done = pod.fetch(order, root)
            assert done.returncode == 0, done.stderr
        server = stack.enter_context(pod.container("serve", orders[0], roots[0]))
        real = stack.enter_context(triton.running(installation, roots[1]))
        agent = stack.enter_context(pod.container("agent", orders[1], roots[1], GYRE_TRITON_ADDRESS=real.address))
        server.until("Serving")
        agent.until("Serving")
        yield Runtimes(f"127.0.0.1:{server.port}", real.address, server)


def _table(revisions: dict[str, tuple[str, int]], **service: Any) -> str:
    routes = [
        {
            "revision": name,
            "version": f"v-{name}",
            "service": address,
            "model": "census",
            "weight": weight,
            "signature": signature().dump(),
        }
        for name, (address, weight) in revisions.items()
    ]
    return json.dumps({"namespace": "test", "services": [{"name": "census", "revisions": routes, **service}]})


@pytest.mark.parametrize("null", [pytest.param(True, id="null"), pytest.param(False, id="nan")])
async def test_missing_values_reach_both_runtimes(start: Any, runtimes: Runtimes, version: Version, null: bool) -> None:  # noqa: FBT001
    """Rows with missing values, written as null or NaN, come back from either runtime as the native model says."""
    router = await start(_table({"python": (runtimes.python, 50), "triton": (runtimes.triton, 50)}))
    rows = version.rows[:500]
    assert np.isnan(rows).any()
    for name in ("python", "triton"):
        path = f"{router.url}/v2/models/census/versions/v-{name}/infer"
        async with router.session.post(path, data=infer_body(rows, null=null)) as answer:
            assert answer.status == 200, await answer.text()
            assert answer.headers["x-gyre-revision"] == name
            said = await answer.json()
        outputs = {output["name"]: output["data"] for output in said["outputs"]}
        assert outputs["label"] == version.model.predict(rows).tolist()
        found = np.array(outputs["probabilities"]).reshape(-1, 2)
        assert np.abs(found - version.model.predict_proba(rows)).max() < 1e-6


async def test_many_rows_reach_both_runtimes(start: Any, runtimes: Runtimes, version: Version) -> None:
    """Cut, asked and put together, either runtime says of each row what the native model says."""
    table = _table({"python": (runtimes.python, 50), "triton": (runtimes.triton, 50)}, batch={"rows": 64})
    router = await start(table)
    rows = version.rows[:1000]
    for name in ("python", "triton"):
        path = f"{router.url}/v2/models/census/versions/v-{name}/batch"
        async with router.session.post(path, data=infer_body(rows, null=True)) as answer:
            assert answer.status == 200, await answer.text()
            said = await answer.json()
        assert (said["rows"], said["errors"], len(said["parts"])) == (1000, [], 16)
        outputs = {output["name"]: output["data"] for output in said["outputs"]}
        assert outputs["label"] == version.model.predict(rows).tolist()
        found = np.array(outputs["probabilities"]).reshape(-1, 2)
        assert np.abs(found - version.model.predict_proba(rows)).max() < 1e-6


async def test_parts_of_both_runtimes_hold_the_same(
    start: Any, runtimes: Runtimes, version: Version, tmp_path: Path
) -> None:
    """What is logged of either runtime is one row a prediction with the native model's labels and scores."""
    rule = {"prefix": f"file://{tmp_path}/p", "feedbackPrefix": f"file://{tmp_path}/f", "flushSeconds": 600}
    table = _table({"python": (runtimes.python, 50), "triton": (runtimes.triton, 50)}, payloads=rule)
    router = await start(table)
    rows = version.rows[:300]
    for index in range(0, 300, 3):
        body = infer_body(rows[index : index + 3], null=True)
        headers = {"x-request-id": str(index)}
        async with router.session.post(f"{router.url}/v2/models/census/infer", data=body, headers=headers) as answer:
            assert answer.status == 200, await answer.text()
    await router.stop()
    parts = await asyncio.to_thread(lambda: [pq.read_table(path) for path in (tmp_path / "p").rglob("*.parquet")])
    logged = pa.concat_tables(parts).to_pylist()
    assert {row["gyre_revision"] for row in logged} == {"python", "triton"}
    logged.sort(key=lambda row: (int(row["gyre_request_id"]), row["gyre_row"]))
    features = np.array([[row[column] for column in COLUMNS] for row in logged], dtype=np.float32)
    assert np.array_equal(features, rows, equal_nan=True)
    assert [row["prediction"] for row in logged] == version.model.predict(rows).tolist()
    scores = np.array([row["score"] for row in logged])
    assert np.abs(scores - version.model.predict_proba(rows)[:, 1]).max() < 1e-6


async def test_swaps_between_runtimes_fail_nothing(start: Any, runtimes: Runtimes, version: Version) -> None:
    """A rollout from one runtime to the other and back, under load, answers every request, and answers it right."""
    router = await start(_table({"triton": (runtimes.triton, 100)}))
    body, wanted = infer_body(version.rows[:2], null=True), version.model.predict(version.rows[:2]).tolist()
    wrong: list[Any] = []
    answered = 0
    done = asyncio.Event()

    async def client() -> None:
        nonlocal answered
        while not done.is_set():
            async with router.session.post(f"{router.url}/v2/models/census/infer", data=body) as answer:
                said = await answer.json()
            answered += 1
            if answer.status != 200 or said["outputs"][0]["data"] != wanted:
                wrong.append(said)

    clients = [asyncio.create_task(client()) for _ in range(6)]
    for step in range(100):
        weight = abs(100 - 2 * step)
        both = {"triton": (runtimes.triton, weight), "python": (runtimes.python, 100 - weight)}
        assert router.router.tables.offer(_table(both))
        await asyncio.sleep(0.02)
    done.set()
    await asyncio.gather(*clients)
    assert wrong == []
    assert answered > 200


async def test_grpc_reaches_both_runtimes(start: Any, runtimes: Runtimes, version: Version) -> None:
    """Triton's messages, raw and typed, with missing values, are answered right by either runtime."""
    router = await start(_table({"python": (runtimes.python, 50), "triton": (runtimes.triton, 50)}), grpc_port=0)
    rows = version.rows[:100]
    async with client(router.router.grpc_port) as asked:
        for name, form in itertools.product(("python", "triton"), ("raw", "typed")):
            request = service_pb2.ModelInferRequest(model_name="census", model_version=f"v-{name}", id=form)
            given = request.inputs.add(name="X", datatype="FP32", shape=rows.shape)
            if form == "raw":
                request.raw_input_contents.append(rows.tobytes())
            else:
                given.contents.fp32_contents.extend(rows.ravel().tolist())
            told = await asked.infer(request)
            assert (told.code, told.head["x-gyre-revision"], told.answer.id) == ("OK", name, form), told.sentence
            order = {one.name: index for index, one in enumerate(told.answer.outputs)}
            if form == "raw":
                raw = told.answer.raw_output_contents
                labels = np.frombuffer(raw[order["label"]], np.int64).tolist()
                scores = np.frombuffer(raw[order["probabilities"]], np.float32)
            else:
                labels = list(told.answer.outputs[order["label"]].contents.int64_contents)
                scores = np.array(told.answer.outputs[order["probabilities"]].contents.fp32_contents)
            assert labels == version.model.predict(rows).tolist()
            assert np.abs(scores.reshape(-1, 2) - version.model.predict_proba(rows)).max() < 1e-6


@pytest.mark.parametrize("name", ["python", "triton"])
async def test_streams_of_binary_tensors_reach_both_runtimes(
    start: Any, runtimes: Runtimes, version: Version, name: str
) -> None:
    """Triton's client streams raw tensors to either runtime, which say that they take them binary and answer right."""
    router = await start(_table({name: (getattr(runtimes, name), 100)}), grpc_port=0)
    rows, heard = version.rows[:50], queue.SimpleQueue[tuple[Any, Any]]()

    def ask() -> list[tuple[Any, Any]]:
        with InferenceServerClient(f"127.0.0.1:{router.router.grpc_port}") as asked:
            asked.start_stream(callback=lambda result, error: heard.put((result, error)))
            for row in rows:
                given = InferInput("X", [1, 4], "FP32")
                given.set_data_from_numpy(row[None])
                asked.async_stream_infer("census", [given], enable_empty_final_response=True)
            asked.stop_stream()
        return [heard.get_nowait() for _ in rows]

    answers = await asyncio.to_thread(ask)
    assert [error for _, error in answers if error] == []
    assert [one.as_numpy("label").item() for one, _ in answers] == version.model.predict(rows).tolist()
    scores = np.concatenate([one.as_numpy("probabilities") for one, _ in answers])
    assert np.abs(scores - version.model.predict_proba(rows)).max() < 1e-6
    assert [one.backends.binary for one in router.router.tables.current.services["census"].revisions] == [True]


async def test_v1_and_binary_reach_both_runtimes(start: Any, runtimes: Runtimes, version: Version) -> None:
    """V1 rows and tritonclient's binary tensors are answered by either runtime."""
    router = await start(_table({"python": (runtimes.python, 100), "triton": (runtimes.triton, 0)}))
    rows = version.rows[:8]
    wanted = version.model.predict(rows).tolist()
    head = {"name": "X", "datatype": "FP32", "shape": [8, 4], "parameters": {"binary_data_size": rows.nbytes}}
    outputs = [{"name": "label", "parameters": {"binary_data": False}}]
    text = json.dumps({"inputs": [head], "outputs": outputs}).encode()
    headers = {"Inference-Header-Content-Length": str(len(text)), "Content-Type": "application/octet-stream"}
    for name in ("python", "triton"):
        path = f"{router.url}/v2/models/census/versions/v-{name}/infer"
        async with router.session.post(path, data=text + rows.tobytes(), headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            assert (await answer.json())["outputs"][0]["data"] == wanted
    instances = [[None if np.isnan(value) else float(value) for value in row] for row in rows]
    for weights in ((100, 0), (0, 100)):
        both = {"python": (runtimes.python, weights[0]), "triton": (runtimes.triton, weights[1])}
        router.router.tables.offer(_table(both))
        _, said, _ = await router.infer({"instances": instances}, path="/v1/models/census:predict")
        assert said == {"predictions": wanted}
