"""The census example: its manifests are valid, its training runs without Gyre, its fault is what its README says."""

import ast
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import joblib  # type: ignore[import-untyped]
import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from gyre_crds.base import parse
from gyre_crds.v1alpha1.drift import DriftMonitor
from gyre_crds.v1alpha1.inference import InferenceService
from gyre_crds.v1alpha1.model import Model

CENSUS = Path(__file__).resolve().parents[2] / "docs" / "examples" / "census"
KINDS: dict[str, Any] = {"model": Model, "inferenceservice": InferenceService, "driftmonitor": DriftMonitor}


def constant(script: str, name: str) -> Any:
    """A constant of a script, without running it."""
    tree = ast.parse((CENSUS / script).read_text())
    return next(
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == name
    )


def test_the_manifests_are_valid() -> None:
    """Each parses as its kind, and they name each other."""
    parsed = {
        name: parse(kind, yaml.safe_load((CENSUS / "manifests" / f"{name}.yaml").read_text()))
        for name, kind in KINDS.items()
    }
    assert parsed["model"].spec.promotion.proven_by == parsed["inferenceservice"].metadata.name
    assert parsed["driftmonitor"].spec.target.inference_service == parsed["inferenceservice"].metadata.name
    assert parsed["inferenceservice"].spec.model.name == parsed["model"].metadata.name


def test_three_manifests_fit_on_a_screen() -> None:
    """Fifty lines together at most."""
    assert sum(len((CENSUS / "manifests" / f"{name}.yaml").read_text().splitlines()) for name in KINDS) <= 50


def test_the_broken_patch_fits_the_model() -> None:
    """The model with the patch on it is still a valid Model, without the champion gate and with the fault."""
    body = yaml.safe_load((CENSUS / "manifests" / "model.yaml").read_text())
    patch = yaml.safe_load((CENSUS / "manifests" / "broken.patch.yaml").read_text())
    body["spec"]["gates"] = patch["spec"]["gates"]
    body["spec"]["training"]["template"]["params"] = patch["spec"]["training"]["template"]["params"]
    model = parse(Model, body)
    assert "Champion" not in [gate.type for gate in model.spec.gates]
    assert model.spec.training is not None
    assert model.spec.training.template.params == {"fault": "missing-age"}


@pytest.mark.parametrize("script", ["train.py", "broken.py", "data.py"])
def test_the_scripts_import_nothing_of_gyre(script: str) -> None:
    """A user's code stays the user's."""
    tree = ast.parse((CENSUS / script).read_text())
    plain = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    named = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert not [name for name in plain + named if name.startswith("gyre")]


def test_training_and_data_speak_of_the_same_columns() -> None:
    """Features and label are the same in both scripts."""
    assert constant("train.py", "FEATURES") == constant("data.py", "FEATURES")
    assert constant("train.py", "LABEL") == "employed"


def test_the_dockerfile_has_six_lines_and_no_root() -> None:
    """What a user copies is short and runs under the restricted Pod Security level."""
    lines = (CENSUS / "Dockerfile").read_text().splitlines()
    assert len(lines) == 6
    assert lines[-1] == "USER 1000"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of one healthy and one broken training on invented people."""
    folder = tmp_path_factory.mktemp("census")
    (folder / "data" / "recent").mkdir(parents=True)
    pq.write_table(_people(3000), folder / "data" / "base.parquet")
    for fault in ("", "missing-age"):
        output = folder / (fault or "healthy")
        output.mkdir()
        environment = {
            **os.environ, "GYRE_DATA": str(folder / "data"), "GYRE_OUTPUT": str(output),
            "GYRE_PARAM_ITERATIONS": "20", "GYRE_PARAM_FAULT": fault, "OMP_WAIT_POLICY": "PASSIVE",
        }  # fmt: skip
        subprocess.run([sys.executable, str(CENSUS / "train.py")], env=environment, check=True, timeout=120)
    return folder


def _people(count: int) -> pa.Table:
    rng = np.random.default_rng(1)
    columns: dict[str, Any] = {
        name: rng.integers(1, 6, count).astype(float) for name in constant("train.py", "FEATURES")
    }
    columns["AGEP"] = rng.integers(16, 65, count).astype(float)
    return pa.table({"id": range(count), **columns, "employed": (columns["AGEP"] < 40).astype(int)})


def test_the_exported_graph_is_the_trained_model(trained: Path) -> None:
    """Both trainings leave a model and a graph that agree on people with an age, within float32."""
    people = _people(500)
    rows = np.column_stack([people[name] for name in constant("train.py", "FEATURES")])
    for output in (trained / "healthy", trained / "missing-age"):
        native = joblib.load(output / "model.joblib").predict_proba(rows)
        session = onnxruntime.InferenceSession(output / "model.onnx")
        assert np.abs(session.run(None, {"input": rows.astype(np.float32)})[1] - native).max() < 1e-5


def test_only_the_broken_graph_fails_on_a_missing_age(trained: Path) -> None:
    """A person without an age gets an answer from the healthy graph and an error from the broken one."""
    person = np.ones((1, 16), dtype=np.float32)
    person[0, 0] = np.nan
    onnx.checker.check_model(onnx.load(trained / "missing-age" / "model.onnx"))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    healthy = onnxruntime.InferenceSession(trained / "healthy" / "model.onnx", options)
    assert healthy.run(None, {"input": person})[0].shape == (1,)
    broken = onnxruntime.InferenceSession(trained / "missing-age" / "model.onnx", options)
    with pytest.raises(Exception, match="out of data bounds"):
        broken.run(None, {"input": person})
