"""A whole attempt on a folder, with a real model: what goes in, what comes out, and every way it ends badly."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import joblib  # type: ignore[import-untyped]
import pyarrow.parquet as pq
import pytest
from skl2onnx import to_onnx  # type: ignore[import-untyped]
from skl2onnx.common.data_types import FloatTensorType  # type: ignore[import-untyped]
from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]

from gyre_crds.contracts.artifact import TreeManifest, scan
from gyre_crds.contracts.attempt import EXIT_USER, PreparedLineage, PublishResult
from gyre_crds.contracts.golden import GoldenRows
from gyre_crds.contracts.store import tree_prefix
from gyre_pipelines import prepare, publish
from gyre_pipelines.failure import Failure
from gyre_pipelines.split import is_held_out
from tests.pipelines.support.attempts import Attempt, make_attempt, until


def result_of(attempt: Attempt) -> PublishResult:
    """What the attempt published."""
    return PublishResult.model_validate_json(attempt.store().read("jobs/uid-1/result.json"))


def copied(attempt: Attempt, folder: Path) -> Attempt:
    """The attempt as it stood when its training had ended, with an empty store of its own."""
    shutil.copytree(attempt.root, folder / "gyre")
    return Attempt(folder, {"GYRE_STORE_URI": f"file://{folder}/store"}, attempt.order, attempt.command)


def test_an_attempt_ends_as_a_content_addressed_version(published: Attempt) -> None:
    """The tree in the store has the digest it is named by, and holds graph, signature and golden rows."""
    result = result_of(published)
    prefix = tree_prefix(result.report.tree_digest)
    manifest = TreeManifest.model_validate_json(published.store().read(f"{prefix}/gyre-manifest.json"))
    assert [entry.path for entry in manifest.files] == ["gyre/golden.json", "gyre/signature.json", "model.onnx"]
    stored = Path(published.store_environment["GYRE_STORE_URI"].removeprefix("file://")) / prefix
    assert scan(stored).tree_digest == result.report.tree_digest == manifest.tree_digest
    assert result.report.uri == f"{published.store().uri}/{prefix}"


def test_the_signature_says_names_types_and_columns(published: Attempt) -> None:
    """One FP32 matrix with the features' names, a label and class scores, class 1 positive."""
    signature = result_of(published).signature
    assert signature is not None
    assert [(tensor.datatype, tensor.shape, tensor.columns) for tensor in signature.inputs] == [
        ("FP32", [-1, 3], ["a", "b", "c"])
    ]
    assert signature.prediction is not None
    assert (signature.prediction.task, signature.prediction.positive) == ("Classification", 1)
    assert {signature.prediction.output, signature.prediction.score} == {tensor.name for tensor in signature.outputs}


def test_metrics_are_measured_on_held_out_rows(published: Attempt) -> None:
    """Accuracy and its kin come from rows that did not train; what the training logged stands beside them."""
    metrics = result_of(published).metrics
    assert 0.8 < metrics["accuracy"] < 0.95
    assert set(metrics) == {"accuracy", "f1", "logLoss", "auc", "brier", "trained"}
    lineage = PreparedLineage.model_validate_json((published.root / "lineage.json").read_bytes())
    assert metrics["trained"] == lineage.resolved.data[0].rows == 2000 - lineage.reference_rows


def test_golden_rows_are_what_the_native_model_said(published: Attempt) -> None:
    """64 rows with labels, scores and classes travel in the version."""
    prefix = tree_prefix(result_of(published).report.tree_digest)
    rows = GoldenRows.model_validate_json(published.store().read(f"{prefix}/gyre/golden.json"))
    assert rows.rows.columns == ["a", "b", "c"]
    assert len(rows.predictions.labels) == len(rows.predictions.scores) == 64
    assert rows.predictions.classes == [0, 1]


def test_the_reference_holds_rows_predictions_and_truth(published: Attempt) -> None:
    """Beside the version lie the held-out rows with prediction, score, label, key and time."""
    uri = result_of(published).evidence.reference
    assert uri is not None
    reference = pq.read_table(uri.removeprefix("file://"))
    assert reference.column_names == ["a", "b", "c", "id", "time", "y", "prediction", "score"]
    assert reference.num_rows > 100
    assert all(is_held_out(str(key), 0.1) for key in reference["id"].to_pylist())


def test_the_cut_off_is_the_latest_training_row(published: Attempt) -> None:
    """No row later than cutOff trained."""
    trained = pq.read_table(published.root / "data" / "base" / "base.parquet")
    cut_off = result_of(published).cut_off
    assert cut_off == "2015-01-01T00:33:19Z"
    assert max(trained["time"].to_pylist()) == 1_420_070_400 + 33 * 60 + 19


def test_the_truth_is_not_for_the_users_container(published: Attempt) -> None:
    """Labels of held-out rows are on a volume of their own and readable for their owner alone; staging is gone."""
    assert (published.root / "truth" / "truth.parquet").stat().st_mode & 0o077 == 0
    assert "y" not in json.loads((published.root / "reference" / "rows.json").read_text())["columns"]
    assert not (published.root / "scratch" / "data").exists()


def test_the_same_training_twice_is_the_same_version(tmp_path: Path, published: Attempt) -> None:
    """A second job over the same data with the same code gives the same tree digest."""
    (tmp_path / "gyre-parent").mkdir()
    again = make_attempt(tmp_path / "gyre-parent", {"GYRE_STORE_URI": f"file://{tmp_path}/store"})
    prepare.run(again.parsed(), again.environment())
    again.wrap()
    assert publish.run(again.parsed(), again.environment()).tree_digest == result_of(published).report.tree_digest


def test_an_attempt_works_on_the_real_s3_server(tmp_path: Path, s3_environment: dict[str, str]) -> None:
    """Pins, tree, evidence and result go to S3 and can be read from there."""
    attempt = make_attempt(tmp_path, s3_environment)
    attempt.store().upload(tmp_path / "base.parquet", "data/base.parquet")
    attempt.order["data"][0]["uri"] = f"{attempt.store().uri}/data/base.parquet"
    prepare.run(attempt.parsed(), attempt.environment())
    assert attempt.wrap()[0] == 0
    report = publish.run(attempt.parsed(), attempt.environment())
    assert report.uri.startswith(f"s3://gyre/{tmp_path.name}/sha256/")
    assert result_of(attempt).report == report
    # A second publish of the same bytes finds the manifest there and changes nothing.
    assert publish.run(attempt.parsed(), attempt.environment()).tree_digest == report.tree_digest


def _no_graph(output: Path) -> None:
    (output / "model.onnx").unlink()


def _two_graphs(output: Path) -> None:
    (output / "two.onnx").write_bytes((output / "model.onnx").read_bytes())
    (output / "model.onnx").rename(output / "one.onnx")


def _half_graph(output: Path) -> None:
    graph = (output / "model.onnx").read_bytes()
    (output / "model.onnx").unlink()
    (output / "model.onnx").write_bytes(graph[: len(graph) // 2])


def _zipmap(output: Path) -> None:
    model = joblib.load(output / "model.joblib")
    graph = to_onnx(model, initial_types=[("input", FloatTensorType([None, 3]))])
    (output / "model.onnx").unlink()
    (output / "model.onnx").write_bytes(graph.SerializeToString())


def _narrow_graph(output: Path) -> None:
    model = LogisticRegression().fit([[0.0, 1.0], [1.0, 0.0]], [0, 1])
    graph = to_onnx(model, initial_types=[("input", FloatTensorType([None, 2]))], options={"zipmap": False})
    (output / "model.onnx").unlink()
    (output / "model.onnx").write_bytes(graph.SerializeToString())


def _bad_metrics(output: Path) -> None:
    (output / "metrics.json").write_text("[1, 2]")


ENDS: list[tuple[str, Callable[[Path], None], str, str]] = [
    (
        "a training that leaves no graph",
        _no_graph,
        "ArtifactMissing",
        "left no model; write model.onnx to $GYRE_OUTPUT",
    ),
    ("a training that leaves two graphs", _two_graphs, "ArtifactAmbiguous", "left 2 models (one.onnx, two.onnx)"),
    ("a graph that was cut in half", _half_graph, "CannotLoad", "model.onnx does not load in onnxruntime"),
    ("a graph with a sequence of maps", _zipmap, "CannotLoad", "export plain tensors"),
    ("a graph of another width", _narrow_graph, "CannotLoad", "the contract has 3 features (a, b, c...)"),
    ("a metrics.json that is a list", _bad_metrics, "UserError", "must be an object"),
]


def is_refused(attempt: Attempt, reason: str, sentence: str) -> None:
    """Publish refuses it with this reason and sentence, and puts nothing into the store."""
    with pytest.raises(Failure) as caught:
        publish.run(attempt.parsed(), attempt.environment())
    assert caught.value.reason == reason
    assert sentence in caught.value.message
    assert attempt.store().list("sha256") == []


@pytest.mark.parametrize(("spoil", "reason", "sentence"), [end[1:] for end in ENDS], ids=[end[0] for end in ENDS])
def test_what_a_training_leaves_wrong_is_one_sentence(
    tmp_path: Path, published: Attempt, spoil: Callable[[Path], None], reason: str, sentence: str
) -> None:
    """Publish refuses with a reason and a cure, and puts nothing into the store."""
    attempt = copied(published, tmp_path)
    spoil(attempt.root / "output")
    is_refused(attempt, reason, sentence)


def test_publish_repeats_the_failure_of_the_training(attempt: Attempt) -> None:
    """When the wrapper reports a failure, publish ends at once with the same reason, sentence and last lines."""
    prepare.run(attempt.parsed(), attempt.environment())
    attempt.command = ["sh", "-c", "echo about to fail; exit 3"]
    _, said = attempt.wrap()
    code, message = attempt.run_command("publish")
    assert code == EXIT_USER
    assert {name: message[name] for name in ("reason", "message", "tail")} == {
        name: said[name] for name in ("reason", "message", "tail")
    }


def test_publish_notices_a_training_that_was_killed(attempt: Attempt) -> None:
    """A wrapper killed by SIGKILL leaves a free lock with a mark and no result: publish says so instead of waiting."""
    prepare.run(attempt.parsed(), attempt.environment())
    attempt.command = ["sleep", "60"]
    wrapper = attempt.start_wrapper()
    until(lambda: (attempt.root / "train.lock").stat().st_size > 0)
    wrapper.kill()
    wrapper.communicate()
    with pytest.raises(Failure, match="killed before it could report") as caught:
        publish.run(attempt.parsed(), attempt.environment())
    assert caught.value.reason == "Disrupted"


def test_mlflow_being_away_costs_the_run_and_not_the_version(
    tmp_path: Path, published: Attempt, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an MLflow that nobody answers at, the version is published without a run id, and the log says why."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    attempt = copied(published, tmp_path)
    report = publish.run(attempt.parsed(), attempt.environment(MLFLOW_TRACKING_URI="http://127.0.0.1:9"))
    assert report.run_id is None
    assert "no MLflow run: http://127.0.0.1:9" in capfd.readouterr().err
