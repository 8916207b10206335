"""Kinds of models; a new one is a module and a line here."""

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from gyre_crds.v1alpha1.version import Signature

Array = NDArray[Any]


class Model(Protocol):
    """Something that answers tensors with tensors; called from one thread at a time for each `run`."""

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name, rows along the first dimension. May raise anything."""


Loader = Callable[[Path, Signature, int], Model]
"""tree, signature, threads for one run -> model; raises Failure when the version does not load."""

_KINDS = {
    "ONNX": "gyre_serving.server.models.onnx",
    "MLflow": "gyre_serving.server.models.mlflow",
}


def load(kind: str, tree: Path, signature: Signature, threads: int) -> Model:
    """Load a version's model; only the module of its kind is imported.

    Raises:
        Failure: it does not load.
    """
    loader: Loader = importlib.import_module(_KINDS[kind]).load
    return loader(tree, signature, threads)
