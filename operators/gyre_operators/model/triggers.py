"""What asks for a training, and the answer to each question. Pure.

Every question has an id made of its evidence: the same annotation, scheduled time, report or template
asks the same question, and a question is answered once.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from gyre_crds import names
from gyre_crds.reasons import ModelReason
from gyre_crds.v1alpha1.drift import DriftReport
from gyre_crds.v1alpha1.model import DecisionStatus
from gyre_operators.drift.windows import is_closed
from gyre_operators.engine.clock import parse_time, rfc3339
from gyre_operators.model.allowance import allowance, approval
from gyre_operators.model.decide import decide
from gyre_operators.model.evidence import evidence_of
from gyre_operators.model.observed import Observed
from gyre_operators.model.promotion import Roles
from gyre_operators.model.schedule import ScheduleError, last_before, next_after
from gyre_operators.model.situation import (
    is_listed,
    open_reports,
    rollout_of,
    situation_of,
    source_of,
    training_under_way,
    triggers_of,
    unheard,
)
from gyre_operators.model.terms import Decided, Situation

APPROVE = f"{names.LABEL}/approve"
"""Annotation on a Model: the id of a decision that waits for a person."""

_REBUILT = "the status was rebuilt from what exists; looks before it are not answered again"
_AT_ONCE = 10
"""Reports made elsewhere that may wait for their answer to be named: the status holds twenty decisions in all."""

TriggerType = Literal["Initial", "Manual", "Schedule", "Drift"]


@dataclass(frozen=True, slots=True)
class Answers:
    """What was asked and answered in this round."""

    decisions: tuple[DecisionStatus, ...] = ()
    """Oldest first."""
    manual_token: str | None = None
    last_schedule: str | None = None
    problem: str = ""
    """A schedule that cannot be read, as a sentence."""
    next_schedule: datetime | None = None


def decision_id(uid: str, trigger: str, evidence: str) -> str:
    """The id of the answer to one question."""
    return names.short_hash(uid, trigger, evidence, length=12)


def answers(seen: Observed, roles: Roles, now: datetime) -> Answers:
    """Everything that is asked now and was not answered before."""
    training, status = seen.model.spec.training, seen.status
    if training is None:
        return Answers(manual_token=status.manual_token, last_schedule=status.last_schedule)
    rebuilt = _rebuilt(seen, now)
    if rebuilt is not None:
        return rebuilt
    initial = _initial(seen, now)
    if initial is not None:
        return Answers((initial,), manual_token=_token(seen), last_schedule=rfc3339(now))
    situation = situation_of(seen, roles, now)
    approved = _approved(seen, situation)
    # A request waits for what was approved in the same breath, as for any training.
    manual, token = _manual(seen, situation) if approved is None else (None, status.manual_token)
    last, upcoming, problem = _scheduled(seen, now)
    made = [approved, manual, *_drift(seen, situation), _on_schedule(seen, situation, last)]
    return Answers(
        decisions=_one_training([decision for decision in made if decision is not None]),
        manual_token=token,
        last_schedule=rfc3339(last) if last is not None else status.last_schedule,
        problem=problem,
        next_schedule=upcoming,
    )


def _rebuilt(seen: Observed, now: datetime) -> Answers | None:
    """A Model without any status, but with versions: a restored cluster. What was asked before was answered before.

    Where more was asked than the status holds answers for, later rounds answer the rest, and nothing else until then.
    """
    if seen.model.status is None and seen.versions:
        # A monitor's come in order, so that its newest answers for all; each of the others answers for itself.
        newest = {
            report.spec.monitor if report.spec.monitor and is_closed(report) else report.metadata.name: report
            for report in seen.reports
        }
        return Answers(_before(seen, [*newest.values()], now), manual_token=_token(seen), last_schedule=rfc3339(now))
    since = next((decision.at for decision in seen.status.decisions if decision.message == _REBUILT), None)
    if since is None:
        return None
    at = parse_time(since)
    rest = [r for r in open_reports(seen) if parse_time(r.metadata.creation_timestamp or since) <= at]
    if not rest:
        return None
    status = seen.status
    return Answers(_before(seen, rest, at), manual_token=status.manual_token, last_schedule=status.last_schedule)


def _before(seen: Observed, reports: Sequence[DriftReport], rebuilt: datetime) -> tuple[DecisionStatus, ...]:
    """The answers to reports that were there when the status was rebuilt."""
    said = Decided("Nothing", ModelReason.CHAMPION_STANDS, _REBUILT)
    few = [report.metadata.name for report in _few(seen, reports)]
    return tuple(_answer(seen, "Drift", name, said, rebuilt, report=name) for name in few)


def _few(seen: Observed, reports: Sequence[DriftReport]) -> list[DriftReport]:
    """All looks of monitors, and no more reports made elsewhere than the status can hold the answers of.

    Until such a report names its answer, nothing else tells that it was given: without one it would be asked again.
    """
    answered = {decision.report for decision in seen.status.decisions}
    room = max(0, _AT_ONCE - len(unheard(seen) & answered))
    late = {r.metadata.name for r in [r for r in reports if r.spec.monitor is None][room:]}
    return [report for report in reports if report.metadata.name not in late]


# The questions.


def _initial(seen: Observed, now: datetime) -> DecisionStatus | None:
    """The first version; asked again with another template, as long as there is none."""
    serves = any(service.status is not None and service.status.stable is not None for service in seen.services)
    if seen.versions or serves or training_under_way(seen) or seen.model.spec.training is None:
        return None
    template = json.dumps(seen.model.spec.training.template.dump(), sort_keys=True)
    said = Decided("Retrain", ModelReason.INITIAL, "the model has no version yet: train the first")
    made = _answer(seen, "Initial", template, said, now)
    answered = {decision.id for decision in seen.status.decisions} | {job.metadata.name for job in seen.jobs}
    return None if {made.id, made.job} & answered else made


def _manual(seen: Observed, situation: Situation) -> tuple[DecisionStatus | None, str | None]:
    """The annotation asks; it waits while something runs, and is then answered."""
    token = _token(seen)
    if token is None or token == seen.status.manual_token:
        return None, seen.status.manual_token
    if not is_listed(seen, "Manual"):
        message = f"{names.RETRAIN} asks for a training: list {{type: Manual}} in spec.training.triggers"
        said = Decided("Nothing", ModelReason.NOT_TRIGGERED, message)
        return _answer(seen, "Manual", token, said, situation.now), token
    # A person may ask for the next training while a rollout still runs, but not for two trainings at once.
    forbidden = allowance(replace(situation, under_way=training_under_way(seen)), cooldown=False)
    if forbidden is not None and forbidden.action == "Wait":
        return None, seen.status.manual_token
    said = forbidden or Decided("Retrain", ModelReason.REQUESTED, f"a person asked by {names.RETRAIN}")
    return _answer(seen, "Manual", token, said, situation.now), token


def _on_schedule(seen: Observed, situation: Situation, last: datetime | None) -> DecisionStatus | None:
    """A schedule skips the benefit rule, never cooldown, budget or approval."""
    if last is None or not _due(seen, last):
        return None
    said = Decided("Retrain", ModelReason.SCHEDULED, f"scheduled for {last:%Y-%m-%dT%H:%MZ}")
    forbidden = allowance(situation) or approval(situation)
    if forbidden is not None:
        skipped = "Nothing" if forbidden.reason != ModelReason.NEEDS_APPROVAL else forbidden.action
        said = replace(forbidden, action=skipped, message=f"{said.message}; but {forbidden.message}")
    return _answer(seen, "Schedule", rfc3339(last), said, situation.now)


def _drift(seen: Observed, situation: Situation) -> list[DecisionStatus]:
    """Every look that was not answered yet, in the order of the windows."""
    made, asked = [], _asked(seen)
    for report in _few(seen, open_reports(seen)):
        look = evidence_of(report)
        source = source_of(report)
        earlier = tuple(evidence_of(r) for r in seen.reports if source_of(r) == source and r is not report)
        said = decide(look, replace(situation, earlier=earlier, rollout=rollout_of(seen, report), asked=asked))
        answer = _answer(seen, "Drift", report.metadata.name, said, situation.now, report=report.metadata.name)
        asked = answer.id if said.reason == ModelReason.NEEDS_APPROVAL else asked
        made.append(answer)
    return made


def _asked(seen: Observed) -> str | None:
    """The decision since the last training that waits for a person: one to approve, not another for every look."""
    for decision in seen.status.decisions:
        if decision.action == "Retrain":
            return None
        if decision.reason == ModelReason.NEEDS_APPROVAL:
            return decision.id
    return None


def _approved(seen: Observed, situation: Situation) -> DecisionStatus | None:
    """A decision that waited for a person, once the annotation names it and nothing else forbids it."""
    wanted = seen.model.metadata.annotations.get(APPROVE)
    waiting = next(
        (d for d in seen.status.decisions if d.id == wanted and d.reason == ModelReason.NEEDS_APPROVAL), None
    )
    if waiting is None or allowance(situation, cooldown=False) is not None:
        return None
    return waiting.model_copy(
        update={
            "at": rfc3339(situation.now),
            "action": "Retrain",
            "reason": ModelReason.REQUESTED.value,
            "message": f"approved by {APPROVE}: {waiting.message}"[:1024],
            "job": names.training_job(seen.model.metadata.name, waiting.trigger, waiting.id),
        }
    )


def _scheduled(seen: Observed, now: datetime) -> tuple[datetime | None, datetime | None, str]:
    """The latest due time (or None), the next one, and what cannot be read."""
    dues, upcoming = [], []
    for index, trigger in enumerate(triggers_of(seen)):
        if trigger.schedule is None:
            continue
        try:
            due, following = last_before(trigger.schedule, now), next_after(trigger.schedule, now)
        except ScheduleError as error:
            return None, None, f"spec.training.triggers[{index}].schedule.{error}"
        dues += [due] if due is not None and _due(seen, due) else []
        upcoming += [following] if following is not None else []
    return max(dues, default=None), min(upcoming, default=None), ""


def _due(seen: Observed, scheduled: datetime) -> bool:
    """Times before the Model was made, or answered already, are past; of several missed, the last counts."""
    since = seen.status.last_schedule or seen.model.metadata.creation_timestamp
    return since is None or scheduled > parse_time(since)


# Small things.


def _answer(
    seen: Observed, trigger: TriggerType, evidence: str, said: Decided, now: datetime, *, report: str | None = None
) -> DecisionStatus:
    meta = seen.model.metadata
    made = decision_id(meta.uid, trigger, evidence)
    return DecisionStatus(
        id=made,
        at=rfc3339(now),
        action=said.action,
        reason=said.reason.value,
        message=said.message[:1024],
        trigger=trigger,
        report=report,
        arithmetic=dict(said.arithmetic),
        job=names.training_job(meta.name, trigger, made) if said.action == "Retrain" else None,
    )


def _one_training(made: Sequence[DecisionStatus]) -> tuple[DecisionStatus, ...]:
    """Of several answers in one round, the first that trains trains; the others hear that it does."""
    kept: list[DecisionStatus] = []
    job: str | None = None
    for decision in made:
        if decision.action == "Retrain" and job is not None:
            message = f"{decision.message}; but training {job} is under way already"
            busy = {"action": "Wait", "reason": ModelReason.IN_FLIGHT.value, "job": None, "message": message[:1024]}
            kept.append(decision.model_copy(update=busy))
        else:
            job = decision.job if decision.action == "Retrain" else job
            kept.append(decision)
    return tuple(kept)


def _token(seen: Observed) -> str | None:
    return seen.model.metadata.annotations.get(names.RETRAIN) or None
