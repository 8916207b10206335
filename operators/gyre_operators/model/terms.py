"""What a decision on a retraining rests on beside the look, and its answer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from gyre_crds.reasons import ModelReason
from gyre_crds.v1alpha1.model import Decision
from gyre_operators.model.evidence import Evidence
from gyre_operators.model.learned import Expected

Action = Literal["Retrain", "Nothing", "Wait"]


@dataclass(frozen=True, slots=True)
class FreshRollout:
    """The change of version that the stable revision came with."""

    version: str
    at: datetime
    previous: str | None
    """The version before; None where there is nothing to roll back to."""


@dataclass(frozen=True, slots=True)
class Situation:
    """What else a decision rests on."""

    now: datetime
    policy: Decision
    earlier: tuple[Evidence, ...] = ()
    """Looks before this one, of the same service."""
    under_way: str = ""
    """The training or rollout that runs, as a clause; empty when none does."""
    last_training: datetime | None = None
    """Start of the last training that the cooldown still looks at."""
    trained: datetime | None = None
    """When the last training was: of the newest version, promoted or refused, or one that made none."""
    maturity: timedelta = timedelta(0)
    """How long a row waits for its label."""
    trainings: int = 0
    """Within the budget's period, the initial one not counted."""
    rollout: FreshRollout | None = None
    serving: frozenset[str] = frozenset()
    """Versions that serve now; empty where that is not known."""
    learned: Expected = field(default_factory=Expected)
    """What past retrainings won back."""
    triggered: bool = True
    """Whether the Model lists a trigger of type Drift."""
    asked: str | None = None
    """Decision on an earlier look that waits for a person."""
    waits_for_person: bool = True
    """False once a person has approved."""


@dataclass(frozen=True, slots=True)
class Decided:
    """What was decided, why, and with which numbers."""

    action: Action
    reason: ModelReason
    message: str
    arithmetic: Mapping[str, float] = field(default_factory=dict)
