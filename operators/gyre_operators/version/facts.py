"""What is known of a version, and what is said of it."""

from dataclasses import dataclass
from typing import Literal

from gyre_crds.v1alpha1.version import GateStatus, ModelVersionStatus
from gyre_operators.version.recording import Recording
from gyre_operators.version.seen import Observed


@dataclass(frozen=True, slots=True)
class Say:
    """What a status says."""

    state: str
    summary: Literal["Ready", "Progressing", "Failed", "Unknown"]
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Facts:
    """The parts that decide what is said."""

    seen: Observed
    status: ModelVersionStatus
    gates: list[GateStatus]
    recording: Recording
    aliases: list[str]
