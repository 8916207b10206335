"""What is said to the registry and what it says, free of HTTP: plans may import this."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from gyre_crds.names import LABEL, short_hash

ID = f"{LABEL}/id"
"""Tag with the idempotency key: the same installation, namespace, model and bytes are the same version."""
DIGEST = f"{LABEL}/digest"
INSTALLATION = f"{LABEL}/installation"
NAMESPACE = f"{LABEL}/namespace"
OBJECT = f"{LABEL}/model-version"
"""Tag with the ModelVersion's name."""
STATE = f"{LABEL}/state"
GATE_PREFIX = f"{LABEL}/gate."
DELETED_AT = f"{LABEL}/deleted-at"
"""Tag of a version whose ModelVersion is gone; the bytes stay."""

TAG_LIMIT = 5000
"""Bytes of a tag's value that every MLflow takes."""


def identity(installation: str, namespace: str, model: str, digest: str) -> str:
    """The idempotency key of a version."""
    return short_hash(installation, namespace, model, digest, length=40)


@dataclass(frozen=True, slots=True)
class Registration:
    """One version to register."""

    name: str
    """Registered model."""
    source: str
    """URI of the tree in the store."""
    tags: Mapping[str, str]
    """Must hold `ID`."""
    run_id: str | None = None
    description: str = ""


@dataclass(frozen=True, slots=True)
class RegisteredVersion:
    """One version as the registry has it."""

    name: str
    number: str
    source: str = ""
    run_id: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()
    status: str = "READY"

    @property
    def order(self) -> int:
        """Its number as one can compare it."""
        return int(self.number) if self.number.isdigit() else 0


class RegistryRefusedError(Exception):
    """The registry understood and says no; the same call fails again until somebody changes something."""

    def __init__(self, reason: str, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason
        """A Version or Common reason."""
        self.sentence = sentence
