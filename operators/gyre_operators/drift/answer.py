"""What came of a report: the decision that the Model's controller took on it. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gyre_crds.conditions import merge, summary
from gyre_crds.reasons import Drift
from gyre_crds.v1alpha1.drift import DriftReport, DriftReportStatus
from gyre_crds.v1alpha1.model import DecisionStatus, Model
from gyre_operators.engine.clock import parse_time, rfc3339
from gyre_operators.engine.plan import Event, Plan
from gyre_operators.model.triggers import decision_id

ALERTS_ONLY = (
    "It alerts and causes nothing: whoever has the verb act on driftreports may make it again with spec.mayAct: true."
)


@dataclass(frozen=True, slots=True)
class Seen:
    """A report and who answers it."""

    report: DriftReport
    model: Model | None = None
    """The Model behind the service that the report speaks of."""
    ends: Mapping[str, str] | None = None
    """Ends of the closed windows of the same monitor's reports, by report name."""


def plan(seen: Seen, now: datetime) -> Plan:
    """The report's status: its decision's id, once there is one."""
    old = seen.report.status or DriftReportStatus()
    silent = not seen.report.spec.may_act
    decision = None if silent else old.decision or _decision(seen)
    generation = seen.report.metadata.generation
    verdict = Drift(seen.report.spec.verdict)
    message = f"{seen.report.spec.reason} {ALERTS_ONLY}" if silent else seen.report.spec.reason
    status = DriftReportStatus(
        observed_generation=generation,
        state="AlertsOnly" if silent else "Answered" if decision else "Open",
        reason=verdict.value,
        conditions=merge(
            old.conditions,
            summary("Ready", verdict.value, message),
            now=rfc3339(now),
            generation=generation,
        ),
        decision=decision,
    )
    return Plan(status=dict[str, Any](status.dump()), events=_alert(seen, verdict, message))


def _alert(seen: Seen, verdict: Drift, message: str) -> tuple[Event, ...]:
    """A report that no monitor speaks for is told of once; of its own looks the monitor tells."""
    spec = seen.report.spec
    if seen.report.status is not None or (spec.may_act and spec.monitor is not None) or spec.level == "None":
        return ()
    return (Event(verdict.value, message[:1024], "Warning"),)


def _decision(seen: Seen) -> str | None:
    """The id of the answer; also where only a later look's answer is still on record, since looks come in order."""
    model, name = seen.model, seen.report.metadata.name
    decisions: Sequence[DecisionStatus] = model.status.decisions if model is not None and model.status else ()
    direct = next((decision.id for decision in decisions if decision.report == name), None)
    if direct is not None or model is None or seen.report.spec.monitor is None:
        return direct
    ends = seen.ends or {}
    own = parse_time(seen.report.spec.window.end)
    answered = [end for decision in decisions if (end := ends.get(decision.report or "")) is not None]
    later = any(parse_time(end) > own for end in answered)
    return decision_id(model.metadata.uid, "Drift", name) if later else None
