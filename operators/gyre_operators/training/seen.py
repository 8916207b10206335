"""What is known of one TrainingJob and its surroundings: the one value that decisions are made from."""

from collections.abc import Mapping
from dataclasses import dataclass

from gyre_crds.contracts.attempt import PublishResult, Span
from gyre_crds.v1alpha1.common import Contract
from gyre_crds.v1alpha1.training import AttemptStatus, ProgressStatus, TrainingJob
from gyre_crds.v1alpha1.version import ModelVersion
from gyre_operators.workload.views import Job, Node, Pod, newest


@dataclass(frozen=True, slots=True)
class Away:
    """A system outside of Kubernetes does not answer; the sentence says which and what it said."""

    sentence: str


@dataclass(frozen=True, slots=True)
class Site:
    """What the installation gives every attempt."""

    pipelines_image: str
    pull_policy: str
    mlflow_url: str
    cpu: str
    memory: str
    deadline: str
    image_grace: str


@dataclass(frozen=True, slots=True)
class Observed:
    """One TrainingJob and its surroundings."""

    job: TrainingJob
    site: Site
    contract: Contract | None = None
    """The Model's contract, if the Model exists."""
    champion: ModelVersion | None = None
    excluded: tuple[Span, ...] = ()
    """Windows of the services it learns from that a monitor found broken."""
    jobs: Mapping[str, Job] | None = None
    """The child Jobs by name."""
    pods: tuple[Pod, ...] = ()
    """Pods of all attempts that still exist."""
    nodes: tuple[Node, ...] = ()
    """Only read where GPU or memory growth asks for them."""
    refused: str | None = None
    """Why the running attempt's pod could not be created."""
    result: PublishResult | Away | None = None
    """What the running attempt published, once it has ended."""
    progress: ProgressStatus | None = None
    version: ModelVersion | None = None
    """The version with the published digest, if it exists."""

    @property
    def attempts(self) -> list[AttemptStatus]:
        """Every attempt so far, oldest first."""
        return self.job.status.attempts if self.job.status else []

    @property
    def attempt(self) -> AttemptStatus | None:
        """The attempt under way."""
        last = self.attempts[-1] if self.attempts else None
        return last if last is not None and last.outcome == "Running" else None

    def child(self, attempt: AttemptStatus) -> Job | None:
        """An attempt's Job, if it exists."""
        return (self.jobs or {}).get(attempt.job)

    def pod(self, attempt: AttemptStatus) -> Pod | None:
        """The newest pod of an attempt's Job."""
        child = self.child(attempt)
        uid = child.metadata.uid if child else attempt.uid
        return newest(tuple(pod for pod in self.pods if uid and pod.owned_by(uid)))
