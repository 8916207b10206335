"""Text in and text out: a model with an input for each column, on both runtimes."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import pytest
from skl2onnx import to_onnx  # type: ignore[import-untyped]
from skl2onnx.common.data_types import FloatTensorType, StringTensorType  # type: ignore[import-untyped]
from sklearn.compose import ColumnTransformer  # type: ignore[import-untyped]
from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]
from sklearn.pipeline import make_pipeline  # type: ignore[import-untyped]
from sklearn.preprocessing import OneHotEncoder, StandardScaler  # type: ignore[import-untyped]

from gyre_crds.contracts import artifact
from gyre_crds.contracts.golden import GoldenRows, Predictions, Rows
from gyre_crds.v1alpha1.version import Prediction, Signature, Tensor
from tests.serving.support import pod, triton
from tests.serving.support.pod import call
from tests.serving.support.versions import Version, write_tree

SIGNATURE = Signature(
    inputs=[Tensor(name="town", datatype="BYTES", shape=[-1, 1]), Tensor(name="age", datatype="FP32", shape=[-1, 1])],
    outputs=[
        Tensor(name="label", datatype="BYTES", shape=[-1]),
        Tensor(name="probabilities", datatype="FP32", shape=[-1, 2]),
    ],
    prediction=Prediction(output="label", score="probabilities", positive=1, task="Classification"),
)
TOWNS = ["Köln", "Ålesund", "Łódź"]
INFER = "/v2/models/towns/versions/1/infer"


def _rows(count: int) -> tuple[list[str], list[float]]:
    random = np.random.default_rng(3)
    return [TOWNS[index] for index in random.integers(0, 3, count)], random.integers(18, 90, count).tolist()


@pytest.fixture(scope="module")
def towns(tmp_path_factory: pytest.TempPathFactory) -> Version:
    """A pipeline with a one-hot town and a scaled age that answers `ja` or `nein`."""
    names, ages = _rows(500)
    frame = pd.DataFrame({"town": names, "age": np.array(ages, dtype=np.float32)})
    encode = ColumnTransformer([("t", OneHotEncoder(), ["town"]), ("a", StandardScaler(), ["age"])])
    model = make_pipeline(encode, LogisticRegression())
    model.fit(frame, np.where((frame["town"] == "Köln") ^ (frame["age"] > 50), "ja", "nein"))
    types = [("town", StringTensorType([None, 1])), ("age", FloatTensorType([None, 1]))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        onnx = to_onnx(model, initial_types=types, options={"zipmap": False}, target_opset=18).SerializeToString()
    head = frame[:32]
    golden = GoldenRows(
        rows=Rows(columns=["age", "town"], values=[ages[:32], list(names[:32])]),
        predictions=Predictions(
            labels=model.predict(head).tolist(), scores=model.predict_proba(head).tolist(), classes=["ja", "nein"]
        ),
    )
    files = {
        artifact.ONNX: onnx,
        artifact.SIGNATURE: SIGNATURE.model_dump_json(by_alias=True).encode(),
        artifact.GOLDEN: golden.model_dump_json(by_alias=True).encode(),
    }
    tree, digest = write_tree(tmp_path_factory.mktemp("towns"), files)
    return Version(tree, digest, (model, frame), np.zeros((1, 1), dtype=np.float32))


def _body(names: list[str], ages: list[float]) -> bytes:
    inputs: list[dict[str, Any]] = [
        {"name": "town", "datatype": "BYTES", "shape": [len(names), 1], "data": names},
        {"name": "age", "datatype": "FP32", "shape": [len(ages), 1], "data": ages},
    ]
    return json.dumps({"inputs": inputs}).encode()


def test_text_goes_through_triton_and_the_built_in_server_alike(
    towns: Version, installation: triton.Installation, tmp_path: Path, root: Path
) -> None:
    """Names beyond ASCII in, words out: 500 rows equal the native pipeline on both, golden rows included."""
    order = towns.order("towns")
    assert pod.fetch(order, root).returncode == 0
    names, ages = _rows(500)
    with (
        triton.running(installation, root) as server,
        pod.container("agent", order, root, GYRE_TRITON_ADDRESS=server.address) as agent,
    ):
        agent.until("Serving")
        by_triton = call(server.port, INFER, _body(names, ages))[1]
    other = tmp_path / "python" / "models"
    other.mkdir(parents=True)
    order = towns.order("towns", runtime="Python")
    assert pod.fetch(order, other).returncode == 0
    with pod.container("serve", order, other) as running:
        running.until("Serving")
        built_in = running.post(INFER, _body(names, ages))[1]
    model, frame = towns.model
    for said in (by_triton, built_in):
        labels, scores = said["outputs"]
        assert labels["shape"] == [500]
        assert labels["data"] == model.predict(frame).tolist()
        assert np.abs(np.array(scores["data"]).reshape(-1, 2) - model.predict_proba(frame)).max() < 1e-5
