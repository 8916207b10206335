"""The rollout of a revision: one step of a state machine, from what was seen to what is wanted. Pure.

Everything it remembers stands in the status: `candidate.strata` is empty until the candidate gets
traffic, `stepSince` is empty until every router runs the step's weights, and only from then on are
requests counted.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from gyre_crds.reasons import Inference
from gyre_crds.v1alpha1.inference import CandidateStatus, RevisionRef
from gyre_operators.engine.clock import rfc3339
from gyre_operators.engine.plan import Event
from gyre_operators.inference import counting
from gyre_operators.inference.counting import marks_of, unit_of
from gyre_operators.inference.halting import monitors_order
from gyre_operators.inference.moves import (
    FULL,
    Rollout,
    counted,
    dropped,
    entry_of,
    held,
    judged,
    noted,
    place,
    promoted,
    refused,
    started,
    stepped,
    steps_of,
    too_late,
    undecided,
)
from gyre_operators.inference.observed import Observed
from gyre_operators.inference.revision import Missing, Target, wish_of
from gyre_operators.inference.routing import knows_backends, runs, waits_for
from gyre_operators.inference.shadow import begin_copies, weigh_copies
from gyre_operators.inference.verdict import Judgement, judge


def advance(seen: Observed, target: Target | Missing, now: datetime) -> Rollout:
    """The rollout one step further, or where it was when nothing happened."""
    status, wish = seen.status, wish_of(seen.service)
    rejected = tuple(r for r in status.rejected if r.wish in (None, wish))
    here = Rollout(status.stable, status.candidate, rejected, tuple(status.history))
    if isinstance(target, Missing) and target.stays:
        return here.says(target.reason, target.message)
    if isinstance(target, Missing):
        # What serves goes on serving; a candidate that nobody wants any more does not.
        return replace(dropped(here, now, target.message), reason=target.reason, message=target.message)
    if here.stable is not None and here.stable.revision == target.revision:
        return dropped(here, now, "the target went back to the stable revision")
    known = next((r for r in rejected if r.revision == target.revision), None)
    if known is not None:
        again = "change spec.model, spec.rollout or the pod settings, or train another version, to try again"
        return dropped(here, now, known.message).says(known.reason, f"{known.message}; {again}")
    if here.candidate is None or here.candidate.revision != target.revision:
        here = started(dropped(here, now, f"{target.version.metadata.name} is wanted now"), target, now)
    return _onward(seen, here, now)


_Rule = Callable[[Observed, Rollout, datetime], Rollout | None]


def _onward(seen: Observed, here: Rollout, now: datetime) -> Rollout:
    """One step of the candidate that is under way: the first rule that has something to say."""
    for rule in _RULES:
        there = rule(seen, here, now)
        if there is not None:
            return there
    raise AssertionError("the last rule always answers")


def _refuse_broken(seen: Observed, here: Rollout, now: datetime) -> Rollout | None:
    candidate = here.moving
    fault = seen.faults.get(candidate.revision)
    if fault is None or not fault.fatal or seen.is_ready(candidate.revision):
        return None
    return refused(seen, here, now, fault.reason, fault.message)


def _wait_for_pods(seen: Observed, here: Rollout, now: datetime) -> Rollout | None:
    """A candidate that was ready once and lost pods goes on: its failures are the evidence."""
    candidate = here.moving
    if candidate.strata or candidate.shadow is not None or seen.is_ready(candidate.revision):
        return None
    fault = seen.faults.get(candidate.revision)
    ready = seen.ready_replicas(candidate.revision)
    message = fault.message if fault else f"{ready} pods of {candidate.version} answer the golden rows so far"
    reason = fault.reason if fault else Inference.STARTING
    if here.stable is not None and too_late(seen, candidate.since, now):
        return undecided(seen, here, now, f"{candidate.version} did not get ready: {message}")
    return here.says(reason, message)


def _take_over_first(seen: Observed, here: Rollout, now: datetime) -> Rollout | None:
    if here.stable is not None:
        return None
    return promoted(seen, here, now, "the first revision answers the golden rows")


def _start_over(seen: Observed, here: Rollout, now: datetime) -> Rollout | None:
    """Evidence that was collected under other steps answers another question."""
    candidate, steps = here.moving, steps_of(seen)
    if not candidate.strata:
        return None
    same_step = candidate.step < len(steps) and steps[candidate.step].weight == candidate.strata[-1].weight
    if same_step and candidate.strata[-1].unit == unit_of(seen.service):
        return None
    fresh = CandidateStatus.model_validate(candidate.model_dump(include=set(RevisionRef.model_fields)))
    changed = "spec.traffic.sticky" if same_step else "spec.rollout.steps"
    message = f"{changed} changed: the rollout starts over"
    entry = entry_of("Started", candidate, now, message)
    there = noted(replace(here, candidate=fresh), entry, Event("Started", f"{message}."))
    return there.says(Inference.ROLLING_OUT, message)


def _wait_for_routers(seen: Observed, here: Rollout, _now: datetime) -> Rollout | None:
    """Before the first request: every router must know healthy backends of the candidate."""
    candidate = here.moving
    if candidate.strata:
        return None
    if not runs(seen, here.weights()):
        return here.says(Inference.STARTING, f"{candidate.version} is ready; {waits_for(seen)}")
    if not knows_backends(seen, candidate.revision):
        return here.says(Inference.STARTING, f"{candidate.version} is ready; routers do not see its pods yet")
    return None


def _take_over_at_once(seen: Observed, here: Rollout, now: datetime) -> Rollout | None:
    if here.moving.strata or ((steps := steps_of(seen)) and steps[0].weight < FULL):
        return None
    shown = here.moving.shadow.evidence if here.moving.shadow is not None else "it answers the golden rows"
    return promoted(seen, here, now, f"{shown}, and its rollout has no step below 100 %")


def _start_first_step(seen: Observed, here: Rollout, now: datetime) -> Rollout | None:
    return None if here.moving.strata else stepped(seen, here, now, 0)


def _wait_for_weights(seen: Observed, here: Rollout, now: datetime) -> Rollout | None:
    """Requests count only from the moment at which every router splits by the step's weights."""
    candidate = here.moving
    if candidate.step_since is not None:
        return None
    if not runs(seen, here.weights()):
        return here.says(Inference.ROLLING_OUT, f"{place(seen, candidate)}: {waits_for(seen)}")
    revisions, stratum = (candidate.revision, here.serving.revision), candidate.strata[-1]
    marks = marks_of(seen.routers, seen.service.metadata.name, revisions, stratum.unit)
    processes = counting.started((), marks) if stratum.unit == "Key" else 0
    strata = [*candidate.strata[:-1], stratum.model_copy(update={"processes": processes})]
    begun = candidate.model_copy(update={"step_since": rfc3339(now), "marks": marks, "strata": strata})
    return replace(here, candidate=begun).says(Inference.WAITING_FOR_EVIDENCE, place(seen, begun))


def _obey_monitors(seen: Observed, here: Rollout, now: datetime) -> Rollout | None:
    said = monitors_order(seen.monitors, seen.reports, since=here.moving.since)
    if said is None or said.action != "Rollback":
        return None
    return refused(seen, here, now, Inference.ROLLED_BACK, said.message)


def _weigh(seen: Observed, here: Rollout, now: datetime) -> Rollout | None:
    """Read the evidence and act on the verdict."""
    there = counted(seen, here)
    candidate, step = there.moving, steps_of(seen)[there.moving.step]
    analysis = seen.service.spec.rollout.analysis
    said = judge(
        candidate.strata,
        alpha=analysis.alpha,
        margin=analysis.margin,
        min_requests=step.min_requests,
        needed=candidate.needed,
    )
    there = replace(there, candidate=judged(candidate, said))
    if said.verdict == "Fail":
        return refused(seen, there, now, Inference.FAIL, said.sentence)
    order = monitors_order(seen.monitors, seen.reports, since=candidate.since)
    if order is not None:
        return held(there, now, order)
    if said.verdict == "Pass":
        return _passed(seen, there, now, said)
    if too_late(seen, candidate.step_since, now):
        return undecided(seen, there, now, f"no verdict within {analysis.timeout}: {said.sentence}")
    return there.says(Inference.WAITING_FOR_EVIDENCE, f"{place(seen, candidate)}: {said.sentence}")


def _passed(seen: Observed, here: Rollout, now: datetime, said: Judgement) -> Rollout:
    following = here.moving.step + 1
    steps = steps_of(seen)
    if following >= len(steps) or steps[following].weight >= FULL:
        return promoted(seen, here, now, said.sentence)
    return stepped(seen, here, now, following)


_RULES: tuple[_Rule, ...] = (
    _refuse_broken,
    _wait_for_pods,
    _take_over_first,
    _start_over,
    weigh_copies,
    _wait_for_routers,
    begin_copies,
    _take_over_at_once,
    _start_first_step,
    _wait_for_weights,
    _obey_monitors,
    _weigh,
)
