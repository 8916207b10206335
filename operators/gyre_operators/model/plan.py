"""From what was seen of a Model to the next step. Pure."""

from collections.abc import Container, Sequence
from datetime import datetime, timedelta

from gyre_crds.base import API_VERSION
from gyre_crds.reasons import ModelReason
from gyre_crds.v1alpha1.model import DecisionStatus
from gyre_operators.engine.clock import rfc3339
from gyre_operators.engine.plan import Event, Plan, Ref
from gyre_operators.model.manifests import training_job
from gyre_operators.model.observed import Observed
from gyre_operators.model.promotion import Roles, roles
from gyre_operators.model.retention import expendable
from gyre_operators.model.situation import unnamed
from gyre_operators.model.status import blind_status, paused_status, status_of
from gyre_operators.model.triggers import Answers, answers

_DECISIONS = 20


def plan(seen: Observed, now: datetime) -> Plan:
    """The next step towards what the spec asks for."""
    if seen.model.spec.paused or seen.frozen:
        return Plan(status=paused_status(seen, now))
    if seen.unread:
        return Plan(status=blind_status(seen, now))
    who = roles(seen, rfc3339(now))
    told = answers(seen, who, now)
    intent = _intent(seen, told.decisions)
    decisions = remembered(seen.status.decisions, told.decisions, unnamed=unnamed(seen))
    gone = expendable(seen, who.champion, who.challenger)
    return Plan(
        create=(training_job(seen.model, intent),) if intent is not None else (),
        delete=tuple(
            Ref(API_VERSION, "ModelVersion", v.metadata.namespace, v.metadata.name, v.metadata.uid) for v in gone
        ),
        status=status_of(seen, who, told, intent=intent, decisions=decisions, now=now),
        events=(*_moves(seen, who), *(_event(decision) for decision in told.decisions)),
        requeue=_pause(told, now),
    )


def remembered(
    old: Sequence[DecisionStatus], made: Sequence[DecisionStatus], *, unnamed: Container[str | None]
) -> list[DecisionStatus]:
    """The list with the new decisions, newest first.

    An answer to an old question (an approval) takes its place. Of looks in a row that came to the same
    end without a training only the newest stays, so that a long rollout or weeks of health do not push
    out the decisions that mattered. Answers to the reports in `unnamed` stay until those have taken them
    over: nothing else tells that they were given.
    """
    kept = list(old)
    for decision in made:
        kept = [before for before in kept if before.id != decision.id]
        while kept and _repeats(decision, kept[0]) and kept[0].report not in unnamed:
            kept = kept[1:]
        kept = [decision, *kept]
    return kept[:_DECISIONS]


def _repeats(decision: DecisionStatus, before: DecisionStatus) -> bool:
    """The same answer to the next look. What waits for a person keeps its id for them."""
    same = (decision.trigger, decision.action, decision.reason) == (before.trigger, before.action, before.reason)
    return (
        same
        and decision.trigger == "Drift"
        and decision.action != "Retrain"
        and decision.reason != ModelReason.NEEDS_APPROVAL
    )


def _intent(seen: Observed, made: Sequence[DecisionStatus]) -> DecisionStatus | None:
    """The training that is decided and not seen to exist yet: on record before its job is made."""
    standing = seen.status.intent
    if standing is not None:
        exists = any(job.metadata.name == standing.job for job in seen.jobs)
        return None if exists or seen.model.spec.training is None else standing
    fresh = next((decision for decision in made if decision.action == "Retrain"), None)
    known = {decision.id for decision in seen.status.decisions if decision.action == "Retrain"}
    return fresh if fresh is not None and fresh.id not in known else None


def _event(decision: DecisionStatus) -> Event:
    doing = f"; TrainingJob {decision.job}" if decision.job else ""
    return Event(decision.reason, f"{decision.action}: {decision.message}{doing} (decision {decision.id}).")


def _moves(seen: Observed, who: Roles) -> list[Event]:
    before = seen.status.champion.name if seen.status.champion else None
    after = who.champion.name if who.champion else None
    if after is None or after == before:
        return []
    then = f"; {before} was it before and stays deployable" if before else ""
    return [Event("Promoted", f"{after} is champion{then}.")]


def _pause(told: Answers, now: datetime) -> timedelta | None:
    if told.next_schedule is None:
        return None
    return max(told.next_schedule - now, timedelta(seconds=1))
