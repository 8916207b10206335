"""A scikit-learn estimator out of an MLflow directory, asked with arrays: no mlflow, and pandas only where it must be.

MLflow's pyfunc makes a DataFrame of every request and enforces a schema that was checked already; that costs more than
most estimators do. What is saved by `mlflow.sklearn` without code of its own is loaded from the flavour's file instead.
"""

import contextlib
import importlib
import json
import math
import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gyre_crds.v1alpha1.version import Signature, Tensor
from gyre_serving.golden.compare import compare
from gyre_serving.golden.tensors import DTYPES, from_rows
from gyre_serving.pod.order import golden_rows
from gyre_serving.server.models.outputs import named, typed
from gyre_serving.server.models.table import column_names, columns

Array = NDArray[Any]
Form = Callable[[Mapping[str, Array]], Any]

_PICKLES = {"pickle": "pickle", "cloudpickle": "cloudpickle"}
_TYPES = {"boolean": "?", "integer": "i4", "long": "i8", "float": "f4", "double": "f8"}
_OFF = {"false", "0"}


@dataclass(frozen=True)
class Flavour:
    """What MLmodel says of an estimator that needs no code of its own."""

    path: Path
    module: str
    """Which unpickles it."""
    predict: str
    types: Mapping[str, str]
    """numpy's types of the columns, where MLflow's schema names them."""


class SklearnModel:
    """An estimator; `predict` gets what `form` makes of the tensors."""

    def __init__(self, estimator: Any, predict: str, form: Form, signature: Signature) -> None:
        self._predict = getattr(estimator, predict)
        self._form = form
        self._outputs = [(tensor.name, tensor.datatype) for tensor in signature.outputs]
        self._names = [tensor.name for tensor in signature.outputs]
        prediction = signature.prediction
        self._score = prediction.score if prediction is not None else None
        self._probabilities = getattr(estimator, "predict_proba", None) if self._score else None

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name."""
        rows = self._form(inputs)
        answered = named(self._predict(rows), self._names)
        if self._score is not None and self._score not in answered and self._probabilities is not None:
            answered[self._score] = self._probabilities(rows)
        return {name: typed(answered, name, datatype) for name, datatype in self._outputs}


def load(folder: Path, tree: Path, signature: Signature) -> SklearnModel | None:
    """The estimator of an MLflow directory, in the plainest form that gives the golden rows as at training.

    Returns:
        None where it is no plain estimator, or nothing proves that it may be asked without pyfunc.
    """
    flavour, golden = flavour_of(folder), golden_rows(tree)
    if flavour is None or golden is None or not all(_is_table(tensor) for tensor in signature.inputs):
        return None
    inputs = from_rows(signature, golden.rows)
    try:
        with flavour.path.open("rb") as file:
            estimator = importlib.import_module(flavour.module).load(file)
        # Fitted on a table and asked with an array: which column is which was settled here, once.
        warnings.filterwarnings("ignore", "X does not have valid feature names")
        for form in _forms(estimator, flavour, signature):
            model = SklearnModel(estimator, flavour.predict, form, signature)
            with contextlib.suppress(Exception):  # a form that does not suit it
                if compare(signature, golden, model.run(inputs)) is None:
                    return model
    except Exception:  # noqa: BLE001  whatever it is, pyfunc meets it again and has the better words
        return None
    return None


def flavour_of(folder: Path) -> Flavour | None:
    """What MLmodel says, None where the estimator brings code, is of another flavour or may not be unpickled."""
    if os.environ.get("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "true").lower() in _OFF:
        return None
    try:
        said = importlib.import_module("yaml").safe_load((folder / "MLmodel").read_text())
        pyfunc, own = said["flavors"]["python_function"], said["flavors"]["sklearn"]
        module = _PICKLES.get(own.get("serialization_format", "pickle"))
        path = folder / own["pickled_model"]
        if pyfunc["loader_module"] != "mlflow.sklearn" or pyfunc.get("code") or own.get("code") or module is None:
            return None
        types = _types((said.get("signature") or {}).get("inputs"))
        inside = path.resolve().is_relative_to(folder.resolve())
    except Exception:  # noqa: BLE001  no such library, no such file, or one that pyfunc will complain of
        return None
    if not inside:
        return None
    return Flavour(path, module, pyfunc.get("predict_fn") or "predict", types)


def _types(schema: str | None) -> dict[str, str]:
    columns = json.loads(schema) if schema else []
    return {column["name"]: _TYPES[column["type"]] for column in columns if column.get("type") in _TYPES}


def preload(folder: Path) -> bool:
    """Import scikit-learn where the version is a plain estimator; whether it is one."""
    flavour = flavour_of(folder)
    if flavour is not None:
        importlib.import_module(flavour.module)
        importlib.import_module("sklearn.pipeline")
    return flavour is not None


def _forms(estimator: Any, flavour: Flavour, signature: Signature) -> list[Form]:
    """Ways to ask it, the cheapest first."""
    owners = [(name, tensor) for tensor in signature.inputs for name in _names(tensor)]
    names = [name for name, _ in owners]
    types = {name: _type(tensor, flavour.types.get(name)) for name, tensor in owners}
    fitted = [str(name) for name in getattr(estimator, "feature_names_in_", names)]
    if sorted(fitted) != sorted(types):
        return []
    by_name = hasattr(estimator, "feature_names_in_")
    forms: list[Form] = []
    kinds = set(types.values())
    if len(kinds) == 1 and np.dtype(object) not in kinds and not (by_name and _looks_for_names(estimator)):
        forms.append(_array(signature, kinds.pop(), [names.index(name) for name in fitted]))
    if by_name:
        forms.append(_frame(signature, {name: types[name] for name in fitted}))
    return forms


def _names(tensor: Tensor) -> list[str]:
    return column_names(tensor, math.prod(tensor.shape[1:]))


def _type(tensor: Tensor, wanted: str | None) -> np.dtype[Any]:
    """What pyfunc would make of a column: the schema's type where that loses nothing."""
    given = DTYPES[tensor.datatype]
    return np.dtype(wanted) if wanted is not None and np.can_cast(given, wanted, "safe") else given


def _is_table(tensor: Tensor) -> bool:
    """Rows are free, and how many columns they have is known."""
    return tensor.shape[:1] == [-1] and all(size > 0 for size in tensor.shape[1:])


def _looks_for_names(estimator: Any) -> bool:
    """Whether a part may choose its columns by their names, as a table has them and an array has not."""
    parts = [estimator, *estimator.get_params(deep=True).values()]
    kinds = {type(part) for part in parts if hasattr(part, "fit")}
    return any(
        not kind.__module__.startswith("sklearn.") or kind.__name__ in {"ColumnTransformer", "FunctionTransformer"}
        for kind in kinds
    )


def _array(signature: Signature, dtype: np.dtype[Any], order: list[int]) -> Form:
    names = [tensor.name for tensor in signature.inputs]
    moved = None if order == sorted(order) else order

    def form(inputs: Mapping[str, Array]) -> Array:
        parts = [inputs[name].reshape(len(inputs[name]), -1) for name in names]
        rows = (parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)).astype(dtype, copy=False)
        return rows if moved is None else rows[:, moved]

    return form


def _frame(signature: Signature, types: Mapping[str, np.dtype[Any]]) -> Form:
    frame = importlib.import_module("pandas").DataFrame

    def form(inputs: Mapping[str, Array]) -> Any:
        found: dict[str, Array] = {}
        for tensor in signature.inputs:
            found |= columns(tensor, inputs[tensor.name])
        return frame({name: found[name].astype(kind, copy=False) for name, kind in types.items()}, copy=False)

    return form
