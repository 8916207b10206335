"""Kinds of models; a new one is a module and a line here."""

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gyre_crds.v1alpha1.version import Signature

Array = NDArray[Any]
Run = Callable[[Mapping[str, Array]], dict[str, Array]]


class Model(Protocol):
    """Something that answers tensors with tensors; called from one thread at a time for each `run`."""

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name, rows along the first dimension. May raise anything."""


Loader = Callable[[Path, Signature, int], Model]
"""tree, signature, threads for one run -> model; raises Failure when the version does not load."""

_KINDS = {
    "ONNX": "gyre_serving.server.models.onnx",
    "MLflow": "gyre_serving.server.models.mlflow",
    "Python": "gyre_serving.server.models.python",
}


def load(kind: str, tree: Path, signature: Signature, threads: int) -> Model:
    """Load a version's model; only the module of its kind is imported.

    Raises:
        Failure: it does not load.
    """
    loader: Loader = importlib.import_module(_KINDS[kind]).load
    return loader(tree, signature, threads)


def preload(kind: str, tree: Path) -> None:
    """Import the libraries that loading this version needs; none of its own code runs."""
    importlib.import_module(_KINDS[kind]).preload(tree)


_SMALL = 1 << 18
"""Bytes of input that are computed at once in any case: to cut so few costs more than it saves."""


def pieces(run: Run, rows: int) -> Run:
    """The same answers, computed for at most so many rows at once, or for more where rows are small.

    Args:
        run: the model.
        rows: what a batch may hold; it bounds the memory that a run takes where a row is an image or a long text.
    """

    def run_in_pieces(inputs: Mapping[str, Array]) -> dict[str, Array]:
        total = len(next(iter(inputs.values())))
        size = sum(map(_bytes, inputs.values())) if total > rows else 0
        if size <= _SMALL:
            return run(inputs)
        step = max(rows, _SMALL * total // size)
        parts = [run({name: values[at : at + step] for name, values in inputs.items()}) for at in range(0, total, step)]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    return run_in_pieces


def _bytes(values: Array) -> int:
    return sum(map(len, values.ravel())) if values.dtype.hasobject else values.nbytes
