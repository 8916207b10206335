"""MLflow model directories on the built-in server, where the image has mlflow."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gyre_crds.contracts import artifact
from gyre_crds.contracts.golden import GoldenRows, Predictions, Rows
from gyre_crds.v1alpha1.version import Prediction, Signature, Tensor
from gyre_serving.pod.failure import Failure
from gyre_serving.server.models import load
from tests.serving.support import pod
from tests.serving.support.versions import Version, write_tree

CODE = '''
import sys, time
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

class Model(PythonModel):
    """a + 10 b; -1 raises, -2 sleeps, -3 asks the interpreter to end."""

    def predict(self, context, model_input, params=None):
        if (model_input["a"] == -1).any():
            raise LookupError("a is negative\\nsecond line")
        if (model_input["a"] == -2).any():
            time.sleep(30)
        if (model_input["a"] == -3).any():
            sys.exit(3)
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


def _publish(root: Path) -> Version:
    """A version as a person's `mlflow.pyfunc.save_model` leaves it, with signature and golden rows."""
    script, saved = root / "model.py", root / "saved"
    root.mkdir(parents=True, exist_ok=True)
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


def test_a_pyfunc_serves_and_its_exceptions_stay_with_their_request(tmp_path: Path, root: Path) -> None:
    """Golden rows prove it; a row that raises or exits costs one request a line, one that hangs is cut."""
    order = _publish(tmp_path / "user").order("sum", runtime="Python", format="MLflow")
    assert pod.fetch(order, root).returncode == 0
    with pod.container("serve", order, root, "--deadline", "1", "--workers", "2") as running:
        assert running.until("Serving", 60)["message"].startswith("2 golden rows came out as at training")
        answers: dict[str, tuple[int, Any]] = {
            name: running.post(INFER, _body(*rows))
            for name, rows in {
                "good": [(1.0, 1.0), (2.0, 3.0)],
                "raises": [(-1.0, 0.0)],
                "exits": [(-3.0, 0.0)],
                "hangs": [(-2.0, 0.0)],
                "after": [(5.0, 0.0)],
            }.items()
        }
        assert running.process.poll() is None
    assert answers["good"][1]["outputs"][0]["data"] == [11.0, 32.0]
    assert answers["raises"] == (500, {"error": "LookupError: a is negative"})
    assert answers["exits"] == (500, {"error": "RuntimeError: SystemExit: 3"})
    assert answers["hangs"] == (504, {"error": "the model did not answer within 1 s"})
    assert answers["after"][1]["outputs"][0]["data"] == [5.0]


def test_a_server_whose_workers_all_hang_is_not_alive(tmp_path: Path, root: Path) -> None:
    """Its only worker stuck: liveness turns 503, so that the container is restarted."""
    order = _publish(tmp_path / "user").order("sum", runtime="Python", format="MLflow")
    assert pod.fetch(order, root).returncode == 0
    with pod.container("serve", order, root, "--deadline", "0.5", "--workers", "1", "--drain", "1") as running:
        running.until("Serving", 60)
        assert running.get("/v2/health/live")[0] == 200
        assert running.post(INFER, _body((-2.0, 0.0)))[0] == 504
        assert running.get("/v2/health/live")[0] == 503
        assert running.get("/readyz")[0] == 503
        assert running.stop() == 0


def test_an_image_without_mlflow_names_the_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pyfunc in an image that cannot run it: the sentence says which field to set."""
    for name in ("mlflow", "mlflow.pyfunc"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(Failure, match=r"set spec\.runtime\.image to one that has it"):
        load("MLflow", tmp_path, SIGNATURE, 1)


@pytest.mark.filterwarnings("ignore")  # mlflow's own, at import
def test_a_model_that_mlflow_refuses_tells_why(tmp_path: Path) -> None:
    """A directory that is no MLflow model."""
    with pytest.raises(Failure, match="mlflow refuses the model"):
        load("MLflow", tmp_path, SIGNATURE, 1)
