"""The six kinds of `gyre.dev/v1alpha1`.

They are imported when they are asked for: a model server reads one type of them, and to build all six costs it a tenth
of its start.
"""

import importlib
from typing import TYPE_CHECKING, Any

from gyre_crds.base import Resource

if TYPE_CHECKING:
    from gyre_crds.v1alpha1.drift import DriftMonitor, DriftReport
    from gyre_crds.v1alpha1.inference import InferenceService
    from gyre_crds.v1alpha1.model import Model
    from gyre_crds.v1alpha1.training import TrainingJob
    from gyre_crds.v1alpha1.version import ModelVersion

    KINDS: tuple[type[Resource], ...]

_HOMES = {
    "Model": "model",
    "TrainingJob": "training",
    "ModelVersion": "version",
    "InferenceService": "inference",
    "DriftMonitor": "drift",
    "DriftReport": "drift",
}

__all__ = [
    "KINDS", "DriftMonitor", "DriftReport", "InferenceService", "Model", "ModelVersion", "TrainingJob",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "KINDS":
        return tuple(__getattr__(kind) for kind in _HOMES)
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__} has no attribute {name}")
