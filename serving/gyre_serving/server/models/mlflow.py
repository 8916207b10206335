"""An MLflow model directory (pyfunc), where the image has mlflow; pandas is only ever imported here."""

import contextlib
import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gyre_crds.contracts.artifact import MLFLOW_DIR
from gyre_crds.reasons import Inference
from gyre_crds.v1alpha1.version import Signature
from gyre_serving.pod.failure import Failure, one_line
from gyre_serving.server.models import sklearn
from gyre_serving.server.models.outputs import named, typed
from gyre_serving.server.models.table import columns

if TYPE_CHECKING:
    from gyre_serving.server.models import Model

Array = NDArray[Any]


class PyfuncModel:
    """A pyfunc; `predict` gets a DataFrame with the signature's columns."""

    def __init__(self, pyfunc: Any, frame: Any, signature: Signature) -> None:
        self._pyfunc = pyfunc
        self._frame = frame
        self._signature = signature
        prediction = signature.prediction
        self._score = prediction.score if prediction is not None else None
        self._probabilities = _probabilities(pyfunc) if self._score else None

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name."""
        frame = self._table(inputs)
        answered = named(self._pyfunc.predict(frame), [tensor.name for tensor in self._signature.outputs])
        if self._score is not None and self._score not in answered and self._probabilities is not None:
            answered[self._score] = np.asarray(self._probabilities(frame))
        return {tensor.name: typed(answered, tensor.name, tensor.datatype) for tensor in self._signature.outputs}

    def _table(self, inputs: Mapping[str, Array]) -> Any:
        found: dict[str, Any] = {}
        for tensor in self._signature.inputs:
            found |= columns(tensor, inputs[tensor.name])
        return self._frame(found)


def load(tree: Path, signature: Signature, threads: int) -> "Model":
    """Load the MLflow model directory of the tree: a plain estimator without mlflow, all else as a pyfunc.

    Raises:
        Failure: the image has no mlflow, or mlflow refuses the model.
    """
    del threads  # the worker bounds its libraries' threads
    place = _place(tree)
    plain = sklearn.load(place, tree, signature)
    if plain is not None:
        return plain
    try:
        pyfunc, frame = _libraries()
    except ImportError as error:
        raise Failure(
            Inference.MODEL_DOES_NOT_LOAD,
            f"a version of format MLflow needs {error.name} in the image; set spec.runtime.image to one that has it",
        ) from error
    try:
        return PyfuncModel(pyfunc.load_model(str(place)), frame, signature)
    except Exception as error:  # a user's code may raise anything
        raise Failure(Inference.MODEL_DOES_NOT_LOAD, f"mlflow refuses the model: {one_line(error)}") from error


def preload(tree: Path) -> None:
    """Import what the version asks for, where the image has it; `load` says where it has not, or what is broken."""
    with contextlib.suppress(Exception):
        if sklearn.preload(_place(tree)):
            return
        _libraries()


def _place(tree: Path) -> Path:
    return tree / MLFLOW_DIR if (tree / MLFLOW_DIR / "MLmodel").is_file() else tree


def _libraries() -> tuple[Any, Any]:
    # Both report their use to their makers unless told otherwise before their import.
    os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "ORT_DISABLE_TELEMETRY": "1"}
    pyfunc = importlib.import_module("mlflow.pyfunc")  # not part of this distribution: the image brings it
    return pyfunc, importlib.import_module("pandas").DataFrame


def _probabilities(pyfunc: Any) -> Any:
    """`predict_proba` of the native model, which pyfunc itself leaves out."""
    raw = getattr(pyfunc, "get_raw_model", None)
    return getattr(raw(), "predict_proba", None) if raw is not None else None
