"""What may happen in a rollout, each with its line of history and its event. Pure."""

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
    Shadow,
    Step,
    Stratum,
)
from gyre_operators.engine.clock import parse_time, rfc3339
from gyre_operators.engine.plan import Event
from gyre_operators.inference.counting import accumulated, error_share, unit_of
from gyre_operators.inference.halting import Order
from gyre_operators.inference.observed import Observed
from gyre_operators.inference.revision import Target, wish_of
from gyre_operators.inference.verdict import Judgement, needed_requests

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

    @property
    def moving(self) -> CandidateStatus:
        """The candidate, for rules that are asked only while one is under way."""
        if self.candidate is None:
            raise AssertionError("no candidate is under way")
        return self.candidate

    @property
    def serving(self) -> RevisionRef:
        """The stable revision, for rules that come after the first take-over."""
        if self.stable is None:
            raise AssertionError("nothing serves yet")
        return self.stable

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


def started(here: Rollout, target: Target, now: datetime) -> Rollout:
    """The target is candidate now, without any traffic."""
    name = target.version.metadata.name
    candidate = CandidateStatus(
        revision=target.revision, version=name, digest=target.digest, number=target.number, since=rfc3339(now)
    )
    entry = entry_of("Started", candidate, now, f"revision {target.revision} starts")
    event = Event("Started", f"Revision {target.revision} of {name} starts; it gets no traffic before it answers.")
    return noted(replace(here, candidate=candidate), entry, event)


def stepped(seen: Observed, here: Rollout, now: datetime, index: int) -> Rollout:
    """The next step, with the sample size it needs published before its first request."""
    candidate, step = here.moving, steps_of(seen)[index]
    analysis, name = seen.service.spec.rollout.analysis, seen.service.metadata.name
    unit = unit_of(seen.service)
    share = error_share(seen.routers, name, here.serving.revision, unit)
    needed = needed_requests(error_share=share, weight=step.weight, alpha=analysis.alpha, margin=analysis.margin)
    if needed is not None and unit == "Key":
        needed *= max(sum(router.counters.processes for router in seen.routers if router.counters is not None), 1)
    what = "keys" if unit == "Key" else "requests"
    wants = f"about {max(needed, step.min_requests)} {what}" if needed is not None else "no sample size is enough"
    message = f"{candidate.version} takes {step.weight} %; needed for a verdict: {wants} at an error share of {share:g}"
    there = candidate.model_copy(
        update={
            "step": index,
            "step_since": None,
            "needed": max(needed, step.min_requests) if needed is not None else None,
            "strata": [*candidate.strata, Stratum(weight=step.weight, unit=unit)],
            "marks": [],
            "verdict": None,
            "evidence": message,
        }
    )
    entry = entry_of("Step", candidate, now, message)
    return noted(replace(here, candidate=there), entry, Event("Step", f"{message}.")).says(
        Inference.ROLLING_OUT, message
    )


def promoted(seen: Observed, here: Rollout, now: datetime, why: str) -> Rollout:
    """The candidate takes over."""
    candidate = here.moving
    stable = RevisionRef(
        revision=candidate.revision,
        version=candidate.version,
        digest=candidate.digest,
        number=candidate.number,
        ready_replicas=seen.ready_replicas(candidate.revision),
        since=rfc3339(now),
    )
    entry = entry_of("Promoted", candidate, now, why)
    event = Event("Promoted", f"{candidate.version} takes all traffic: {why}.")
    return noted(replace(here, stable=stable, candidate=None), entry, event)


def refused(seen: Observed, here: Rollout, now: datetime, reason: str, message: str) -> Rollout:
    """The candidate is refused, with the evidence; the stable revision has all traffic."""
    candidate = here.moving
    entry = entry_of("RolledBack", candidate, now, message)
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
    return noted(there, entry, event).says(reason, message)


def held(here: Rollout, now: datetime, order: Order) -> Rollout:
    """The candidate stays where it is; said once."""
    candidate = here.moving
    newest = here.history[0] if here.history else None
    if newest is None or newest.what != "Halted" or newest.revision != candidate.revision:
        event = Event("Halted", f"{candidate.version} is held at its step: {order.message}.", "Warning")
        here = noted(here, entry_of("Halted", candidate, now, order.message), event)
    return here.says(Inference.HALTED, order.message)


def undecided(seen: Observed, here: Rollout, now: datetime, sentence: str) -> Rollout:
    """No verdict in time: back, or held where it is, as the spec says."""
    if seen.service.spec.rollout.on_inconclusive == "Rollback":
        return refused(seen, here, now, Inference.INCONCLUSIVE, sentence)
    return held(here, now, Order("Halt", f"{sentence}; spec.rollout.onInconclusive holds it here"))


def too_late(seen: Observed, since: str | None, now: datetime) -> bool:
    """Whether the analysis' timeout has passed since then."""
    limit = timedelta(seconds=seconds(seen.service.spec.rollout.analysis.timeout))
    return since is not None and now - parse_time(since) >= limit


def dropped(here: Rollout, now: datetime, why: str) -> Rollout:
    """Without its candidate and the evidence on it, if there was one."""
    if here.candidate is None:
        return here
    entry = entry_of("RolledBack", here.candidate, now, f"dropped: {why}")
    event = Event("Dropped", f"Revision {here.candidate.revision} of {here.candidate.version} is dropped: {why}.")
    return noted(replace(here, candidate=None), entry, event)


def counted(seen: Observed, here: Rollout) -> Rollout:
    """With what the routers counted since the last look."""
    candidate = here.moving
    stratum, marks = accumulated(candidate, seen.routers, seen.service.metadata.name, here.serving.revision)
    strata = [*candidate.strata[:-1], stratum]
    return replace(here, candidate=candidate.model_copy(update={"strata": strata, "marks": marks}))


def judged(candidate: CandidateStatus, said: Judgement) -> CandidateStatus:
    """The candidate with its verdict and the evidence as a sentence."""
    by_request = candidate.strata[-1].unit == "Request"
    unit = "; this is evidence by request: spec.traffic.sticky makes it one by caller" if by_request else ""
    return candidate.model_copy(update={"verdict": said.verdict, "evidence": f"{said.sentence}{unit}"[:_TEXT]})


def noted(here: Rollout, entry: HistoryEntry, event: Event) -> Rollout:
    """With one more line of history, and its event."""
    return replace(here, history=(entry, *here.history)[:_HISTORY], events=(*here.events, event))


def entry_of(what: What, ref: RevisionRef, now: datetime, message: str) -> HistoryEntry:
    """One line of history."""
    return HistoryEntry(at=rfc3339(now), what=what, revision=ref.revision, version=ref.version, message=message[:_TEXT])


def steps_of(seen: Observed) -> list[Step]:
    """The steps of the rollout; Recreate has none, nor has a comparison that is enough."""
    rollout = seen.service.spec.rollout
    shadow = rollout.shadow or Shadow()
    if rollout.strategy == "Recreate" or (rollout.strategy == "Shadow" and shadow.then == "Promote"):
        return []
    return rollout.steps


def place(seen: Observed, candidate: CandidateStatus) -> str:
    """How far the candidate is, as a clause."""
    total = len(steps_of(seen))
    return f"{candidate.version} at {candidate.strata[-1].weight} % (step {candidate.step + 1} of {total})"
