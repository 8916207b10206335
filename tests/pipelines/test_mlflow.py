"""MLflow: the run of an attempt on a real server, code that logs to MLflow itself, and adoption of foreign versions."""

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib  # type: ignore[import-untyped]
import pytest
from skl2onnx import to_onnx  # type: ignore[import-untyped]
from skl2onnx.common.data_types import FloatTensorType  # type: ignore[import-untyped]

from gyre_crds.contracts.artifact import TreeManifest
from gyre_crds.contracts.attempt import EXIT_INFRA, EXIT_USER, PublishResult
from gyre_crds.contracts.store import tree_prefix
from gyre_pipelines import artifact, prepare, publish
from gyre_pipelines.failure import Failure
from gyre_pipelines.objects import Store
from tests.pipelines.support.attempts import TRAINING, Attempt
from tests.pipelines.support.mlflow_server import program, serving


@pytest.fixture(scope="module")
def mlflow_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real MLflow server; skipped where none was installed."""
    found = program()
    if found is None:
        pytest.skip("no MLflow server: `make test` installs one for the operators' tests")
    with serving(found, tmp_path_factory.mktemp("mlflow")) as url:
        yield url


@pytest.fixture
def client(mlflow_url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client of the server."""
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_url)
    from mlflow.tracking import MlflowClient  # noqa: PLC0415  after the telemetry is off

    return MlflowClient(tracking_uri=mlflow_url)


def test_an_attempt_has_its_run(published: Attempt, mlflow_url: str, client: Any) -> None:
    """Parameters, metrics and the tags that lead back to job and bytes are in MLflow, and the run is finished."""
    report = publish.run(published.parsed(), published.environment(MLFLOW_TRACKING_URI=mlflow_url))
    run = client.get_run(report.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params == {"c": "1.0"}
    assert 1700 < run.data.metrics["trained"] < 1900
    assert run.data.metrics["accuracy"] > 0.8
    assert run.data.tags["gyre.dev/digest"] == report.tree_digest
    assert (run.data.tags["gyre.dev/training-job"], run.data.tags["gyre.dev/namespace"]) == ("demo", "team-a")
    assert client.get_experiment(run.info.experiment_id).name == "team-a.demo"


def test_code_that_only_knows_mlflow_works_unchanged(attempt: Attempt) -> None:
    """Without a server or a path of ours, the one logged model becomes the version, its graph taken out of the wrap."""
    attempt.command = [sys.executable, str(TRAINING / "mlflow_only.py")]
    prepare.run(attempt.parsed(), attempt.environment())
    code, message = attempt.wrap()
    assert code == 0, message
    publish.run(attempt.parsed(), attempt.environment())
    result = PublishResult.model_validate_json(attempt.store().read("jobs/uid-1/result.json"))
    assert result.format == "ONNX"
    assert result.metrics["accuracy"] > 0.8
    manifest = attempt.store().read(f"{tree_prefix(result.report.tree_digest)}/gyre-manifest.json")
    paths = [entry.path for entry in TreeManifest.model_validate_json(manifest).files]
    assert paths == ["gyre/golden.json", "gyre/signature.json", "model.onnx"]


def test_two_logged_models_are_ambiguous(tmp_path: Path) -> None:
    """Without model.onnx in the output nobody can say which of two logged models is meant."""
    for name in ("one", "two"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "MLmodel").write_text("flavors: {}\n")
    with pytest.raises(Failure, match=r"left 2 models \(one, two\); log one") as caught:
        artifact.find(tmp_path / "output", tmp_path / "runs")
    assert caught.value.reason == "ArtifactAmbiguous"


def _adopt(attempt: Attempt, url: str, name: str, version: str = "1") -> tuple[int, dict[str, Any]]:
    order = {"namespace": "team-a", "model": "demo", "name": name, "version": version,
             "contract": {"key": "id", "label": {"column": "y"}, "features": ["a", "b", "c"]}}  # fmt: skip
    return attempt.run_command("adopt", GYRE_TASK=json.dumps(order), MLFLOW_TRACKING_URI=url)


@pytest.mark.filterwarnings("ignore:.*Any type hint")  # mlflow warns of itself while it is imported
@pytest.mark.usefixtures("client")
def test_a_version_registered_by_hand_is_adopted(published: Attempt, attempt: Attempt, mlflow_url: str) -> None:
    """Its graph is copied under its own digest, with a signature read from it."""
    import mlflow  # noqa: PLC0415
    import mlflow.onnx  # noqa: PLC0415

    mlflow.set_tracking_uri(mlflow_url)
    model = joblib.load(published.root / "output" / "model.joblib")
    graph = to_onnx(model, initial_types=[("input", FloatTensorType([None, 3]))], options={"zipmap": False})
    with mlflow.start_run():
        mlflow.onnx.log_model(
            graph, name="model", registered_model_name="team-a.by-hand", pip_requirements=["onnxruntime"]
        )
    code, report = _adopt(attempt, mlflow_url, "team-a.by-hand")
    assert code == 0, report
    assert (report["format"], report["signature"]["inputs"][0]["columns"]) == ("ONNX", ["a", "b", "c"])
    stored = attempt.store().list(tree_prefix(report["treeDigest"]))
    assert [Path(entry.path).name for entry in stored] == ["gyre-manifest.json", "signature.json", "model.onnx"]
    code, missing = _adopt(attempt, mlflow_url, "team-a.by-hand", "7")
    assert (code, missing["reason"]) == (EXIT_USER, "ArtifactGone")
    assert "MLflow has no version 7 of team-a.by-hand" in missing["message"]


def test_a_registry_that_is_away_is_tried_again(attempt: Attempt, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody at the URL is the surroundings' fault."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    code, report = _adopt(attempt, "http://127.0.0.1:9", "team-a.demo")
    assert (code, report["reason"]) == (EXIT_INFRA, "RegistryUnreachable")


def test_an_mlflow_folder_stays_a_folder(tmp_path: Path) -> None:
    """A model of another flavour is copied as it is, below model/, without MLflow's download note."""
    for name in ("MLmodel", "model.pkl", "registered_model_meta"):
        (tmp_path / name).write_text("flavors:\n  sklearn:\n    x: y\n")
    found = artifact.from_mlflow(tmp_path)
    assert (found.format, sorted(found.files)) == ("MLflow", ["model/MLmodel", "model/model.pkl"])
    shutil.rmtree(tmp_path)


def test_the_namespace_store_is_one_root(directory_environment: dict[str, str]) -> None:
    """A URI below the root has a path in it; one elsewhere has none."""
    store = Store.of(directory_environment)
    assert store.path_of(store.uri + "/a/b") == "a/b"
    assert store.path_of(store.uri + "-other/a") is None
