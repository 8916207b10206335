"""From a decision to the status: one state, one reason, one sentence, and the conditions."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from gyre_crds.conditions import Condition, merge, summary
from gyre_crds.reasons import Training
from gyre_crds.v1alpha1.training import TrainingJobStatus
from gyre_operators.engine.clock import parse_time, rfc3339
from gyre_operators.engine.plan import Event, Plan
from gyre_operators.training.seen import Observed
from gyre_operators.workload.messages import on_one_line

SUSPENDED, COMPLETE, FAILED = "Suspended", "Complete", "Failed"
_LONGEST = 4000


@dataclass(frozen=True, slots=True)
class Say:
    """What a status says."""

    state: str
    """For the printer column."""
    summary: Literal["Ready", "Progressing", "Failed", "Unknown"]
    reason: str
    message: str
    final: str = ""
    """The reason of the condition Failed, where it differs."""


def told(seen: Observed, say: Say, now: datetime, **changes: object) -> Plan:
    """A plan that writes the status and tells of it."""
    return Plan(status=status(seen, say, now, **changes), events=events(seen, say))


def pause(seen: Observed, now: datetime) -> timedelta:
    """How long the suspension under way has lasted."""
    conditions = seen.job.status.conditions if seen.job.status else []
    since = next((each for each in conditions if each.type == SUSPENDED and each.status == "True"), None)
    return now - parse_time(since.last_transition_time or rfc3339(now)) if since else timedelta()


def status(seen: Observed, say: Say, now: datetime, **changes: object) -> dict[str, Any]:
    """The whole status with these fields changed."""
    old = seen.job.status or TrainingJobStatus()
    new = old.model_copy(update=changes)
    if not seen.job.spec.suspend:
        paused = int(pause(seen, now).total_seconds())
        new = new.model_copy(update={"suspended_seconds": old.suspended_seconds + paused})
    generation = seen.job.metadata.generation
    conditions = [
        *summary(say.summary, say.reason, say.message[:_LONGEST]),
        *_suspended(seen, old),
        *_finished(new, say),
    ]
    merged = merge(old.conditions, conditions, now=rfc3339(now), generation=generation)
    return new.model_copy(
        update={
            "observed_generation": generation,
            "state": say.state,
            "reason": say.reason,
            "conditions": merged,
        },
    ).dump()


def events(seen: Observed, say: Say) -> tuple[Event, ...]:
    """One event where the reason changed."""
    if seen.job.status is not None and seen.job.status.reason == say.reason:
        return ()
    goes_on = say.summary in ("Ready", "Progressing") and say.reason in _AS_EXPECTED
    return (Event(say.reason, on_one_line(say.message)[:1024], "Normal" if goes_on else "Warning"),)


_AS_EXPECTED = frozenset(
    {
        Training.PENDING,
        Training.PREPARING,
        Training.RUNNING,
        Training.PUBLISHING,
        Training.SUSPENDED,
        Training.NO_NEW_DATA,
        Training.SUCCEEDED,
    }
)
"""Reasons of a training that needs nobody's help."""


def _suspended(seen: Observed, old: TrainingJobStatus) -> list[Condition]:
    """`Suspended` appears with the first suspension; its transition time is when the pause began."""
    if seen.job.spec.suspend and not old.finished_at:
        return [Condition(type=SUSPENDED, status="True", reason="Suspended", message="spec.suspend is true.")]
    if any(condition.type == SUSPENDED for condition in old.conditions):
        return [Condition(type=SUSPENDED, status="False", reason="Resumed", message="")]
    return []


def _finished(new: TrainingJobStatus, say: Say) -> list[Condition]:
    if new.finished_at is None:
        return []
    kind = COMPLETE if say.summary == "Ready" else FAILED
    return [Condition(type=kind, status="True", reason=say.final or say.reason, message=say.message[:_LONGEST])]
