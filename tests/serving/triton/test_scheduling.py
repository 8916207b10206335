"""spec.runtime.options on a real Triton: each one changes what clients see."""

import asyncio
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from gyre_crds.v1alpha1.triton import TritonOptions
from gyre_serving.agent.client import ADMIN_HEADER, Triton
from gyre_serving.triton import render
from tests.serving.support import pod, triton
from tests.serving.support.pod import call
from tests.serving.triton.test_options import CHAIN, SIGNATURE, graph, publish

MODELS: dict[str, dict[str, Any]] = {
    "chain": {"ensemble": CHAIN},
    "sequence": {"sequence": {"maxIdle": "60s", "controls": [{"input": "start", "kind": "Start"}]}},
    "priority": {"priorities": {"levels": 2, "default": 2}},
    "limited": {"instances": 2, "rateLimit": [{"name": "R", "count": 1, "available": 1}]},
    "free": {"instances": 2},
    "queue": {"queue": {"maxSize": 1}},
    "cache": {"responseCache": 1 << 20},
}
SLOW = 40_000
"""Rows of a request, computed one by one: some tenths of a second, and no two fit into one batch."""


@dataclass(frozen=True)
class Running:
    """A Triton with all models."""

    port: int
    key: str

    def ask(self, model: str, values: list[float], **parameters: Any) -> tuple[int, Any]:
        """Status, and y or the error."""
        tensor = {"name": "x", "datatype": "FP32", "shape": [len(values), 1], "data": values}
        body = json.dumps({"inputs": [tensor], "parameters": parameters}).encode()
        status, said = call(self.port, f"/v2/models/{model}/versions/1/infer", body)
        return status, said["outputs"][0]["data"] if status == 200 else said["error"]

    def stats(self, model: str) -> Any:
        """Triton's own counts of a model."""
        asked = pod.call(self.port, f"/v2/models/{model}/versions/1/stats", headers={ADMIN_HEADER: self.key})
        return asked[1]["model_stats"][0]["inference_stats"]


@pytest.fixture(scope="module")
def running(installation: triton.Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One server, started as the operator starts it for all the options together."""
    base = tmp_path_factory.mktemp("scheduling")
    controlled = publish(base / "a", model=graph("x", "y", 3, control="start"))
    version = publish(base / "b", model=graph("x", "y", 3), double=graph("a", "b", 2), triple=graph("x", "y", 3))
    root = base / "models"
    (root / "repository").mkdir(parents=True)
    (root / "triton.key").write_text("secret")
    arguments: list[str] = []
    for name, options in MODELS.items():
        chosen = controlled if name == "sequence" else version
        # A slot for each of four sequences; the others compute row by row.
        order = chosen.order(name, options=options, max_batch=4 if name == "sequence" else 1)
        render(order, SIGNATURE, tree=chosen.tree, repository=root / "repository")
        arguments += TritonOptions.model_validate(options).arguments()
    with triton.running(installation, root, *arguments) as server:
        server.wait()
        asyncio.run(_load(server.address))
        yield Running(server.port, "secret")


async def _load(address: str) -> None:
    async with Triton(address, "secret", SIGNATURE) as client:
        for name in MODELS:
            await client.load(name)


def test_a_chain_answers_as_one_model(running: Running) -> None:
    """Two graphs of the version, the first doubles and the second triples: six times x, its steps loaded with it."""
    assert running.ask("chain", [1.0, 2.0]) == (200, [6.0, 12.0])


def test_a_sequence_is_told_its_start(running: Running) -> None:
    """Triton fills the control input at the first request only, and keeps two sequences apart."""
    first = running.ask("sequence", [1.0], sequence_id=7, sequence_start=True)
    other = running.ask("sequence", [1.0], sequence_id=8, sequence_start=True, sequence_end=True)
    later = [running.ask("sequence", [1.0], sequence_id=7, sequence_end=last) for last in (False, True)]
    assert [first, other, *later] == [(200, [103.0]), (200, [103.0]), (200, [3.0]), (200, [3.0])]
    status, error = running.ask("sequence", [1.0])
    assert status == 400
    assert "correlation ID" in error


async def test_the_agent_proves_a_model_of_sequences(running: Running) -> None:
    """It asks each golden row in a sequence of its own, where Triton would refuse them bare."""
    async with Triton(f"127.0.0.1:{running.port}", "secret", SIGNATURE, sequences=True) as client:
        answered = await client.infer("sequence", "1", {"x": np.array([[1.0], [2.0]], dtype=np.float32)})
    assert answered["y"].ravel().tolist() == [103.0, 106.0]


def test_priority_one_overtakes_what_waits(running: Running) -> None:
    """Four slow requests, then one with priority 1: it is answered before the last of them."""
    ends: dict[str, float] = {}

    def ask(name: str, **parameters: Any) -> int:
        status = running.ask("priority", [1.0] * SLOW, **parameters)[0]
        ends[name] = time.monotonic()
        return status

    with ThreadPoolExecutor(5) as pool:
        asked = []
        for name in "abcd":
            asked.append(pool.submit(ask, name))
            time.sleep(0.05)
        asked.append(pool.submit(ask, "urgent", priority=1))
        assert [one.result() for one in asked] == [200] * 5
    assert sorted(ends, key=lambda name: ends[name]).index("urgent") < 4
    assert ends["urgent"] < ends["d"]


def test_a_rate_limit_holds_instances_back(running: Running) -> None:
    """Two instances and one resource: a request waits beside an idle instance; without the limit it does not."""
    waits = {}
    for model in ("limited", "free"):
        with ThreadPoolExecutor(2) as pool:
            assert [code for code, _ in pool.map(running.ask, [model] * 2, [[1.0] * SLOW] * 2)] == [200, 200]
        found = running.stats(model)
        waits[model] = found["queue"]["ns"] / found["compute_infer"]["ns"]
    assert waits["limited"] > 0.2
    assert waits["free"] < waits["limited"] / 2


def test_a_full_queue_refuses_with_503(running: Running) -> None:
    """One runs, one waits, the others are told at once."""
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(running.ask, ["queue"] * 6, [[1.0] * SLOW] * 6))
    refused = [error for code, error in answers if code == 503]
    assert {code for code, _ in answers} == {200, 503}
    assert refused
    assert "queue" in refused[0]


def test_an_answer_comes_from_the_cache_when_asked_again(running: Running) -> None:
    """The same input twice: one miss, one hit, one answer."""
    answers = [running.ask("cache", [5.0]) for _ in range(2)]
    found = running.stats("cache")
    assert answers == [(200, [15.0])] * 2
    assert (found["cache_miss"]["count"], found["cache_hit"]["count"]) == (1, 1)
