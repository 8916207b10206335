"""What the decision about a DriftMonitor rests on: one frozen value."""

from dataclasses import dataclass
from datetime import datetime

from gyre_crds.contracts.task import Report
from gyre_crds.v1alpha1.drift import DriftMonitor, DriftMonitorStatus, DriftReport
from gyre_crds.v1alpha1.inference import InferenceService
from gyre_crds.v1alpha1.model import Model
from gyre_crds.v1alpha1.version import ModelVersion
from gyre_operators.workload.views import Job


@dataclass(frozen=True, slots=True)
class Ground:
    """What the operator's settings say."""

    image: str
    store: str
    """URI of the namespace's root in the object store."""
    pull_policy: str = "IfNotPresent"
    frozen: bool = False


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a look did not come to a report."""

    message: str
    final: bool = False
    """True where looking again gives the same."""
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Finished:
    """What a finished Job left: the report, or why it cannot be had."""

    report: Report | None = None
    failure: Failure | None = None
    away: str = ""
    """The store's sentence while it does not answer."""


@dataclass(frozen=True, slots=True)
class Observed:
    """Everything about one DriftMonitor at one moment."""

    monitor: DriftMonitor
    ground: Ground
    service: InferenceService | None = None
    model: Model | None = None
    version: ModelVersion | None = None
    """The version that the service's stable revision serves."""
    job: Job | None = None
    """The Job of the look under way."""
    waits: str = ""
    """What the Job's pod waits for, in words."""
    finished: Finished | None = None
    """Given once the Job has ended."""
    reports: tuple[DriftReport, ...] = ()
    """The monitor's own, oldest window first."""
    imported: tuple[DriftReport, ...] = ()
    """Those it made of Evidently's files, oldest window first."""
    taken: frozenset[str] = frozenset()
    """Names of the namespace's reports that are none of its looks'."""

    @property
    def status(self) -> DriftMonitorStatus:
        """The status as it stands; an empty one where there is none."""
        return self.monitor.status or DriftMonitorStatus()
