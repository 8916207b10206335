"""A training that leaves a class of its own, model.py, instead of a graph or an MLflow model."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gyre_crds.contracts.artifact import TreeManifest
from gyre_crds.contracts.attempt import PublishResult
from gyre_crds.contracts.golden import GoldenRows
from gyre_crds.contracts.store import StoreEnv, tree_prefix
from gyre_pipelines import artifact, prepare, publish
from tests.pipelines.support.attempts import TRAINING, Attempt, make_attempt
from tests.pipelines.test_attempt import copied, is_refused, result_of


@pytest.fixture(scope="module")
def classy(tmp_path_factory: pytest.TempPathFactory) -> Attempt:
    """An attempt whose training left model.py, a module and weights beside it; prepared, trained and published."""
    folder = tmp_path_factory.mktemp("classy")
    done = make_attempt(folder, {StoreEnv.URI: f"file://{folder}/store"})
    done.command = [sys.executable, str(TRAINING / "own_class.py")]
    prepare.run(done.parsed(), done.environment())
    code, message = done.wrap()
    assert code == 0, message
    publish.run(done.parsed(), done.environment())
    return done


def _read(attempt: Attempt, result: PublishResult, name: str) -> bytes:
    return attempt.store().read(f"{tree_prefix(result.report.tree_digest)}/{name}")


def test_it_ends_as_a_version_of_format_python(classy: Attempt) -> None:
    """The tree holds the class and all that it may read, neither the metrics nor what an import leaves."""
    result = result_of(classy)
    assert result.format == "Python"
    manifest = TreeManifest.model_validate_json(_read(classy, result, "gyre-manifest.json"))
    own = ["beside.py", "model.py", "weights.json"]
    assert sorted(entry.path for entry in manifest.files) == sorted(["gyre/golden.json", "gyre/signature.json", *own])
    assert result.metrics["rows"] > 1700
    assert result.metrics["accuracy"] > 0.7


def test_its_signature_names_the_features(classy: Attempt) -> None:
    """One matrix with the features' names in; label and class scores out, as the class gave them."""
    signature = result_of(classy).signature
    assert signature is not None
    (takes,) = signature.inputs
    assert (takes.name, takes.datatype, takes.shape, takes.columns) == ("input", "FP64", [-1, 3], ["a", "b", "c"])
    assert [(one.name, one.datatype, one.shape) for one in signature.outputs] == [
        ("prediction", "INT64", [-1]),
        ("probability", "FP64", [-1, 2]),
    ]


def test_golden_rows_are_what_the_class_said(classy: Attempt) -> None:
    """In the user's image, by the class itself."""
    result = result_of(classy)
    golden = GoldenRows.model_validate_json(_read(classy, result, "gyre/golden.json"))
    weights = json.loads(_read(classy, result, "weights.json"))
    rows = list(zip(*golden.rows.values, strict=True))
    sums = [sum(weight * value for weight, value in zip(weights, row, strict=True)) for row in rows]
    assert golden.predictions.labels == [int(one > 0) for one in sums]
    assert [pair[1] > 0.5 for pair in golden.predictions.scores] == [one > 0 for one in sums]


def _own_tensors(output: Path) -> None:
    inputs = [{"name": name, "datatype": "FP32", "shape": [-1]} for name in "abc"]
    outputs = [{"name": "label", "datatype": "BYTES", "shape": [-1]}]
    (output / "signature.json").write_text(json.dumps({"inputs": inputs, "outputs": outputs}))
    (output / "model.py").write_text(
        "import numpy as np\n\n\nclass Model:\n    def __init__(self, directory):\n        pass\n\n"
        "    def predict(self, inputs):\n        assert inputs['a'].ndim == 1\n"
        "        return np.where(inputs['a'] + inputs['b'] > 0, b'1', b'0').astype(object)\n"
    )


def test_a_signature_of_its_own_is_obeyed(classy: Attempt, tmp_path: Path) -> None:
    """signature.json gives the class its tensors one by one, and travels as the version's."""
    attempt = copied(classy, tmp_path)
    _own_tensors(attempt.root / "output")
    attempt.command = [sys.executable, "-c", "pass"]
    code, message = attempt.wrap()
    assert code == 0, message
    publish.run(attempt.parsed(), attempt.environment())
    result = result_of(attempt)
    assert result.signature is not None
    assert [one.name for one in result.signature.inputs] == ["a", "b", "c"]
    assert set(GoldenRows.model_validate_json(_read(attempt, result, "gyre/golden.json")).predictions.labels) == {
        "0",
        "1",
    }


def _wrong_signature(output: Path) -> None:
    (output / "signature.json").write_text('{"inputs": [{"name": "a", "datatype": "FLOAT", "shape": [-1]}]}')


def _reserved(output: Path) -> None:
    (output / "gyre").mkdir()
    (output / "gyre" / "x").write_text("x")


def _no_class(output: Path) -> None:
    (output / "model.py").write_text("def predict(): ...\n")


@pytest.mark.parametrize(
    ("spoil", "reason", "sentence"),
    [
        pytest.param(_wrong_signature, "CannotLoad", "signature.json in $GYRE_OUTPUT: inputs.0.datatype", id="type"),
        pytest.param(_reserved, "UserError", "gyre/x in $GYRE_OUTPUT has a name of Gyre's own", id="reserved-name"),
        pytest.param(_no_class, "ArtifactMissing", "or model.py with a class Model", id="no-class"),
    ],
)
def test_what_it_leaves_wrong_is_one_sentence(
    classy: Attempt, tmp_path: Path, spoil: Callable[[Path], None], reason: str, sentence: str
) -> None:
    """Publish refuses with a reason and a cure, and puts nothing into the store."""
    attempt = copied(classy, tmp_path)
    spoil(attempt.root / "output")
    is_refused(attempt, reason, sentence)


@pytest.mark.parametrize(
    ("beside", "text", "found"),
    [
        pytest.param("model.onnx", "class Model: ...", "ONNX", id="a-graph-goes-first"),
        pytest.param("model/MLmodel", "class Model: ...", "MLflow", id="an-mlflow-model-goes-first"),
        pytest.param("weights.npz", "from elsewhere import Net as Model", "Python", id="an-imported-class"),
        pytest.param("weights.npz", "Model = make()", "Python", id="an-assigned-class"),
        pytest.param("weights.npz", "class Model", "Python", id="a-file-that-does-not-parse"),
    ],
)
def test_which_file_is_the_model(tmp_path: Path, beside: str, text: str, found: str) -> None:
    """A script called model.py beside another model changes nothing."""
    (tmp_path / beside).parent.mkdir(exist_ok=True)
    (tmp_path / beside).write_text("x")
    (tmp_path / "model.py").write_text(text)
    assert artifact.find(tmp_path, tmp_path / "mlruns").format == found
