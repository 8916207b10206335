"""Worker processes of a user's model: which one gets a batch, and what ends with one that is ended."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gyre_crds.contracts import artifact, serving
from gyre_crds.v1alpha1.version import Signature
from gyre_serving.pod.order import ROOT_ENV, Places
from gyre_serving.server.metrics import Metrics
from gyre_serving.server.processes import start, template
from gyre_serving.server.processes.frames import Frame, Kind
from gyre_serving.server.processes.pool import Processes, Worker
from gyre_serving.server.processes.worker import Plan
from tests.serving.support import pod
from tests.serving.support.versions import Version, write_tree

SIGNATURE = {
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 1]}],
    "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1]}],
}
PLAN = Plan("Python", Path(), Signature.model_validate(SIGNATURE), threads=1, piece=0, workers=1, growth=0)
READY = Frame(Kind.READY, {"bytes": 1, "modules": []}, memoryview(b""))


class Wire(asyncio.Transport):
    """A channel that keeps what was written."""

    def __init__(self) -> None:
        super().__init__()
        self.frames = 0

    def write(self, _data: Any) -> None:
        """Count."""
        self.frames += 1


@pytest.mark.parametrize("answers", [False, True], ids=["while it was idle", "before its last answer came"])
async def test_worker_that_is_ended_gets_no_batch(monkeypatch: pytest.MonkeyPatch, *, answers: bool) -> None:
    """What comes meanwhile waits for the next worker instead of failing with this one."""
    pool = Processes(PLAN, 5.0, Metrics("m", "v"))
    killed: list[int | None] = []
    monkeypatch.setattr(pool._nursery, "kill", killed.append)
    first, second = Worker(pool), Worker(pool)
    wires = []
    for number, worker in enumerate((first, second), 1):
        wires.append(Wire())
        worker.connection_made(wires[-1])
        worker.pid = number
        pool._workers.add(worker)
    results: list[Any] = []
    inputs = {"x": np.ones((1, 1), dtype=np.float32)}
    pool.heard(first, READY)
    if answers:
        pool.start(inputs, results.append)
    pool.kill(first)
    assert killed == [1]
    if answers:
        pool.heard(first, Frame(Kind.RAISED, {"error": "late"}, memoryview(b"")))
        assert str(results.pop()) == "late"
    pool.start(inputs, results.append)
    assert wires[0].frames == int(answers)
    pool.heard(second, READY)
    assert wires[1].frames == 1
    assert results == []
    for worker in (first, second):
        pool._settle(worker, {})


def test_the_template_is_begun_before_the_contract_is_imported() -> None:
    """The names that the light module knows by heart are those of the contract and of the pod's order."""
    assert start.ORDER == serving.ENV
    assert start.DEFAULT_ROOT == serving.MODEL_ROOT
    assert start.ROOT == ROOT_ENV
    assert Places(Path("/x")).tree == Path("/x", start.TREE)
    heavy = (
        "import sys, gyre_serving.server.main; print([m for m in ('pydantic', 'numpy', 'asyncio') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", heavy], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("order", "begun"),
    [
        pytest.param('{"format": "Python"}', True, id="user code"),
        pytest.param('{"format": "ONNX"}', False, id="none"),
        pytest.param('{"format": ', False, id="an order that does not parse"),
        pytest.param('{"format": []}', False, id="a format that is no word"),
        pytest.param("[1]", False, id="an order that is none"),
    ],
)
def test_a_template_is_begun_for_user_code_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: str, *, begun: bool
) -> None:
    """The one that was begun is taken, a second time another one is made, and what is for something else is ended."""
    monkeypatch.setenv(start.ORDER, order)
    monkeypatch.setenv(start.ROOT, str(tmp_path))
    start.begin()
    early = list(start._early)
    assert len(early) == begun
    taken = [start.take("Python", tmp_path / start.TREE), start.take("Python", tmp_path / start.TREE)]
    assert taken[:begun] == early
    assert taken[0].process.pid != taken[1].process.pid
    start.begin()
    foreign = list(start._early)
    taken.append(start.take("Python", tmp_path / "other"))
    assert [one.process.poll() for one in foreign] == [-9] * begun
    for one in taken:
        one.control.close()
        assert one.process.wait(30) == 0


THREADS = """
import sklearn.ensemble, threadpoolctl
from gyre_serving.server.processes.worker import share_cores
for library in threadpoolctl.ThreadpoolController().lib_controllers:
    library.set_num_threads(4)
share_cores(2)
print(sorted({(one["user_api"], one["num_threads"]) for one in threadpoolctl.threadpool_info()}))
"""


@pytest.mark.parametrize(
    ("own", "threads"),
    [pytest.param(None, 2, id="by default its share"), pytest.param("4", 4, id="where the container says so, as many")],
)
def test_a_worker_takes_its_share_of_the_cores(monkeypatch: pytest.MonkeyPatch, own: str | None, threads: int) -> None:
    """OpenMP and BLAS of a worker run so many threads, and no more, whatever they would take by themselves."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if own is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", own)
    done = subprocess.run([sys.executable, "-c", THREADS], check=True, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == str([("blas", threads), ("openmp", threads)])


PARENT = """
import subprocess

class Model:
    def __init__(self, directory):
        pass

    def predict(self, inputs):
        with open({place!r}, "w") as told:
            told.write(str(subprocess.Popen(["sleep", "600"]).pid))
        while (inputs["x"] == 3).any():
            pass
        return inputs["x"].ravel()
"""


def test_what_a_killed_worker_started_ends_with_it(tmp_path: Path, root: Path) -> None:
    """A model that starts a process and hangs is cut at the deadline: nothing of it stays, and the next one serves."""
    place = tmp_path / "pid"
    text = PARENT.format(place=str(place))
    files = {artifact.PYTHON: text.encode(), artifact.SIGNATURE: json.dumps(SIGNATURE).encode()}
    tree, digest = write_tree(tmp_path / "store", files)
    order = Version(tree, digest, None, np.zeros((1, 1), dtype=np.float32)).order(
        "m", runtime="Python", format="Python"
    )
    assert pod.fetch(order, root).returncode == 0
    with pod.container("serve", order, root, "--workers", "1", "--deadline", "1.5") as running:
        running.until("Serving", 60)
        assert _asked(running, 3.0) == 504
        left = Path("/proc", place.read_text())
        for _ in range(100):
            if not left.exists():
                break
            time.sleep(0.05)
        assert not left.exists(), left.joinpath("stat").read_text()
        for _ in range(100):
            if _asked(running, 1.0) == 200:
                break
            time.sleep(0.05)
        assert _asked(running, 1.0) == 200


def _asked(running: pod.Container, value: float) -> int:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [value]}
    return running.post("/v2/models/m/versions/1/infer", json.dumps({"inputs": [tensor]}).encode())[0]


def test_fork_that_fails_ends_no_other_worker(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The template goes on; the server sees the channel of the one that never came closed, and asks again later."""

    def refuse() -> int:
        raise BlockingIOError(11, "no more processes")

    monkeypatch.setattr(os, "fork", refuse)
    ours, theirs = socket.socketpair()
    children = {1}
    template._command({}, [theirs.detach()], children, (), PLAN)
    assert children == {1}
    ours.settimeout(5)
    assert ours.recv(1) == b""
    ours.close()
    assert "no worker could be forked" in capfd.readouterr().err
