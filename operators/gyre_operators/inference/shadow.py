"""Strategy Shadow: a candidate proves that it answers copies of the traffic as the stable revision does. Pure.

A copy that differs or fails is an error; an e-process over their number may be looked at any time. A
candidate whose agreement is as high as asked is refused, and one whose agreement is lower passes, with a
chance of at most alpha each.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from math import log

from gyre_crds import names
from gyre_crds.contracts.routing import Comparison
from gyre_crds.reasons import Inference
from gyre_crds.v1alpha1.inference import ComparisonMark, Mirror, Shadow, ShadowStatus
from gyre_operators.engine.clock import rfc3339
from gyre_operators.engine.plan import Event
from gyre_operators.inference.evidence import log_other
from gyre_operators.inference.moves import Rollout, entry_of, noted, refused, too_late, undecided
from gyre_operators.inference.observed import Observed, Router
from gyre_operators.inference.routing import route_of
from gyre_operators.inference.verdict import Judgement

_MOST_MARKS = 64
_MOST_NEEDED = 10_000_000
_TEXT = 1024


def begin_copies(seen: Observed, here: Rollout, now: datetime) -> Rollout | None:
    """Copies count from the moment at which every router sends them; asked after all of them know the backends."""
    candidate, rollout = here.moving, seen.service.spec.rollout
    if rollout.strategy != "Shadow" or candidate.strata or candidate.shadow is not None:
        return None
    route = route_of(seen)
    if route is None or route.mirror is None or route.mirror.revision != candidate.revision:
        return here.says(Inference.STARTING, f"{candidate.version} is ready; the routing table does not mirror yet")
    asked = rollout.shadow or Shadow()
    needed = needed_copies(asked, rollout.analysis.alpha)
    status = ShadowStatus(
        against=_against(seen, here),
        since=rfc3339(now),
        needed=needed,
        marks=_marks(seen, here),
    )
    wants = f"about {needed} copies are needed" if needed is not None else "no number of copies is enough"
    message = f"{candidate.version} answers copies of the traffic; {wants} for an agreement of {asked.agreement:.4g}"
    entry, event = entry_of("Step", candidate, now, message), Event("Shadow", f"{message}.")
    there = replace(here, candidate=candidate.model_copy(update={"shadow": status}))
    return noted(there, entry, event).says(Inference.WAITING_FOR_EVIDENCE, message)


def weigh_copies(seen: Observed, here: Rollout, now: datetime) -> Rollout | None:
    """Read the comparison and act on its verdict; a pass leads on to the steps, or to all traffic."""
    candidate, rollout = here.moving, seen.service.spec.rollout
    told = candidate.shadow
    if rollout.strategy != "Shadow" or candidate.strata or told is None or told.verdict == "Pass":
        return None
    if told.against != _against(seen, here):
        message = "the stable revision or the tolerance changed: the comparison starts anew"
        there = replace(here, candidate=candidate.model_copy(update={"shadow": None}))
        return there.says(Inference.STARTING, message)
    counted = _counted(told, _marks(seen, here), seen.routers)
    said = judge_copies(counted, rollout.shadow or Shadow(), rollout.analysis.alpha)
    judged = counted.model_copy(update={"verdict": said.verdict, "evidence": said.sentence[:_TEXT]})
    there = replace(here, candidate=candidate.model_copy(update={"shadow": judged}))
    if said.verdict == "Fail":
        return refused(seen, there, now, Inference.FAIL, said.sentence)
    if said.verdict == "Pass":
        entry, event = entry_of("Step", candidate, now, said.sentence), Event("Shadow", f"{said.sentence}.")
        return noted(there, entry, event).says(Inference.PASS, said.sentence)
    if too_late(seen, told.since, now):
        why = f"no verdict on copies within {rollout.analysis.timeout}: {said.sentence}"
        return undecided(seen, there, now, why)
    return there.says(Inference.WAITING_FOR_EVIDENCE, f"{candidate.version} answers copies: {said.sentence}")


def judge_copies(told: ShadowStatus, asked: Shadow, alpha: float) -> Judgement:
    """The verdict on the copies so far."""
    wrong = told.differed + told.failed
    total = told.agreed + wrong
    text = f"{told.agreed} of {total} copies were answered alike, {told.differed} otherwise, {told.failed} failed"
    decided = total > 0 and log_other(wrong, total, 1 - asked.agreement) >= -log(alpha)
    if decided and told.agreed < asked.agreement * total:
        return Judgement("Fail", f"{text}: an agreement below {asked.agreement:.4g} is proven at level {alpha:g}")
    if decided and total >= asked.min_compared:
        return Judgement("Pass", f"{text}: an agreement above {asked.agreement:.4g} is proven at level {alpha:g}")
    return Judgement("Inconclusive", f"{text}: {_open(told, total)}")


def needed_copies(asked: Shadow, alpha: float) -> int | None:
    """Copies that prove the agreement if all of them agree; None where ten million are not enough."""

    def proves(copies: int) -> bool:
        return log_other(0, copies, 1 - asked.agreement) >= -log(alpha)

    low, high = 0, 1
    while not proves(high):
        low, high = high, high * 2
        if high > _MOST_NEEDED:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if proves(middle) else (middle, high)
    return max(high, asked.min_compared)


def _open(told: ShadowStatus, total: int) -> str:
    lost = f"; {told.dropped} were dropped or cannot be compared" if told.dropped else ""
    if told.needed is not None and total < told.needed:
        return f"about {told.needed} are needed{lost}"
    return f"the evidence does not decide yet{lost}"


def _against(seen: Observed, here: Rollout) -> str:
    """What the comparison rests on."""
    tolerance = (seen.service.spec.traffic.mirror or Mirror()).tolerance
    return f"{here.serving.revision}/{names.short_hash(tolerance.model_dump_json(), length=8)}"


def _marks(seen: Observed, here: Rollout) -> list[ComparisonMark]:
    """The pair's counts as they stand now, for every router process that answers."""
    pair = (here.serving.revision, here.moving.revision)
    return [
        ComparisonMark(
            pod=f"{router.pod}/{router.counters.epoch}",
            agreed=found.agreed,
            differed=found.differed,
            failed=found.failed,
            dropped=found.dropped + found.skipped,
        )
        for router in seen.routers
        if router.counters is not None
        for found in [_pair(router.counters.comparisons.get(seen.service.metadata.name, []), pair)]
    ][:_MOST_MARKS]


def _pair(known: Sequence[Comparison], pair: tuple[str, str]) -> Comparison:
    found = (one for one in known if (one.primary, one.shadow) == pair)
    return next(found, Comparison(primary=pair[0], shadow=pair[1]))


_COUNTS = ("agreed", "differed", "failed", "dropped")


def _counted(told: ShadowStatus, now: list[ComparisonMark], routers: Sequence[Router]) -> ShadowStatus:
    """With what was compared since the marks; a process that is new here only sets its mark, as with requests."""
    before = {mark.pod: mark for mark in told.marks}
    known = [(before[mark.pod], mark) for mark in now if mark.pod in before]
    totals = {
        name: getattr(told, name) + sum(max(getattr(mark, name) - getattr(was, name), 0) for was, mark in known)
        for name in _COUNTS
    }
    silent = {router.pod for router in routers if router.counters is None}
    kept = [mark for mark in told.marks if mark.pod.split("/")[0] in silent]
    return told.model_copy(update={**totals, "marks": [*now, *kept][:_MOST_MARKS]})
