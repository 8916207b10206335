"""What is known of one ModelVersion and its surroundings: the one value that decisions are made from."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from gyre_crds.contracts.attempt import Span
from gyre_crds.v1alpha1.model import Model
from gyre_crds.v1alpha1.version import ModelVersion, ModelVersionStatus, Signature
from gyre_operators.registry_client.types import RegisteredVersion
from gyre_operators.workload.views import Job, Pod


@dataclass(frozen=True, slots=True)
class Site:
    """What the installation gives every task."""

    pipelines_image: str
    monitoring_image: str
    pull_policy: str
    installation: str
    mlflow_url: str


@dataclass(frozen=True, slots=True)
class Entry:
    """What the registry said this round: the version, or that it has none."""

    version: RegisteredVersion | None
    url: str = ""
    doubled: bool = False
    """Whether others beside it carry its key: what made them died before it removed them."""


@dataclass(frozen=True, slots=True)
class RegistryAway:
    """The registry does not answer."""

    sentence: str


@dataclass(frozen=True, slots=True)
class RegistryRefusal:
    """The registry said no a moment ago."""

    reason: str
    sentence: str


Registry = Entry | RegistryAway | RegistryRefusal


@dataclass(frozen=True, slots=True)
class Observed:
    """One ModelVersion and its surroundings."""

    version: ModelVersion
    site: Site
    store: str
    """URI under which the namespace's objects are."""
    model: Model | None = None
    model_gone: bool = False
    """There is no such Model at all; one that does not parse is there."""
    champion: ModelVersion | None = None
    """The Model's champion; may be this version."""
    blind: str = ""
    """The sentence about a champion that does not parse: it is there, and nothing can be compared with it."""
    jobs: Mapping[str, Job] = field(default_factory=dict)
    """Task Jobs by name."""
    pods: tuple[Pod, ...] = ()
    producers: tuple[str, ...] = ()
    """TrainingJobs that name this version as theirs."""
    users: tuple[str, ...] = ()
    """InferenceServices that serve it."""
    excluded: tuple[Span, ...] = ()
    """Windows of the proving service that looks found broken."""
    registry: Registry | None = None
    """None when nothing had to be asked."""

    @property
    def status(self) -> ModelVersionStatus:
        """The status so far."""
        return self.version.status or ModelVersionStatus()

    @property
    def name(self) -> str:
        """The version's name."""
        return self.version.metadata.name

    @property
    def digest(self) -> str | None:
        """The tree digest, once known."""
        return self.version.spec.digest or self.status.digest

    @property
    def uri(self) -> str | None:
        """The tree, once it is in the store."""
        return self.version.spec.source.uri or self.status.uri

    @property
    def signature(self) -> Signature | None:
        """What it takes and gives."""
        return self.version.spec.signature or self.status.signature

    @property
    def is_champion(self) -> bool:
        """Whether the Model says that this version serves."""
        return self.champion is not None and self.champion.metadata.name == self.name

    @property
    def was_champion(self) -> bool:
        """Whether it ever was."""
        return self.is_champion or any(move.alias == CHAMPION for move in self.status.moves)

    @property
    def other_champion(self) -> ModelVersion | None:
        """The champion it has to measure up to."""
        return None if self.is_champion else self.champion


CHAMPION, CHALLENGER = "champion", "challenger"


def tree_digest(version: ModelVersion) -> str | None:
    """A version's digest, also of an adopted one."""
    return version.spec.digest or (version.status.digest if version.status else None)


def tree_uri(version: ModelVersion) -> str | None:
    """A version's tree, also of an adopted one."""
    return version.spec.source.uri or (version.status.uri if version.status else None)
