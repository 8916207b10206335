"""From counters of router processes to evidence: deltas by process, so restarts lose and double nothing."""

from collections.abc import Iterable, Sequence
from typing import Literal

from gyre_crds.contracts.routing import Counter
from gyre_crds.v1alpha1.inference import CandidateStatus, CounterMark, InferenceService, Stratum
from gyre_operators.inference.observed import Router, counter

_MOST_MARKS = 256

Unit = Literal["Request", "Key"]


def unit_of(service: InferenceService) -> Unit:
    """What is one witness: a sticky key where there are keys."""
    return "Key" if service.spec.traffic.sticky is not None else "Request"


def marks_of(routers: Sequence[Router], service: str, revisions: tuple[str, str], unit: Unit) -> list[CounterMark]:
    """The counters as they stand now, for every router process that answers."""
    marks = []
    for router in routers:
        for revision in revisions:
            count = counter(router, service, revision)
            if count is not None and router.counters is not None:
                requests, errors = _assigned(count, unit)
                processes = router.counters.processes
                marks.append(
                    CounterMark(
                        pod=_process(router), revision=revision, requests=requests, errors=errors, processes=processes
                    )
                )
    return marks[:_MOST_MARKS]


def accumulated(
    candidate: CandidateStatus, routers: Sequence[Router], service: str, stable: str
) -> tuple[Stratum, list[CounterMark]]:
    """The stratum under way with what was counted since the marks, and the new marks.

    A router process that is seen for the first time only sets its mark: how much of its count belongs
    to this step is unknown, and lost evidence is not wrong evidence. One that does not answer now
    keeps its marks for later.
    """
    revisions, unit = (candidate.revision, stable), candidate.strata[-1].unit
    before = {(mark.pod, mark.revision): mark for mark in candidate.marks}
    now = marks_of(routers, service, revisions, unit)
    gained = dict.fromkeys(revisions, (0, 0))
    for mark in now:
        was = before.get((mark.pod, mark.revision))
        if was is not None:
            requests, errors = gained[mark.revision]
            gained[mark.revision] = (
                requests + max(mark.requests - was.requests, 0),
                errors + max(mark.errors - was.errors, 0),
            )
    seen = {(mark.pod, mark.revision) for mark in now}
    silent = {router.pod for router in routers if router.counters is None}
    kept = [m for m in candidate.marks if (m.pod, m.revision) not in seen and m.pod.split("/")[0] in silent]
    stratum = candidate.strata[-1]
    return stratum.model_copy(
        update={
            "processes": stratum.processes + started(before.values(), now) if unit == "Key" else 0,
            "candidate_requests": stratum.candidate_requests + gained[candidate.revision][0],
            "candidate_errors": stratum.candidate_errors + gained[candidate.revision][1],
            "stable_requests": stratum.stable_requests + gained[stable][0],
            "stable_errors": stratum.stable_errors + gained[stable][1],
        }
    ), [*now, *kept][:_MOST_MARKS]


def started(before: Iterable[CounterMark], now: Iterable[CounterMark]) -> int:
    """Router processes that count since the marks before."""
    known, met = _processes(before), _processes(now)
    return sum(max(count - known.get(pod, 0), 0) for pod, count in met.items())


def _processes(marks: Iterable[CounterMark]) -> dict[str, int]:
    return {mark.pod: mark.processes for mark in marks}


def error_share(routers: Sequence[Router], service: str, revision: str, unit: Unit) -> float:
    """The revision's share of failed requests (keys) over the life of the router processes, for planning sizes."""
    counts = [count for router in routers if (count := counter(router, service, revision)) is not None]
    requests, errors = (sum(part) for part in zip((0, 0), *(_assigned(one, unit) for one in counts), strict=True))
    return errors / requests if requests else 0.0


def _assigned(count: Counter, unit: Unit) -> tuple[int, int]:
    """Requests (keys) that the split assigned, and errors of these.

    Who asks for a revision by header or path is no random sample: a tester's broken requests would
    refuse a good candidate, and a health check's easy ones would pass a bad one.
    """
    if unit == "Key":
        return count.keys, count.failed_keys
    return count.requests - count.directed, count.errors - count.directed_errors


def _process(router: Router) -> str:
    """`<pod>/<epoch>` of the process whose counters these are; the pod is the operator's name for it."""
    return f"{router.pod}/{router.counters.epoch}" if router.counters is not None else router.pod
