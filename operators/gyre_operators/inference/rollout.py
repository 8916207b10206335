"""The rollout of a revision: one step of a state machine, from what was seen to what is wanted.

Everything it remembers stands in the status: `candidate.strata` is empty until the candidate gets
traffic, `stepSince` is empty until every router runs the step's weights, and only from then on are
requests counted.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from gyre_crds.base import seconds
from gyre_crds.reasons import Inference
from gyre_crds.v1alpha1.inference import (
    CandidateStatus,
    HistoryEntry,
    Rejected,
    RevisionRef,
    Step,
    Stratum,
)
from gyre_operators.engine.clock import parse_time, rfc3339
from gyre_operators.engine.plan import Event
from gyre_operators.inference.counting import accumulated, error_share, marks_of
from gyre_operators.inference.halting import Order, monitors_order
from gyre_operators.inference.observed import Observed
from gyre_operators.inference.revision import Missing, Target, wish_of
from gyre_operators.inference.routing import knows_backends, runs, waits_for
from gyre_operators.inference.verdict import Judgement, judge, needed_requests

FULL = 100
_HISTORY = 30
_REJECTED = 20
_TEXT = 1024

What = Literal["Started", "Step", "Promoted", "RolledBack", "Halted"]


@dataclass(frozen=True, slots=True)
class Rollout:
    """Where the rollout stands."""

    stable: RevisionRef | None
    candidate: CandidateStatus | None
    rejected: tuple[Rejected, ...]
    history: tuple[HistoryEntry, ...]
    reason: str = ""
    """Why it is where it is, as an Inference reason; empty when nothing is under way."""
    message: str = ""
    events: tuple[Event, ...] = ()

    def weights(self) -> dict[str, int]:
        """Wanted weights by revision; a candidate without a step yet is known to the routers at 0."""
        if self.stable is None:
            return {}
        if self.candidate is None:
            return {self.stable.revision: FULL}
        share = self.candidate.strata[-1].weight if self.candidate.strata else 0
        return {self.stable.revision: FULL - share, self.candidate.revision: share}

    def says(self, reason: str, message: str) -> "Rollout":
        """The same place, with another reason."""
        return replace(self, reason=reason, message=message[:_TEXT])


def advance(seen: Observed, target: Target | Missing, now: datetime) -> Rollout:
    """The rollout one step further, or where it was when nothing happened."""
    status, wish = seen.status, wish_of(seen.service)
    rejected = tuple(r for r in status.rejected if r.wish in (None, wish))
    here = Rollout(status.stable, status.candidate, rejected, tuple(status.history))
    if isinstance(target, Missing):
        # What serves goes on serving; a candidate that nobody wants any more does not.
        return replace(_dropped(here, now, target.message), reason=target.reason, message=target.message)
    if here.stable is not None and here.stable.revision == target.revision:
        return _dropped(here, now, "the target went back to the stable revision")
    refused = next((r for r in rejected if r.revision == target.revision), None)
    if refused is not None:
        again = "change spec.model, spec.rollout or the pod settings, or train another version, to try again"
        return replace(_dropped(here, now, refused.message)).says(refused.reason, f"{refused.message}; {again}")
    if here.candidate is None or here.candidate.revision != target.revision:
        here = _started(_dropped(here, now, f"{target.version.metadata.name} is wanted now"), target, now)
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
    candidate = _candidate(here)
    fault = seen.faults.get(candidate.revision)
    if fault is None or not fault.fatal or seen.is_ready(candidate.revision):
        return None
    return refused(seen, here, now, fault.reason, fault.message)


def _wait_for_pods(seen: Observed, here: Rollout, now: datetime) -> Rollout | None:
    """A candidate that was ready once and lost pods goes on: its failures are the evidence."""
    candidate = _candidate(here)
    if candidate.strata or seen.is_ready(candidate.revision):
        return None
    fault = seen.faults.get(candidate.revision)
    ready = seen.ready_replicas(candidate.revision)
    message = fault.message if fault else f"{ready} pods of {candidate.version} answer the golden rows so far"
    reason = fault.reason if fault else Inference.STARTING
    if here.stable is not None and _too_late(seen, candidate.since, now):
        return _undecided(seen, here, now, f"{candidate.version} did not get ready: {message}")
    return here.says(reason, message)


def _take_over_first(seen: Observed, here: Rollout, now: datetime) -> Rollout | None:
    if here.stable is not None:
        return None
    return promoted(seen, here, now, "the first revision answers the golden rows")


def _start_over(seen: Observed, here: Rollout, now: datetime) -> Rollout | None:
    """Evidence that was collected under other steps answers another question."""
    candidate, steps = _candidate(here), _steps(seen)
    if not candidate.strata:
        return None
    if candidate.step < len(steps) and steps[candidate.step].weight == candidate.strata[-1].weight:
        return None
    fresh = CandidateStatus.model_validate(candidate.model_dump(include=set(RevisionRef.model_fields)))
    message = "spec.rollout.steps changed: the rollout starts over"
    entry = _entry("Started", candidate, now, message)
    there = _noted(replace(here, candidate=fresh), entry, Event("Started", f"{message}."))
    return there.says(Inference.ROLLING_OUT, message)


def _wait_for_routers(seen: Observed, here: Rollout, _now: datetime) -> Rollout | None:
    """Before the first request: every router must know healthy backends of the candidate."""
    candidate = _candidate(here)
    if candidate.strata:
        return None
    if not runs(seen, here.weights()):
        return here.says(Inference.STARTING, f"{candidate.version} is ready; {waits_for(seen)}")
    if not knows_backends(seen, candidate.revision):
        return here.says(Inference.STARTING, f"{candidate.version} is ready; routers do not see its pods yet")
    return None


def _take_over_at_once(seen: Observed, here: Rollout, now: datetime) -> Rollout | None:
    if _candidate(here).strata or ((steps := _steps(seen)) and steps[0].weight < FULL):
        return None
    return promoted(seen, here, now, "it answers the golden rows, and its rollout has no step below 100 %")


def _start_first_step(seen: Observed, here: Rollout, now: datetime) -> Rollout | None:
    return None if _candidate(here).strata else _stepped(seen, here, now, 0)


def _wait_for_weights(seen: Observed, here: Rollout, now: datetime) -> Rollout | None:
    """Requests count only from the moment at which every router splits by the step's weights."""
    candidate = _candidate(here)
    if candidate.step_since is not None:
        return None
    if not runs(seen, here.weights()):
        return here.says(Inference.ROLLING_OUT, f"{_place(seen, candidate)}: {waits_for(seen)}")
    marks = marks_of(seen.routers, seen.service.metadata.name, (candidate.revision, _stable(here).revision))
    begun = candidate.model_copy(update={"step_since": rfc3339(now), "marks": marks})
    return replace(here, candidate=begun).says(Inference.WAITING_FOR_EVIDENCE, _place(seen, begun))


def _obey_monitors(seen: Observed, here: Rollout, now: datetime) -> Rollout | None:
    said = monitors_order(seen.monitors, seen.reports, since=_candidate(here).since)
    if said is None or said.action != "Rollback":
        return None
    return refused(seen, here, now, Inference.ROLLED_BACK, said.message)


def _weigh(seen: Observed, here: Rollout, now: datetime) -> Rollout | None:
    """Read the evidence and act on the verdict."""
    there = _counted(seen, here)
    candidate, step = _candidate(there), _steps(seen)[_candidate(there).step]
    analysis = seen.service.spec.rollout.analysis
    said = judge(
        candidate.strata,
        alpha=analysis.alpha,
        margin=analysis.margin,
        min_requests=step.min_requests,
        needed=candidate.needed,
        clustered=seen.service.spec.traffic.sticky is not None,
    )
    there = replace(there, candidate=_judged(candidate, said, clustered=seen.service.spec.traffic.sticky is not None))
    if said.verdict == "Fail":
        return refused(seen, there, now, Inference.FAIL, said.sentence)
    order = monitors_order(seen.monitors, seen.reports, since=candidate.since)
    if order is not None:
        return _held(there, now, order)
    if said.verdict == "Pass":
        return _passed(seen, there, now, said)
    if _too_late(seen, candidate.step_since, now):
        return _undecided(seen, there, now, f"no verdict within {analysis.timeout}: {said.sentence}")
    return there.says(Inference.WAITING_FOR_EVIDENCE, f"{_place(seen, candidate)}: {said.sentence}")


def _passed(seen: Observed, here: Rollout, now: datetime, said: Judgement) -> Rollout:
    following = _candidate(here).step + 1
    steps = _steps(seen)
    if following >= len(steps) or steps[following].weight >= FULL:
        return promoted(seen, here, now, said.sentence)
    return _stepped(seen, here, now, following)


def _undecided(seen: Observed, here: Rollout, now: datetime, sentence: str) -> Rollout:
    if seen.service.spec.rollout.on_inconclusive == "Rollback":
        return refused(seen, here, now, Inference.INCONCLUSIVE, sentence)
    return _held(here, now, Order("Halt", f"{sentence}; spec.rollout.onInconclusive holds it here"))


_RULES: tuple[_Rule, ...] = (
    _refuse_broken,
    _wait_for_pods,
    _take_over_first,
    _start_over,
    _wait_for_routers,
    _take_over_at_once,
    _start_first_step,
    _wait_for_weights,
    _obey_monitors,
    _weigh,
)


# What happens.


def _started(here: Rollout, target: Target, now: datetime) -> Rollout:
    name = target.version.metadata.name
    candidate = CandidateStatus(
        revision=target.revision, version=name, digest=target.digest, number=target.number, since=rfc3339(now)
    )
    entry = _entry("Started", candidate, now, f"revision {target.revision} starts")
    event = Event("Started", f"Revision {target.revision} of {name} starts; it gets no traffic before it answers.")
    return _noted(replace(here, candidate=candidate), entry, event)


def _stepped(seen: Observed, here: Rollout, now: datetime, index: int) -> Rollout:
    """The next step, with the sample size it needs published before its first request."""
    candidate, step = _candidate(here), _steps(seen)[index]
    analysis, name = seen.service.spec.rollout.analysis, seen.service.metadata.name
    share = error_share(seen.routers, name, _stable(here).revision)
    needed = needed_requests(error_share=share, weight=step.weight, alpha=analysis.alpha, margin=analysis.margin)
    wants = f"about {max(needed, step.min_requests)} requests" if needed is not None else "no sample size is enough"
    message = f"{candidate.version} takes {step.weight} %; needed for a verdict: {wants} at an error share of {share:g}"
    there = candidate.model_copy(
        update={
            "step": index,
            "step_since": None,
            "needed": max(needed, step.min_requests) if needed is not None else None,
            "strata": [*candidate.strata, Stratum(weight=step.weight)],
            "marks": [],
            "verdict": None,
            "evidence": message,
        }
    )
    entry = _entry("Step", candidate, now, message)
    return _noted(replace(here, candidate=there), entry, Event("Step", f"{message}.")).says(
        Inference.ROLLING_OUT, message
    )


def promoted(seen: Observed, here: Rollout, now: datetime, why: str) -> Rollout:
    """The candidate takes over."""
    candidate = _candidate(here)
    stable = RevisionRef(
        revision=candidate.revision,
        version=candidate.version,
        digest=candidate.digest,
        number=candidate.number,
        ready_replicas=seen.ready_replicas(candidate.revision),
        since=rfc3339(now),
    )
    entry = _entry("Promoted", candidate, now, why)
    event = Event("Promoted", f"{candidate.version} takes all traffic: {why}.")
    return _noted(replace(here, stable=stable, candidate=None), entry, event)


def refused(seen: Observed, here: Rollout, now: datetime, reason: str, message: str) -> Rollout:
    """The candidate is refused, with the evidence; the stable revision has all traffic."""
    candidate = _candidate(here)
    entry = _entry("RolledBack", candidate, now, message)
    verdict = Rejected(
        revision=candidate.revision,
        version=candidate.version,
        reason=reason,
        message=message[:_TEXT],
        wish=wish_of(seen.service),
        at=rfc3339(now),
    )
    keeps = f"; {here.stable.version} keeps all traffic" if here.stable else ""
    event = Event("RolledBack", f"{candidate.version} is refused: {message}{keeps}.", "Warning")
    there = replace(here, candidate=None, rejected=(verdict, *here.rejected)[:_REJECTED])
    return _noted(there, entry, event).says(reason, message)


def _held(here: Rollout, now: datetime, order: Order) -> Rollout:
    candidate = _candidate(here)
    newest = here.history[0] if here.history else None
    if newest is None or newest.what != "Halted" or newest.revision != candidate.revision:
        event = Event("Halted", f"{candidate.version} is held at its step: {order.message}.", "Warning")
        here = _noted(here, _entry("Halted", candidate, now, order.message), event)
    return here.says(Inference.HALTED, order.message)


def _dropped(here: Rollout, now: datetime, why: str) -> Rollout:
    """Without its candidate and the evidence on it, if there was one."""
    if here.candidate is None:
        return here
    entry = _entry("RolledBack", here.candidate, now, f"dropped: {why}")
    event = Event("Dropped", f"Revision {here.candidate.revision} of {here.candidate.version} is dropped: {why}.")
    return _noted(replace(here, candidate=None), entry, event)


def _counted(seen: Observed, here: Rollout) -> Rollout:
    candidate = _candidate(here)
    stratum, marks = accumulated(candidate, seen.routers, seen.service.metadata.name, _stable(here).revision)
    strata = [*candidate.strata[:-1], stratum]
    return replace(here, candidate=candidate.model_copy(update={"strata": strata, "marks": marks}))


def _judged(candidate: CandidateStatus, said: Judgement, *, clustered: bool) -> CandidateStatus:
    unit = (
        "; requests are assigned by key, so evidence by request is weaker than it looks: let the margin be wide"
        if clustered
        else ""
    )
    return candidate.model_copy(update={"verdict": said.verdict, "evidence": f"{said.sentence}{unit}"[:_TEXT]})


# Small things.


def _noted(here: Rollout, entry: HistoryEntry, event: Event) -> Rollout:
    return replace(here, history=(entry, *here.history)[:_HISTORY], events=(*here.events, event))


def _entry(what: What, ref: RevisionRef, now: datetime, message: str) -> HistoryEntry:
    return HistoryEntry(at=rfc3339(now), what=what, revision=ref.revision, version=ref.version, message=message[:_TEXT])


def _steps(seen: Observed) -> list[Step]:
    rollout = seen.service.spec.rollout
    return [] if rollout.strategy == "Recreate" else rollout.steps


def _place(seen: Observed, candidate: CandidateStatus) -> str:
    total = len(_steps(seen))
    return f"{candidate.version} at {candidate.strata[-1].weight} % (step {candidate.step + 1} of {total})"


def _too_late(seen: Observed, since: str | None, now: datetime) -> bool:
    limit = timedelta(seconds=seconds(seen.service.spec.rollout.analysis.timeout))
    return since is not None and now - parse_time(since) >= limit


def _candidate(here: Rollout) -> CandidateStatus:
    if here.candidate is None:
        raise AssertionError("this rule is asked only while a candidate is under way")
    return here.candidate


def _stable(here: Rollout) -> RevisionRef:
    if here.stable is None:
        raise AssertionError("a candidate without a stable revision takes over at once")
    return here.stable
