"""What a version takes and gives, read from its files."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gyre_crds.contracts.artifact import ONNX
from gyre_crds.contracts.golden import Predictions
from gyre_crds.reasons import Training
from gyre_crds.v1alpha1.common import Contract
from gyre_crds.v1alpha1.version import Datatype, Prediction, Signature, Tensor
from gyre_pipelines.artifact import Artifact
from gyre_pipelines.failure import Failure
from gyre_pipelines.onnx_model import OnnxModel

REGRESSION = frozenset({"rmse", "mae"})
"""Objectives that say that the prediction is a number."""
_BINARY = 2
_NUMBERS = frozenset({"integer", "long", "float", "double", "boolean"})
_TYPES: dict[str, Datatype] = {
    "integer": "INT64", "long": "INT64", "float": "FP64", "double": "FP64", "boolean": "BOOL", "string": "BYTES",
}  # fmt: skip


def signature_of(
    found: Artifact, features: Sequence[str], contract: Contract | None = None, said: Predictions | None = None
) -> Signature | None:
    """What a version takes and gives, with the contract's categories; None where nothing says what it takes.

    Raises:
        Failure: CannotLoad, naming the part that no runtime takes, or the category's feature that is no text input.
    """
    signature = _found(found, features, contract, said)
    return signature if signature is None or contract is None else _limited(signature, contract)


def _found(
    found: Artifact, features: Sequence[str], contract: Contract | None, said: Predictions | None
) -> Signature | None:
    """The signature of the graph, of the class, or of the MLflow model.

    An MLflow model tells its columns, but not whether its answer is a class: that the contract's objective says,
    and `said`, what the model answered to the reference rows, tells type and number of classes.
    """
    if found.format == "ONNX":
        return OnnxModel(found.files[ONNX]).signature(features)
    if found.signature is not None:
        return _told(found.signature)
    columns = _columns(found) or list(features)
    if not columns and found.format == "Python":
        raise Failure(
            Training.CANNOT_LOAD, "nothing says what model.py takes; write signature.json beside it in $GYRE_OUTPUT"
        )
    if not columns:
        return None
    regression = contract is not None and contract.objective.metric in REGRESSION
    takes = Tensor(name="input", datatype="FP64", shape=[-1, len(columns)], columns=columns)
    gives = [Tensor(name="prediction", datatype=_answer(found, said, regression=regression), shape=[-1])]
    if said is not None and said.scores:
        gives.append(Tensor(name="probability", datatype="FP64", shape=[-1, len(said.scores[0])]))
    scored = len(gives) > 1
    prediction = Prediction(
        output="prediction",
        score="probability" if scored else None,
        positive=1 if scored and gives[1].shape[1] == _BINARY else None,
        task="Regression" if regression else "Classification",
    )
    return Signature(inputs=[takes], outputs=gives, prediction=prediction)


def _limited(signature: Signature, contract: Contract) -> Signature:
    """With what text inputs may hold; a feature is the input of its name, or the only column of one."""
    values = {one.feature: one.values for one in contract.categories}
    inputs = []
    for tensor in signature.inputs:
        feature = tensor.columns[0] if len(tensor.columns) == 1 else tensor.name
        known = values.pop(feature, None) if tensor.datatype == "BYTES" else None
        inputs.append(tensor if known is None else tensor.model_copy(update={"categories": known}))
    if values:
        takes = ", ".join(tensor.name for tensor in signature.inputs if tensor.datatype == "BYTES") or "none"
        raise Failure(
            Training.CANNOT_LOAD,
            f"contract.categories names {', '.join(values)}, and the model's text inputs are: {takes}; correct either",
        )
    return signature.model_copy(update={"inputs": inputs})


def _told(path: Path) -> Signature:
    try:
        return Signature.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = "".join(f"{part}: " for part in [".".join(map(str, first["loc"]))] if part)
        raise Failure(
            Training.CANNOT_LOAD, f"signature.json in $GYRE_OUTPUT: {where}{first['msg']}; correct it"
        ) from error


def _answer(found: Artifact, said: Predictions | None, *, regression: bool) -> Datatype:
    if regression:
        return "FP64"
    if said is not None and said.labels:
        kinds: dict[type, Datatype] = {bool: "BOOL", int: "INT64", float: "FP64", str: "BYTES"}
        return kinds.get(type(said.labels[0]), "BYTES")
    outputs = _declared(found, "outputs")
    kind = outputs[0].get("type") if outputs else None
    return _TYPES.get(str(kind), "INT64")


def _columns(found: Artifact) -> list[str]:
    """Numeric input columns by name."""
    columns = _declared(found, "inputs")
    named = all(column.get("type") in _NUMBERS and column.get("name") for column in columns)
    return [column["name"] for column in columns] if columns and named else []


def _declared(found: Artifact, part: str) -> list[dict[str, Any]]:
    """One part of the MLmodel's signature: a JSON text inside the YAML, maybe over several lines."""
    text = found.mlmodel.read_text(encoding="utf-8") if found.mlmodel else ""
    _, _, rest = text.partition(f"\n  {part}:")
    value = rest.split("'")[1] if rest.lstrip().startswith("'") else rest.splitlines()[0] if rest else ""
    try:
        declared = json.loads(" ".join(value.split()))
    except ValueError:
        return []
    return declared if isinstance(declared, list) else []
