"""A user's own class: `Model` in model.py of the tree, which takes arrays and gives arrays."""

import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from numpy.typing import NDArray

from gyre_crds.contracts.artifact import PYTHON
from gyre_crds.reasons import Inference
from gyre_crds.v1alpha1.version import Signature
from gyre_serving.pod.failure import Failure, one_line
from gyre_serving.server.models.outputs import named, typed

Array = NDArray[Any]

_CURE = f"{PYTHON} wants `class Model` with `__init__(self, directory)` and `predict(self, inputs)`"


class PythonModel:
    """An instance of the user's class; `predict` gets the inputs by name, writable, rows first."""

    def __init__(self, own: Any, signature: Signature) -> None:
        self._own = own
        self._outputs = signature.outputs

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name."""
        answered = named(self._own.predict(dict(inputs)), [tensor.name for tensor in self._outputs])
        return {tensor.name: typed(answered, tensor.name, tensor.datatype) for tensor in self._outputs}


def load(tree: Path, signature: Signature, threads: int) -> PythonModel:
    """Import model.py of the tree and make its Model.

    Raises:
        Failure: the file is missing, raises, or holds no such class.
    """
    del threads  # the worker bounds its libraries' threads
    if not (tree / PYTHON).is_file():
        raise Failure(Inference.MODEL_DOES_NOT_LOAD, f"a version of format Python holds no {PYTHON}; {_CURE}")
    try:
        own = _module(tree).Model(tree)
        own.predict  # noqa: B018  asked for now, not at the first request
    except Exception as error:  # a user's code may raise anything
        raise Failure(Inference.MODEL_DOES_NOT_LOAD, f"{PYTHON} does not load: {one_line(error)}; {_CURE}") from error
    return PythonModel(own, signature)


def preload(tree: Path) -> None:
    """What a class needs is known to its own file only, and that is run in a worker."""
    del tree


def _module(tree: Path) -> ModuleType:
    sys.dont_write_bytecode = True  # the tree stays as it was verified
    sys.path.insert(0, str(tree))
    spec = importlib.util.spec_from_file_location("model", tree / PYTHON)
    if spec is None or spec.loader is None:
        raise ImportError(f"{PYTHON} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules["model"] = module  # pickles of the file's own classes look here
    spec.loader.exec_module(module)
    return module
