"""What a version takes and gives, read from its files."""

import json
from collections.abc import Sequence
from typing import Any

from gyre_crds.contracts.artifact import ONNX
from gyre_crds.v1alpha1.version import Prediction, Signature, Tensor

from gyre_pipelines.artifact import Artifact
from gyre_pipelines.onnx_model import OnnxModel

_NUMBERS = frozenset({"integer", "long", "float", "double", "boolean"})


def signature_of(found: Artifact, features: Sequence[str]) -> Signature | None:
    """The signature of the graph, or of the MLflow model; None where nothing says what it takes.

    Raises:
        Failure: CannotLoad, naming the part that no runtime takes.
    """
    if found.format == "ONNX":
        return OnnxModel(found.files[ONNX]).signature(features)
    columns = _mlflow_columns(found) or list(features)
    return _rows_signature(columns) if columns else None


def _rows_signature(columns: Sequence[str]) -> Signature:
    """An MLflow model gets rows of numbers by column name and answers one value a row."""
    takes = Tensor(name="input", datatype="FP64", shape=[-1, len(columns)], columns=list(columns))
    gives = Tensor(name="prediction", datatype="FP64", shape=[-1])
    return Signature(inputs=[takes], outputs=[gives], prediction=Prediction(output="prediction", task="Regression"))


def _mlflow_columns(found: Artifact) -> list[str]:
    """Numeric input columns that the MLmodel's signature names; it is one JSON text inside the YAML."""
    text = found.mlmodel.read_text(encoding="utf-8") if found.mlmodel else ""
    for line in text.splitlines():
        name, _, value = line.strip().partition(":")
        if name == "inputs":
            columns = _parsed(value.strip().strip("'"))
            if columns and all(column.get("type") in _NUMBERS and column.get("name") for column in columns):
                return [column["name"] for column in columns]
    return []


def _parsed(text: str) -> list[dict[str, Any]]:
    try:
        found = json.loads(text)
    except ValueError:
        return []
    return found if isinstance(found, list) else []
