"""Predict the reference rows with the native model, in the user's image, in a process of its own.

What counts as the native model, below $GYRE_OUTPUT:

- `model.joblib` or `model.pkl`, else the one `*.joblib`, `*.pkl` or `*.pickle`: an object with `predict`, and
  for a classifier `predict_proba` and `classes_`, as scikit-learn, XGBoost and LightGBM have them;
- else the one folder with an `MLmodel` file, or the one model of the run that was logged to the local
  MLflow store, loaded by `mlflow.pyfunc`;
- where `model.py` itself is the model (see `own_class`), it goes before all of these.

Any but the last gets a pandas DataFrame with the columns' names where pandas is installed, else a numpy array.
None of these: nothing is predicted, and the gate GoldenRows will say so.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from . import own_class

_PICKLES = (".joblib", ".pkl", ".pickle")
_PREFERRED = ("model.joblib", "model.pkl")


class CannotPredictError(Exception):
    """No prediction, with the sentence why."""


def main(arguments: Sequence[str]) -> int:
    """`predict <output> <rows.json> <predictions.json> <mlruns>`; one JSON line on stdout, last."""
    output, rows, predictions, runs = (Path(argument) for argument in arguments)
    answer: dict[str, Any] = {"predicted": 0, "packages": packages()}
    try:
        # Importing models prints; only our last line may reach stdout.
        with _quiet():
            answer["predicted"] = _predict(output, rows, predictions, runs)
    except CannotPredictError as error:
        answer = {"error": str(error)}
    except Exception as error:  # noqa: BLE001  a model may raise anything
        answer = {"error": f"{type(error).__name__}: {error}"[:1000]}
    print(json.dumps(answer), flush=True)  # noqa: T201
    return 0


def packages() -> list[str]:
    """`name==version` of everything installed, sorted."""
    found = set()
    for distribution in metadata.distributions():
        name = distribution.metadata["Name"]
        if name:
            found.add(f"{name.lower().replace('_', '-')}=={distribution.version}")
    return sorted(found)


def native_model(output: Path, runs: Path) -> Path | None:
    """The file or folder of the native model, or None.

    Raises:
        CannotPredictError: there are several.
    """
    if own_class.is_model(output):
        return output / own_class.FILE
    files = sorted(path for path in output.rglob("*") if path.suffix in _PICKLES) if output.is_dir() else []
    folders = sorted(path.parent for path in output.rglob("MLmodel")) if output.is_dir() else []
    outside = [path for path in files if not any(folder in path.parents for folder in folders)]
    for name in _PREFERRED:
        if output / name in outside:
            return output / name
    if not outside and not folders and runs.is_dir():
        folders = sorted(path.parent for path in runs.rglob("MLmodel"))
    # A logged graph has no other native form: publish lets the graph itself say its golden rows.
    found = outside or [folder for folder in folders if not _wraps_graph(folder)]
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise CannotPredictError(f"more than one native model is left ({names}); keep one or name it model.joblib")
    return found[0] if found else None


def _wraps_graph(folder: Path) -> bool:
    return "loader_module: mlflow.onnx" in (folder / "MLmodel").read_text(encoding="utf-8")


def _predict(output: Path, rows_file: Path, predictions: Path, runs: Path) -> int:
    if not rows_file.exists():
        return 0
    path = native_model(output, runs)
    if path is None:
        return 0
    rows = json.loads(rows_file.read_text(encoding="utf-8"))
    if path.name == own_class.FILE:
        answer = _parts(own_class.predict(output, rows["columns"], rows["values"]))
    else:
        answer = _ask(_load(path), _frame(rows["columns"], rows["values"]))
    if answer is None:
        print(f"{path.name} answers in several parts, so it gives no golden rows", file=sys.stderr)  # noqa: T201
        return 0
    if len(answer["labels"]) != len(rows["values"][0]):
        raise CannotPredictError(
            f"{path.name} gave {len(answer['labels'])} predictions for {len(rows['values'][0])} rows"
        )
    partial = predictions.with_name(predictions.name + ".partial")
    partial.write_text(json.dumps(answer, allow_nan=False), encoding="utf-8")
    partial.chmod(0o644)
    partial.replace(predictions)
    return len(answer["labels"])


def _load(path: Path) -> Any:
    if path.is_dir():
        import mlflow.pyfunc  # noqa: PLC0415  in the user's image, or not at all

        return mlflow.pyfunc.load_model(str(path))
    if path.suffix == ".joblib":
        import joblib  # type: ignore[import-untyped]  # noqa: PLC0415

        return joblib.load(path)
    import pickle  # noqa: PLC0415

    with path.open("rb") as stream:
        return pickle.load(stream)  # noqa: S301  the user's own file, in the user's own image, without credentials


def _frame(columns: list[str], values: list[list[Any]]) -> Any:
    try:
        import pandas as pd  # type: ignore[import-untyped]  # noqa: PLC0415
    except ImportError:
        import numpy as np  # noqa: PLC0415

        numeric = all(value is None or isinstance(value, (int, float)) for column in values for value in column)
        filled = [[float("nan") if value is None else value for value in column] for column in values]
        return np.array(filled if numeric else values, dtype=float if numeric else object).T
    return pd.DataFrame(dict(zip(columns, values)))


def _ask(model: Any, frame: Any) -> dict[str, Any] | None:
    """Labels, scores and classes; None of an answer whose parts have no one meaning."""
    said = model.predict(frame)
    answer = _parts(said)
    if answer is None or isinstance(said, dict):
        return answer
    # pyfunc leaves the scores out; the model inside of it has them.
    raw = model.get_raw_model() if hasattr(model, "get_raw_model") else model
    if hasattr(raw, "predict_proba") and hasattr(raw, "classes_"):
        answer["scores"] = _list(raw.predict_proba(frame))
        answer["classes"] = _list(raw.classes_)
    return answer


def _parts(said: Any) -> dict[str, Any] | None:
    """The labels of an answer, and the scores where it has several parts."""
    if isinstance(said, dict):
        return _named_parts({str(name): _list(part) for name, part in said.items()})
    labels = _list(said)
    if labels and isinstance(labels[0], list):
        if len(labels[0]) != 1:
            return None
        labels = [label[0] for label in labels]
    return {"labels": [_text(label) for label in labels], "scores": [], "classes": []}


def _text(label: Any) -> Any:
    return label.decode() if isinstance(label, bytes) else label


def _named_parts(parts: dict[str, list[Any]]) -> dict[str, Any] | None:
    """A graph's outputs by name: the one flat part is the labels, the one matrix the scores."""
    flat = [part for part in parts.values() if part and not isinstance(part[0], list)]
    matrices = [part for part in parts.values() if part and isinstance(part[0], list)]
    if len(flat) != 1 or len(matrices) > 1:
        return None
    return {"labels": [_text(label) for label in flat[0]], "scores": matrices[0] if matrices else [], "classes": []}


def _list(values: Any) -> list[Any]:
    if hasattr(values, "to_numpy"):
        values = values.to_numpy()
    return list(values.tolist() if hasattr(values, "tolist") else values)


class _quiet:  # noqa: N801  a context manager, used like a function
    """Send file descriptor 1 to stderr meanwhile, also for C code."""

    def __enter__(self) -> None:
        sys.stdout.flush()
        self._kept = os.dup(1)
        os.dup2(2, 1)

    def __exit__(self, *_: object) -> None:
        sys.stdout.flush()
        os.dup2(self._kept, 1)
        os.close(self._kept)
