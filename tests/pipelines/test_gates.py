"""Gates on one version: what was logged, and whether the export answers as the model."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]

from gyre_pipelines import trees
from gyre_pipelines.objects import Store
from tests.pipelines.support.attempts import table
from tests.pipelines.support.gating import FEATURES, ask, fitted, graph_of, version


@pytest.mark.parametrize(
    ("order", "state", "reason", "sentence"),
    [
        ({"min": 0.8}, "Passed", "Passed", "accuracy is 0.82, at least 0.8 is asked for"),
        ({"min": 0.9}, "Failed", "GateFailed", "accuracy is 0.82, at least 0.9 is asked for"),
        ({"max": 0.5}, "Failed", "GateFailed", "accuracy is 0.82, at most 0.5 is asked for"),
        (
            {"min": 0.1, "metric": "auc"},
            "Failed",
            "MetricMissing",
            "the run has no metric 'auc' (it has accuracy; what is NaN or infinite counts as none); log it",
        ),
    ],
    ids=["reached", "below the least", "above the most", "not logged"],
)
def test_a_metric_is_held_against_its_bounds(
    directory_environment: dict[str, str], order: dict[str, Any], state: str, reason: str, sentence: str
) -> None:
    """Value, bound and cure stand in the sentence."""
    candidate = {"name": "v", "uri": "file:///x", "digest": "sha256:" + "0" * 64}
    report = ask(directory_environment, type="Metric", candidate=candidate,
                 logged={"accuracy": 0.82}, **{"metric": "accuracy", **order})  # fmt: skip
    assert (report.state, report.reason) == (state, reason)
    assert sentence in report.message


def test_a_faithful_export_passes(store: Store, tmp_path: Path, directory_environment: dict[str, str]) -> None:
    """The graph repeats the native model's words on all 64 rows."""
    report = ask(directory_environment, type="GoldenRows", candidate=version(store, tmp_path, "v", fitted()))
    assert (report.state, report.rows) == ("Passed", 64)
    assert report.value is not None
    assert report.value < 1e-5


def test_an_export_of_another_model_is_refused_with_the_numbers(
    store: Store, tmp_path: Path, directory_environment: dict[str, str]
) -> None:
    """A graph that loads and runs and says something else does not pass."""
    model = fitted()
    other = LogisticRegression().fit(-np.asarray(np.column_stack([table()[name] for name in FEATURES])), table()["y"])
    report = ask(
        directory_environment, type="GoldenRows", candidate=version(store, tmp_path, "v", model, graph_of(other))
    )
    assert (report.state, report.reason) == ("Failed", "GoldenRowsDiffer")
    assert report.numbers["labelsDiffer"] > 50
    assert "the exported graph is not the trained model" in report.message


def test_a_small_difference_of_scores_is_refused_too(
    store: Store, tmp_path: Path, directory_environment: dict[str, str]
) -> None:
    """Labels alike and scores a thousandth apart is still another model."""
    model, other = fitted(), fitted()
    other.intercept_ = other.intercept_ + 0.004
    report = ask(
        directory_environment, type="GoldenRows", candidate=version(store, tmp_path, "v", model, graph_of(other))
    )
    assert (report.state, report.numbers["labelsDiffer"]) == ("Failed", 0)


def test_a_version_without_golden_rows_is_unknown(
    store: Store, tmp_path: Path, directory_environment: dict[str, str]
) -> None:
    """No proof is no pass, and the sentence says how to get one."""
    report = ask(directory_environment, type="GoldenRows", candidate=version(store, tmp_path, "v", fitted(), rows=0))
    assert (report.state, report.reason) == ("Unknown", "GateUnknown")
    assert "leave the native model" in report.message


def test_an_mlflow_model_is_its_own_proof(store: Store, tmp_path: Path, directory_environment: dict[str, str]) -> None:
    """Nothing was exported, and no user's code runs in a gate: passed, with the reason."""
    (tmp_path / "MLmodel").write_text("flavors: {}\n")
    tree = trees.build(tmp_path / "tree", {"model/MLmodel": tmp_path / "MLmodel"}, {})
    candidate = {"name": "v", "uri": trees.copy(store, tmp_path / "tree", tree), "digest": tree.tree_digest}
    report = ask(directory_environment, type="GoldenRows", candidate=candidate)
    assert report.state == "Passed"
    assert "no ONNX graph but code, which never runs beside a credential of Gyre" in report.message
    assert ask(directory_environment, type="Champion", candidate=candidate, champion=candidate).state == "Unknown"


def test_tampered_bytes_fail_the_gate(store: Store, tmp_path: Path, directory_environment: dict[str, str]) -> None:
    """A gate never judges other bytes than the version's."""
    candidate = version(store, tmp_path, "v", fitted())
    prefix = candidate["uri"].removeprefix(store.uri + "/")
    store.write(f"{prefix}/model.onnx", graph_of(fitted(seed=3)).SerializeToString())
    report = ask(directory_environment, type="GoldenRows", candidate=candidate)
    assert (report.state, report.reason) == ("Failed", "DigestMismatch")
    assert "model.onnx has sha256" in report.message
