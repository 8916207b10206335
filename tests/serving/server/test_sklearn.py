"""scikit-learn estimators saved by MLflow: asked without mlflow where that gives the same, and only there."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gyre_crds.contracts import artifact
from gyre_crds.contracts.golden import GoldenRows, Predictions, Rows
from gyre_crds.v1alpha1.version import Prediction, Signature, Tensor
from gyre_serving.server.models import mlflow
from gyre_serving.server.models.sklearn import SklearnModel

SAVE = """
import sys, numpy, pandas, mlflow.sklearn
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder

to = sys.argv[1]
random = numpy.random.default_rng(0)
numbers = random.normal(size=(300, 2))
table = pandas.DataFrame(numbers, columns=["a", "b"])
turned = table[["b", "a"]]
label = (numbers[:, 0] + 3 * numbers[:, 1] > 0).astype(int)
town = random.choice(["Linz", "Graz"], 300)
mixed = pandas.DataFrame({"town": town, "area": numbers[:, 0]})
price = numbers[:, 0] * 2 + (town == "Linz")
boosted = HistGradientBoostingClassifier(max_iter=5).fit(numbers, label)
by_name = make_pipeline(
    ColumnTransformer([("town", OneHotEncoder(), ["town"])], remainder="passthrough"), LinearRegression()
).fit(mixed, price)
own = make_pipeline(FunctionTransformer(lambda x: x - x.mean()), LogisticRegression()).fit(table, label)
extra = to + "/helper.py"
open(extra, "w").write("VALUE = 1")
for name, model, rows, more in (
    ("arrays", boosted, numbers, {}),
    ("names", LogisticRegression().fit(turned, label), turned, {"input_example": turned[:2]}),
    ("probabilities", boosted, numbers, {"pyfunc_predict_fn": "predict_proba"}),
    ("text", by_name, mixed, {}),
    ("function", own, table, {}),
    ("code", boosted, numbers, {"code_paths": [extra]}),
):
    place = f"{to}/{name}/model"
    mlflow.sklearn.save_model(model, place, serialization_format="cloudpickle", pip_requirements=[], **more)
    predict = model.predict_proba if name == "probabilities" else model.predict
    numpy.save(f"{to}/{name}.npy", predict(rows[:8]))
numpy.save(f"{to}/numbers.npy", numbers[:8])
numpy.save(f"{to}/town.npy", town[:8])
"""
NUMBERS = Tensor(name="x", datatype="FP64", shape=[-1, 2])
MIXED = [Tensor(name="area", datatype="FP32", shape=[-1, 1]), Tensor(name="town", datatype="BYTES", shape=[-1, 1])]
LABEL = (Tensor(name="label", datatype="INT64", shape=[-1]), Prediction(output="label", task="Classification"))
PRICE = (Tensor(name="price", datatype="FP64", shape=[-1]), Prediction(output="price", task="Regression"))
SCORES = (Tensor(name="p", datatype="FP64", shape=[-1, 2]), Prediction(output="p", task="Regression"))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow directories of several estimators, and what each predicts for the same eight rows."""
    folder = tmp_path_factory.mktemp("saved")
    # In a process of its own: mlflow warns of many things at import, and warnings are errors here.
    subprocess.run([sys.executable, "-c", SAVE, str(folder)], check=True, capture_output=True, timeout=120)
    return folder


def _version(
    saved: Path, name: str, *, spoiled: bool = False, second: str = "b"
) -> tuple[Path, Signature, dict[str, Any], Any]:
    """Tree, signature, the eight rows as tensors and their predictions."""
    numbers, town = np.load(saved / "numbers.npy"), np.load(saved / "town.npy")
    wanted = np.load(saved / f"{name}.npy")
    inputs: dict[str, Any] = {"x": numbers}
    columns, values = ["a", second], [column.tolist() for column in numbers.T]
    tensors = [NUMBERS.model_copy(update={"columns": columns})]
    output, prediction = {"text": PRICE, "probabilities": SCORES}.get(name, LABEL)
    if name == "text":
        towns = np.array([one.encode() for one in town], dtype=object)[:, None]
        inputs = {"area": numbers[:, :1].astype(np.float32), "town": towns}
        columns, values = ["area", "town"], [numbers[:, 0].tolist(), town.tolist()]
    signature = Signature(inputs=MIXED if name == "text" else tensors, outputs=[output], prediction=prediction)
    labels = (wanted + 5 if spoiled else wanted).ravel().tolist()
    golden = GoldenRows(rows=Rows(columns=columns, values=values), predictions=Predictions(labels=labels))
    tree = saved / name
    (tree / artifact.GOLDEN).parent.mkdir(exist_ok=True)
    (tree / artifact.GOLDEN).write_text(golden.model_dump_json(by_alias=True))
    return tree, signature, inputs, wanted


class Called(Exception):  # noqa: N818  a sign
    """Pyfunc was asked for."""


@pytest.fixture
def without_pyfunc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks for mlflow raises `Called`."""

    def libraries() -> Any:
        raise Called

    monkeypatch.setattr(mlflow, "_libraries", libraries)


@pytest.mark.usefixtures("without_pyfunc")
@pytest.mark.parametrize(
    ("name", "form"),
    [
        pytest.param("arrays", "array", id="trees fitted on an array"),
        pytest.param("names", "array", id="a regression fitted on a table whose columns stand in another order"),
        pytest.param("probabilities", "array", id="saved to answer probabilities"),
        pytest.param("text", "frame", id="columns chosen by name, one of them text"),
        pytest.param("function", "frame", id="a function that a table and an array answer differently"),
    ],
)
def test_plain_estimator_answers_as_it_predicts_without_mlflow(saved: Path, name: str, form: str) -> None:
    """Arrays where they do, a table where the estimator may look for names; the same predictions in both."""
    tree, signature, inputs, wanted = _version(saved, name)
    model = mlflow.load(tree, signature, 1)
    assert isinstance(model, SklearnModel)
    assert model._form.__qualname__ == f"_{form}.<locals>.form"
    found = model.run(inputs)[signature.outputs[0].name]
    assert found.shape == wanted.shape
    assert np.allclose(found, wanted, atol=1e-6)


@pytest.mark.usefixtures("without_pyfunc")
def test_scores_come_with_the_labels(saved: Path) -> None:
    """`predict` gives no probabilities; where the signature wants them they are asked for."""
    tree, plain, inputs, wanted = _version(saved, "names")
    scores = Tensor(name="scores", datatype="FP32", shape=[-1, 2])
    prediction = Prediction(output="label", score="scores", task="Classification")
    signature = plain.model_copy(update={"outputs": [LABEL[0], scores], "prediction": prediction})
    found = mlflow.load(tree, signature, 1).run(inputs)
    assert found["label"].tolist() == wanted.tolist()
    assert found["scores"].dtype == np.float32
    assert found["scores"].argmax(axis=1).tolist() == wanted.tolist()
    assert np.allclose(found["scores"].sum(axis=1), 1)


@pytest.mark.usefixtures("without_pyfunc")
@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        pytest.param("code", "", id="it brings code of its own"),
        pytest.param("arrays", "golden rows differ", id="its golden rows come out otherwise"),
        pytest.param("arrays", "no golden rows", id="nothing proves it"),
        pytest.param("arrays", "other columns", id="the signature names other columns than it was fitted with"),
        pytest.param("arrays", "forbidden", id="the container forbids to unpickle"),
    ],
)
def test_what_is_not_proven_is_left_to_pyfunc(
    saved: Path, monkeypatch: pytest.MonkeyPatch, name: str, spoil: str
) -> None:
    """Each of these goes the long way, whose words and checks are MLflow's own."""
    name = "names" if spoil == "other columns" else name
    second = "c" if spoil == "other columns" else "b"
    tree, signature, _, _ = _version(saved, name, spoiled=spoil == "golden rows differ", second=second)
    if spoil == "no golden rows":
        (tree / artifact.GOLDEN).unlink()
    if spoil == "forbidden":
        monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    with pytest.raises(Called):
        mlflow.load(tree, signature, 1)
