"""What the decision about a Model rests on: one frozen value."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from gyre_crds.conditions import Condition
from gyre_crds.v1alpha1.common import StatusBase
from gyre_crds.v1alpha1.drift import DriftReport
from gyre_crds.v1alpha1.inference import InferenceService
from gyre_crds.v1alpha1.model import Model, ModelStatus
from gyre_crds.v1alpha1.training import TrainingJob
from gyre_crds.v1alpha1.version import ModelVersion


@dataclass(frozen=True, slots=True)
class Observed:
    """Everything about one Model at one moment."""

    model: Model
    versions: tuple[ModelVersion, ...] = ()
    """Its ModelVersions, oldest first; those that are being deleted left out."""
    jobs: tuple[TrainingJob, ...] = ()
    """TrainingJobs that train it, oldest first."""
    services: tuple[InferenceService, ...] = ()
    """InferenceServices that serve it."""
    reports: tuple[DriftReport, ...] = ()
    """Reports on these services that may act, oldest window first."""
    unread: Mapping[str, str] = field(default_factory=dict)
    """Versions and services of the Model that do not parse: kind and name, and the problem."""
    frozen: bool = False
    """The platform-wide freeze."""

    @property
    def status(self) -> ModelStatus:
        """The status as it stands; an empty one where there is none."""
        return self.model.status or ModelStatus()

    @property
    def prover(self) -> InferenceService | None:
        """The service whose finished rollout proves a challenger."""
        name = self.model.spec.promotion.proven_by
        return next((service for service in self.services if service.metadata.name == name), None)


def ready_condition(status: StatusBase | None) -> Condition | None:
    """The Ready condition, if there is one."""
    conditions = status.conditions if status is not None else []
    return next((condition for condition in conditions if condition.type == "Ready"), None)


def is_stalled(status: StatusBase | None) -> bool:
    """Whether the object says that it cannot go on by itself."""
    conditions = status.conditions if status is not None else []
    return any(condition.type == "Stalled" and condition.status == "True" for condition in conditions)


def is_ready(status: StatusBase | None) -> bool:
    """Whether the object says that it is done and well."""
    condition = ready_condition(status)
    return condition is not None and condition.status == "True"


def age(version: ModelVersion) -> tuple[str, str, str]:
    """Sorts versions by age: when trained, when made, and by name where both are equal.

    The time of training comes first because a restored cluster makes all objects at once.
    """
    made = version.metadata.creation_timestamp or ""
    return (version.spec.lineage.trained_at or made, made, version.metadata.name)


def unfinished(job: TrainingJob) -> bool:
    """Whether the training may still make a version."""
    status = job.status
    return not (status is not None and (status.finished_at or is_ready(status) or is_stalled(status)))
