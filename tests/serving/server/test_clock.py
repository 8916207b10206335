"""The built-in server while its wall clock jumps by an hour, forth and back."""

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from gyre_crds.contracts import artifact
from tests.serving.support import pod
from tests.serving.support.clock import Clock
from tests.serving.support.versions import Version, write_tree

HOUR = 3600
DEADLINE = 3.0
INFER = "/v2/models/late/versions/1/infer"
SECONDS = """
import select
import time

import numpy as np


class Model:
    def __init__(self, directory):
        pass

    def predict(self, inputs):
        select.select([], [], [], float(inputs["x"].max()))  # libfaketime breaks time.sleep
        return np.full(len(inputs["x"]), time.time())
"""
SIGNATURE = {
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 1]}],
    "outputs": [{"name": "now", "datatype": "FP64", "shape": [-1]}],
}


@pytest.fixture(scope="module")
def stepping(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[pod.Container, Clock]]:
    """A user's class that sleeps as long as it is told and says its time, and the clock it reads."""
    base = tmp_path_factory.mktemp("late")
    files = {artifact.PYTHON: SECONDS.encode(), artifact.SIGNATURE: json.dumps(SIGNATURE).encode()}
    tree, digest = write_tree(base / "store", files)
    version = Version(tree, digest, None, np.zeros((1, 1), dtype=np.float32))
    order = version.order("late", runtime="Python", format="Python", maxDelayMs=50)
    root = base / "models"
    root.mkdir()
    assert pod.fetch(order, root).returncode == 0
    clock = Clock(base)
    with pod.container("serve", order, root, "--deadline", f"{DEADLINE:g}", **clock.environment) as running:
        running.until("Serving", 60)
        yield running, clock


def _ask(server: pod.Container, seconds: float) -> tuple[int, Any]:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [seconds]}
    return server.post(INFER, json.dumps({"inputs": [tensor]}).encode())


@pytest.mark.parametrize("step", [pytest.param(HOUR, id="forth"), pytest.param(-HOUR, id="back")])
def test_a_jump_of_an_hour_changes_no_duration(stepping: tuple[pod.Container, Clock], step: int) -> None:
    """A request under way is answered, one that hangs is cut off in time, and batches wait as long as before."""
    server, clock = stepping
    clock.step(0)
    answers: dict[float, tuple[int, Any, float]] = {}

    def ask(seconds: float) -> None:
        began = time.monotonic()
        answers[seconds] = (*_ask(server, seconds), time.monotonic() - began)

    clients = [threading.Thread(target=ask, args=(seconds,)) for seconds in (1.0, 600.0)]
    for client in clients:
        client.start()
        time.sleep(0.2)  # a batch of its own
    clock.step(step)
    for client in clients:
        client.join()
    status, said, _ = answers[1.0]
    assert status == 200
    assert abs(said["outputs"][0]["data"][0] - time.time() - step) < 60
    status, said, took = answers[600.0]
    assert status == 504, said
    assert DEADLINE - 0.5 < took < DEADLINE + 5
    for _ in range(10):
        began = time.monotonic()
        assert _ask(server, 0.0)[0] == 200
        assert time.monotonic() - began < DEADLINE
    assert server.get("/readyz")[0] == 200
