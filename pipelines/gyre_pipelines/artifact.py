"""What the training left: which files are the model."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from gyre_crds.contracts.artifact import MANIFEST, MLFLOW_DIR, ONNX, PYTHON
from gyre_crds.reasons import Training
from gyre_pipelines.failure import Failure
from gyre_pipelines.wrapper import own_class

METRICS = "metrics.json"
_RESERVED = "gyre/"


@dataclass(frozen=True)
class Artifact:
    """The model's own files: where each goes in the tree."""

    format: Literal["ONNX", "MLflow", "Python"]
    files: dict[str, Path]
    """Path in the tree to the file."""
    mlmodel: Path | None = None
    """The MLmodel file of an MLflow model."""
    signature: Path | None = None
    """What a user's own class says of its tensors."""
    logged: bool = False
    """Whether the graph itself was logged as the model, so that there is no other native form of it."""


def find(output: Path, runs: Path) -> Artifact:
    """model.onnx in the output, else the one MLflow model there, else a class of its own, else what was logged.

    Raises:
        Failure: ArtifactMissing or ArtifactAmbiguous.
    """
    graphs = sorted(output.glob("*.onnx")) if output.is_dir() else []
    if output / ONNX in graphs or len(graphs) == 1:
        return _onnx(output / ONNX if output / ONNX in graphs else graphs[0])
    if graphs:
        raise _ambiguous([path.name for path in graphs], f"name the one to publish {ONNX}")
    if own_class.is_model(output):
        return _own(output)
    folders = _mlflow_models(output) or _mlflow_models(runs)
    if len(folders) > 1:
        raise _ambiguous([path.name for path in folders], f"log one, or leave {ONNX} in $GYRE_OUTPUT")
    if not folders:
        raise Failure(
            Training.ARTIFACT_MISSING,
            f"the command succeeded and left no model; write {ONNX} to $GYRE_OUTPUT, or {PYTHON} with a class Model, "
            "or log one MLflow model",
        )
    return from_mlflow(folders[0])


def from_mlflow(folder: Path) -> Artifact:
    """An MLflow model directory; one that only wraps an ONNX graph is that graph."""
    graphs = sorted(folder.rglob("*.onnx"))
    if len(graphs) == 1 and _flavor_onnx(folder / "MLmodel"):
        return replace(_onnx(graphs[0]), logged=True)
    files = {
        f"{MLFLOW_DIR}/{path.relative_to(folder).as_posix()}": path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "registered_model_meta"
    }
    return Artifact("MLflow", files, folder / "MLmodel")


def _onnx(graph: Path) -> Artifact:
    # Weights beyond 2 GiB lie beside the graph, in files that carry its name.
    beside = {path.name: path for path in graph.parent.glob(graph.name + "?*") if path.is_file()}
    return Artifact("ONNX", {ONNX: graph, **beside})


def _own(output: Path) -> Artifact:
    """A class with all files beside it: which of them it reads, only it knows."""
    paths = [path for path in sorted(output.rglob("*")) if path.is_file() and "__pycache__" not in path.parts]
    files = {path.relative_to(output).as_posix(): path for path in paths}
    files.pop(METRICS, None)
    signature = files.pop(own_class.SIGNATURE, None)
    for name in files:
        if name.startswith(_RESERVED) or name == MANIFEST:
            raise Failure(Training.USER_ERROR, f"{name} in $GYRE_OUTPUT has a name of Gyre's own; name it otherwise")
    return Artifact("Python", files, signature=signature)


def _mlflow_models(root: Path) -> list[Path]:
    return sorted(path.parent for path in root.rglob("MLmodel")) if root.is_dir() else []


def _flavor_onnx(mlmodel: Path) -> bool:
    return any(line.strip() == "onnx:" for line in mlmodel.read_text(encoding="utf-8").splitlines())


def _ambiguous(names: list[str], cure: str) -> Failure:
    return Failure(
        Training.ARTIFACT_AMBIGUOUS, f"the command left {len(names)} models ({', '.join(names[:6])}); {cure}"
    )


def logged_metrics(output: Path) -> dict[str, float]:
    """The user's metrics.json; what is no number in it is left out.

    Raises:
        Failure: the file is no JSON object.
    """
    path = output / METRICS
    if not path.exists():
        return {}
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise Failure(Training.USER_ERROR, f"metrics.json in $GYRE_OUTPUT is no JSON ({error}); correct it") from error
    if not isinstance(found, dict):
        raise Failure(Training.USER_ERROR, 'metrics.json in $GYRE_OUTPUT must be an object such as {"accuracy": 0.8}')
    numbers = {str(name): value for name, value in found.items() if isinstance(value, int | float)}
    return {name: float(value) for name, value in numbers.items() if value == value and abs(value) != float("inf")}  # noqa: PLR0124
