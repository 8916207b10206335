"""What the decision about an InferenceService rests on: one frozen value."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from gyre_crds.contracts.routing import Counter, RouterCounters, RouterState, RoutingTable
from gyre_crds.v1alpha1.drift import DriftMonitor, DriftReport
from gyre_crds.v1alpha1.inference import InferenceService, InferenceServiceStatus
from gyre_crds.v1alpha1.model import Model
from gyre_crds.v1alpha1.version import ModelVersion
from gyre_operators.engine.plan import Manifest


@dataclass(frozen=True, slots=True)
class Ground:
    """What the operator's settings say."""

    serving_image: str
    triton_image: str
    pull_policy: str = "IfNotPresent"
    frozen: bool = False
    store: str = ""
    """URI of the namespace's root in the object store."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Why pods of a revision do not answer."""

    reason: str
    """An Inference (or Common) reason."""
    message: str
    fatal: bool = False
    """True where the version itself is at fault, so that waiting cannot help."""


@dataclass(frozen=True, slots=True)
class Router:
    """One live router pod; `state` and `counters` are None while it does not answer."""

    pod: str
    ready: bool = True
    state: RouterState | None = None
    counters: RouterCounters | None = None


@dataclass(frozen=True, slots=True)
class Observed:
    """Everything about one InferenceService at one moment."""

    service: InferenceService
    ground: Ground
    model: Model | None = None
    versions: Mapping[str, ModelVersion] = field(default_factory=dict)
    """The Model's versions, by name."""
    unread: Mapping[str, str] = field(default_factory=dict)
    """The Model, and versions of the namespace, that do not parse: kind and name, and the problem."""
    deployments: Mapping[str, Manifest] = field(default_factory=dict)
    """Live Deployments, by revision."""
    headless: Mapping[str, Manifest] = field(default_factory=dict)
    """Live Services of revisions, by revision."""
    faults: Mapping[str, Fault] = field(default_factory=dict)
    """By revision."""
    routers: tuple[Router, ...] = ()
    router_waits: str = ""
    """Why a router pod of the namespace cannot start; empty where all could."""
    table: RoutingTable | None = None
    """The namespace's table as it stands in its ConfigMap."""
    monitors: Mapping[str, DriftMonitor] = field(default_factory=dict)
    """Monitors of this service, by name."""
    reports: tuple[DriftReport, ...] = ()
    """Their reports, oldest first."""
    swept: str = ""
    """The hour in which this process last removed old payload parts."""

    @property
    def status(self) -> InferenceServiceStatus:
        """The status as it stands; an empty one where there is none."""
        return self.service.status or InferenceServiceStatus()

    def ready_replicas(self, revision: str) -> int:
        """Pods of the revision that answer."""
        live = self.deployments.get(revision)
        return int((live or {}).get("status", {}).get("readyReplicas") or 0)

    def is_ready(self, revision: str) -> bool:
        """Whether as many pods answer as are wanted, at least one, and all of the newest template."""
        live = self.deployments.get(revision)
        if live is None:
            return False
        status = live.get("status", {})
        seen = status.get("observedGeneration", 0) >= live["metadata"].get("generation", 0)
        wanted = max(live["spec"].get("replicas", 1), 1)
        return bool(seen) and int(status.get("readyReplicas") or 0) >= wanted


def counter(router: Router, service: str, revision: str) -> Counter | None:
    """What a router counted for a revision; None while it does not answer, zeros before the first request."""
    if router.counters is None:
        return None
    return router.counters.services.get(service, {}).get(revision, Counter())
