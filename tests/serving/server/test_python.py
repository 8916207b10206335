"""A user's own class on the built-in server: the example of docs/examples/serving, as a pod runs it."""

import importlib.util
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from gyre_crds.contracts import artifact
from gyre_crds.v1alpha1.version import ModelVersion
from gyre_serving.pod.failure import Failure
from gyre_serving.server.models import load
from tests.serving.support import pod
from tests.serving.support.versions import Version, write_tree

EXAMPLES = Path(__file__).parents[3] / "docs" / "examples" / "serving"
INFER = "/v2/models/flats/versions/1/infer"
GREEDY = """
import os, sys

class Model:
    def __init__(self, directory):
        self.kept = []

    def predict(self, inputs):
        x = inputs["x"]
        x += 1  # writable
        if (x == 3).any():
            while True:
                self.kept.append(bytearray(1 << 20))
        return x.ravel()
"""


def _example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("publish_example", EXAMPLES / "publish.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _body(towns: list[str], areas: list[float]) -> bytes:
    inputs = [
        {"name": "town", "datatype": "BYTES", "shape": [len(towns), 1], "data": towns},
        {"name": "area", "datatype": "FP32", "shape": [len(areas), 1], "data": areas},
    ]
    return json.dumps({"inputs": inputs}).encode()


@pytest.fixture(scope="module")
def flats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pod.Container]:
    """The example, published by its own script and served with one worker."""
    base = tmp_path_factory.mktemp("flats")
    made = ModelVersion.model_validate(_example().publish(base / "store"))
    assert made.spec.digest is not None
    tree = Path((made.spec.source.uri or "").removeprefix("file://"))
    version = Version(tree, made.spec.digest, None, np.zeros((1, 1), dtype=np.float32))
    order = version.order("flats", runtime="Python", format=made.spec.format)
    root = base / "models"
    root.mkdir()
    assert pod.fetch(order, root).returncode == 0
    with pod.container("serve", order, root, "--workers", "1") as running:
        said = running.until("Serving", 60)
        assert said["message"].startswith("2 golden rows came out as at training")
        yield running
    assert artifact.scan(root / "tree").tree_digest == version.digest, "serving changed the tree"


def test_a_class_answers_and_its_exceptions_are_one_line(flats: pod.Container) -> None:
    """Texts and numbers in, prices out; an unknown town is a 500 that names it, and the next one is answered."""
    code, said = flats.post(INFER, _body(["Linz", "Wels"], [100.0, 10.0]))
    assert (code, said["outputs"][0]["data"]) == (200, [410000.0, 32000.0])
    assert flats.post(INFER, _body(["Graz"], [1.0])) == (500, {"error": "KeyError: 'Graz'"})
    assert flats.post(INFER, _body(["Wels"], [1.0]))[0] == 200


def test_many_clients_of_one_worker_are_all_answered(flats: pod.Container) -> None:
    """Two hundred requests of sixteen clients, each with its own price."""
    wrong: list[Any] = []

    def ask(first: int) -> None:
        for area in range(first, 208, 16):
            code, said = flats.post(INFER, _body(["Wels"], [float(area)]))
            if code != 200 or said["outputs"][0]["data"] != [3200.0 * area]:
                wrong.append((area, code, said))

    clients = [threading.Thread(target=ask, args=(first,)) for first in range(16)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert not wrong


def test_memory_that_is_eaten_piece_by_piece_ends_at_its_bound(tmp_path: Path, root: Path) -> None:
    """A class that keeps a mebibyte more with each loop gets a MemoryError beyond --worker-memory, and serves on."""
    signature = {
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 1]}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1]}],
    }
    files = {artifact.PYTHON: GREEDY.encode(), artifact.SIGNATURE: json.dumps(signature).encode()}
    tree, digest = write_tree(tmp_path / "store", files)
    version = Version(tree, digest, None, np.zeros((1, 1), dtype=np.float32))
    order = version.order("flats", runtime="Python", format="Python")
    assert pod.fetch(order, root).returncode == 0
    with pod.container("serve", order, root, "--workers", "1", "--worker-memory", "64") as running:
        running.until("Serving", 60)
        answers = [running.post(INFER, _number(value)) for value in (2.0, 1.0)]
        if answers[1][0] != 200:  # a worker that cannot even say so is replaced
            time.sleep(1)
            answers[1] = running.post(INFER, _number(1.0))
        assert running.process.poll() is None
    assert answers[0][0] == 500
    assert "MemoryError" in answers[0][1]["error"] or "ended its own process" in answers[0][1]["error"]
    assert answers[1][1]["outputs"][0]["data"] == [2.0]


def _number(value: float) -> bytes:
    return json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [value]}]}).encode()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        pytest.param(None, "holds no model.py", id="no file"),
        pytest.param("x = 1", "has no attribute 'Model'", id="no class"),
        pytest.param("raise ValueError('no licence')", "ValueError: no licence", id="a file that raises"),
        pytest.param("class Model:\n def __init__(self, d): pass", "no attribute 'predict'", id="no predict"),
    ],
)
def test_a_file_that_does_not_load_says_what_is_wanted(
    tmp_path: Path, text: str | None, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sentence holds the file's own error and the class that is wanted."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    if text is not None:
        (tmp_path / "model.py").write_text(text)
    with pytest.raises(Failure) as failed:
        load("Python", tmp_path, _example().SIGNATURE, 1)
    assert sentence in failed.value.message
    assert "wants `class Model`" in failed.value.message


@pytest.mark.parametrize(
    ("code", "deadline", "sentence"),
    [
        pytest.param("import os; os._exit(7)", "60", "exit code 7 while it was loaded", id="ends the process"),
        pytest.param("while True: pass", "1", "did not load within 1 s", id="loops for ever"),
    ],
)
def test_a_class_that_breaks_while_it_is_loaded_is_told(
    tmp_path: Path, root: Path, code: str, deadline: str, sentence: str
) -> None:
    """The server itself lives to say so in /readyz, then ends with the sentence."""
    files = {artifact.PYTHON: code.encode(), artifact.SIGNATURE: _example().SIGNATURE.model_dump_json().encode()}
    tree, digest = write_tree(tmp_path / "store", files)
    version = Version(tree, digest, None, np.zeros((1, 1), dtype=np.float32))
    order = version.order("flats", runtime="Python", format="Python")
    assert pod.fetch(order, root).returncode == 0
    with pod.container("serve", order, root, "--load-deadline", deadline, "--patience", "0.2") as running:
        assert running.process.wait(60) == 64
    assert sentence in pod.failure(root).message


@pytest.mark.filterwarnings("ignore")  # mlflow's own, at import
def test_the_python_model_of_the_example_loads_and_answers(tmp_path: Path) -> None:
    """docs/examples/serving/pyfunc.py, saved by mlflow and loaded as a pod does, prices as the class does."""
    from mlflow import pyfunc  # noqa: PLC0415  seconds; the other tests do without

    pyfunc.save_model(str(tmp_path / "model"), python_model=str(EXAMPLES / "pyfunc.py"), pip_requirements=[])
    model = load("MLflow", tmp_path, _example().SIGNATURE, 1)
    towns = np.array([[b"Linz"], [b"Wels"]], dtype=object)
    answered = model.run({"town": towns, "area": np.array([[10.0], [20.0]], dtype=np.float32)})
    assert answered["price"].tolist() == [41000.0, 64000.0]
