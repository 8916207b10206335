"""MLflow model directories on the built-in server, where the image has mlflow."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from gyre_crds.contracts import artifact
from gyre_crds.contracts.golden import GoldenRows, Predictions, Rows
from gyre_crds.v1alpha1.version import Prediction, Signature, Tensor
from gyre_serving.pod.failure import Failure
from gyre_serving.server.models import load, preload
from tests.serving.support import pod
from tests.serving.support.versions import Version, write_tree

CODE = '''
import ctypes, os, sys, time
import numpy
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

class Model(PythonModel):
    """a + 10 b; below zero each number is another way to misbehave."""

    def predict(self, context, model_input, params=None):
        if (model_input["a"] == -1).any():
            raise LookupError("a is negative\\nsecond line")
        if (model_input["a"] == -2).any():
            while True:
                pass
        if (model_input["a"] == -3).any():
            sys.exit(3)
        if (model_input["a"] == -4).any():
            os._exit(4)
        if (model_input["a"] == -5).any():
            ctypes.string_at(0)
        if (model_input["a"] == -6).any():
            held = numpy.ones((1 << 32,))
        if (model_input["a"] == -7).any():
            for descriptor in range(3, 64):
                try:
                    os.write(descriptor, b"nonsense" * 100)
                except OSError:
                    pass
        if (model_input["a"] == -8).any():
            time.sleep(1)
        return (model_input["a"] + 10 * model_input["b"]).to_numpy()

set_model(Model())
'''
COLUMNS = ["a", "b"]
SIGNATURE = Signature(
    inputs=[Tensor(name="input", datatype="FP64", shape=[-1, 2], columns=COLUMNS)],
    outputs=[Tensor(name="prediction", datatype="FP64", shape=[-1])],
    prediction=Prediction(output="prediction", task="Regression"),
)
INFER = "/v2/models/sum/versions/1/infer"


@pytest.fixture(scope="module")
def pyfunc(tmp_path_factory: pytest.TempPathFactory) -> Version:
    """A version as a person's `mlflow.pyfunc.save_model` leaves it, with signature and golden rows."""
    root = tmp_path_factory.mktemp("user")
    script, saved = root / "model.py", root / "saved"
    script.write_text(CODE)
    # In a process of its own: mlflow warns of many things at import, and warnings are errors here.
    save = "import sys, mlflow.pyfunc as m; m.save_model(sys.argv[2], python_model=sys.argv[1], pip_requirements=[])"
    subprocess.run([sys.executable, "-c", save, str(script), str(saved)], check=True, capture_output=True, timeout=120)
    files = {f"{artifact.MLFLOW_DIR}/{p.relative_to(saved)}": p.read_bytes() for p in saved.rglob("*") if p.is_file()}
    golden = GoldenRows(
        rows=Rows(columns=COLUMNS, values=[[1.0, 2.0], [3.0, 4.0]]), predictions=Predictions(labels=[31.0, 42.0])
    )
    files |= {
        artifact.SIGNATURE: SIGNATURE.model_dump_json(by_alias=True).encode(),
        artifact.GOLDEN: golden.model_dump_json(by_alias=True).encode(),
    }
    tree, digest = write_tree(root / "store", files)
    return Version(tree, digest, None, np.zeros((1, 2), dtype=np.float32))


def _body(*rows: tuple[float, float]) -> bytes:
    data = [value for row in rows for value in row]
    return json.dumps(
        {"inputs": [{"name": "input", "datatype": "FP64", "shape": [len(rows), 2], "data": data}]}
    ).encode()


@pytest.fixture(scope="module")
def server(pyfunc: Version, tmp_path_factory: pytest.TempPathFactory) -> Iterator[pod.Container]:
    """The version on two worker processes with a deadline of two seconds."""
    base = tmp_path_factory.mktemp("pyfunc")
    order = pyfunc.order("sum", runtime="Python", format="MLflow")
    root = base / "models"
    root.mkdir()
    assert pod.fetch(order, root).returncode == 0
    with pod.container("serve", order, root, "--deadline", "2", "--workers", "2") as running:
        assert running.until("Serving", 120)["message"].startswith("2 golden rows came out as at training")
        yield running


def _counted(server: pod.Container, name: str) -> float:
    text = server.get("/metrics")[1].decode()
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(f"{name}{{"))


def _complete(server: pod.Container) -> None:
    """Wait until both workers can take a batch, one that is being ended not among them."""
    time.sleep(0.1)
    end = time.monotonic() + 60
    while _counted(server, "gyre_server_workers") < 2:
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("row", "status", "sentence", "lost"),
    [
        pytest.param(-1.0, 500, "LookupError: a is negative", 0, id="raises"),
        pytest.param(-2.0, 504, "the model did not answer within 2 s", 1, id="loops for ever"),
        pytest.param(-3.0, 500, "RuntimeError: SystemExit: 3", 0, id="asks the interpreter to end"),
        pytest.param(-4.0, 500, "the model ended its own process: exit code 4;", 1, id="ends the process"),
        pytest.param(-5.0, 500, "the model ended its own process: signal 11 (SIGSEGV);", 1, id="segfaults"),
        pytest.param(-6.0, 500, "Unable to allocate 32.0 GiB", 0, id="eats memory"),
        pytest.param(-7.0, 500, "the model ended its own process: signal 9", 1, id="writes into foreign descriptors"),
    ],
)
def test_what_user_code_does_costs_its_own_request_only(
    server: pod.Container, row: float, status: int, sentence: str, lost: int
) -> None:
    """The server lives and says why; a process that is gone is counted, and others answer at once."""
    _complete(server)
    before, answers = _counted(server, "gyre_server_workers_lost_total"), []
    asking = threading.Thread(target=lambda: answers.append(server.post(INFER, _body((row, 0.0)))))
    asking.start()
    while asking.is_alive():
        code, said = server.post(INFER, _body((5.0, 1.0), (2.0, 3.0)))
        assert (code, said["outputs"][0]["data"]) == (200, [15.0, 32.0])
        time.sleep(0.05)
    assert answers[0][0] == status
    assert sentence in answers[0][1]["error"]
    _complete(server)
    assert _counted(server, "gyre_server_workers_lost_total") - before == lost
    assert server.process.poll() is None
    assert server.get("/v2/health/live")[0] == 200
    assert server.get("/readyz")[0] == 200


def test_user_code_runs_side_by_side(server: pod.Container) -> None:
    """Two slow requests on two processes take as long as one."""
    _complete(server)
    started = time.monotonic()
    asking = [threading.Thread(target=server.post, args=(INFER, _body((-8.0, float(n))))) for n in range(2)]
    for one in asking:
        one.start()
    for one in asking:
        one.join()
    assert time.monotonic() - started < 1.9


def test_a_lost_template_is_made_anew(server: pod.Container) -> None:
    """The process that workers are forked from is killed: all workers go with it, and service comes back."""
    _complete(server)
    os.kill(int(_children(server)[0]), signal.SIGKILL)
    while _counted(server, "gyre_server_workers"):
        time.sleep(0.01)
    _complete(server)
    assert server.post(INFER, _body((5.0, 0.0)))[0] == 200


def _children(server: pod.Container) -> list[str]:
    return Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()


def test_a_hung_model_does_not_outlive_its_server(pyfunc: Version, root: Path) -> None:
    """SIGKILL of the server in the middle of an endless loop leaves no process behind."""
    order = pyfunc.order("sum", runtime="Python", format="MLflow")
    assert pod.fetch(order, root).returncode == 0
    with pod.container("serve", order, root, "--workers", "1") as running:
        running.until("Serving", 120)
        template = int(_children(running)[0])
        worker = int(Path(f"/proc/{template}/task/{template}/children").read_text())
        threading.Thread(target=running.post, args=(INFER, _body((-2.0, 0.0))), daemon=True).start()
        time.sleep(0.3)
        running.stop(signal.SIGKILL)
    end = time.monotonic() + 5
    while any(Path(f"/proc/{pid}").exists() for pid in (template, worker)):
        assert time.monotonic() < end
        time.sleep(0.02)


def test_an_image_without_mlflow_names_the_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pyfunc in an image that cannot run it: the sentence says which field to set."""
    for name in ("mlflow", "mlflow.pyfunc"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(Failure, match=r"set spec\.runtime\.image to one that has it"):
        load("MLflow", tmp_path, SIGNATURE, 1)


@pytest.mark.filterwarnings("ignore")  # mlflow's own, at import
@pytest.mark.parametrize(
    "said",
    [
        pytest.param(None, id="no MLmodel"),
        pytest.param("flavors: {a: [\n - : :", id="no YAML"),
        pytest.param("[" * 5000, id="YAML without a bottom"),
        pytest.param("- a", id="no mapping"),
        pytest.param(
            'flavors: {python_function: {loader_module: mlflow.sklearn}, sklearn: {pickled_model: "a\\0"}}',
            id="a path that is none",
        ),
    ],
)
def test_a_model_that_mlflow_refuses_tells_why(tmp_path: Path, said: str | None) -> None:
    """A directory that is no MLflow model ends neither the process that workers are forked from nor a worker."""
    if said is not None:
        (tmp_path / "MLmodel").write_text(said)
    preload("MLflow", tmp_path)
    with pytest.raises(Failure, match="mlflow refuses the model"):
        load("MLflow", tmp_path, SIGNATURE, 1)
