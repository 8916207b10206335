"""The six kinds of `gyre.dev/v1alpha1`."""

from gyre_crds.base import Resource
from gyre_crds.v1alpha1.drift import DriftMonitor, DriftReport
from gyre_crds.v1alpha1.inference import InferenceService
from gyre_crds.v1alpha1.model import Model
from gyre_crds.v1alpha1.training import TrainingJob
from gyre_crds.v1alpha1.version import ModelVersion

KINDS: tuple[type[Resource], ...] = (
    Model, TrainingJob, ModelVersion, InferenceService, DriftMonitor, DriftReport,
)  # fmt: skip

__all__ = [
    "KINDS", "DriftMonitor", "DriftReport", "InferenceService", "Model", "ModelVersion", "TrainingJob",
]  # fmt: skip
