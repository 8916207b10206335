"""The three-way verdict on a candidate: pass, fail, or not yet known.

FAIL: over all strata together (e-values of requests are multiplied, of keys averaged) the candidate is proven
to err more often than the concurrent stable revision, at level alpha, and its excess of errors is
beyond the margin. A candidate that errs no more often is refused with a chance of at most alpha over
the whole rollout, however often one looks.

PASS: within the step under way alone the excess is proven to be below the margin, at level alpha.
A later step starts afresh, since a fault under load shows only there.

A stratum is one step's counts under one pair of weights; pooling strata of different weights would
mix hours with shares (Simpson's paradox), so nothing here adds them up.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import exp, log, sqrt
from typing import Literal

from gyre_crds.v1alpha1.inference import Stratum
from gyre_operators.inference.evidence import log_mismatch, log_within, log_worse

Verdict = Literal["Pass", "Fail", "Inconclusive"]

MISMATCH_LEVEL = 0.001
"""Chance of calling a healthy split of the traffic broken."""

_FULL = 100
_MOST_NEEDED = 10_000_000
_EIGHTY_PERCENT = 0.8416
"""Normal quantile: a candidate as good as the stable one passes with about this chance at `needed`."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict and its numbers."""

    verdict: Verdict
    sentence: str
    numbers: dict[str, float] = field(default_factory=dict)


def judge(
    strata: Sequence[Stratum],
    *,
    alpha: float,
    margin: float,
    min_requests: int = 0,
    needed: int | None = None,
) -> Judgement:
    """The verdict on the evidence so far; the last stratum is that of the step under way.

    Args:
        strata: counts of both revisions, one stratum a step.
        alpha: level of each side.
        margin: error share by which the candidate may be worse.
        min_requests: requests the candidate must have answered in this step at least.
        needed: the published sample size, for the sentence.
    """
    compared = [stratum for stratum in strata if 0 < stratum.weight < _FULL]
    if not compared:
        return Judgement("Inconclusive", "no requests under both revisions yet")
    now = compared[-1]
    numbers = _numbers(compared, now, margin)
    if numbers["logMismatch"] > -log(MISMATCH_LEVEL):
        return Judgement("Inconclusive", _mismatch(now), numbers)
    counts = _counts(now)
    if numbers["logWorse"] >= -log(alpha) and numbers["excess"] > margin:
        return Judgement("Fail", f"{counts}: worse at level {alpha:g} and beyond the margin {margin:g}", numbers)
    if numbers["logWithin"] >= -log(alpha) and now.candidate_requests >= min_requests:
        return Judgement("Pass", f"{counts}: an excess below {margin:g} is proven at level {alpha:g}", numbers)
    return Judgement("Inconclusive", f"{counts}: {_open(now, min_requests, needed)}", numbers)


def needed_requests(*, error_share: float, weight: int, alpha: float, margin: float) -> int | None:
    """Requests the candidate needs in a step to pass, if it is as good as the stable revision.

    Without errors this is the exact number; with an error share it suffices in about 80 % of
    rollouts. None when ten million are not enough, or the step has no concurrent baseline.
    """
    if not 0 < weight < _FULL:
        return None

    def passes(requests: int) -> bool:
        beside = requests * (_FULL - weight) / weight
        unlucky = _EIGHTY_PERCENT * sqrt(requests * error_share * (1 - error_share))
        errors = min(requests * error_share + unlucky, float(requests))
        return log_within((requests, errors), (beside, beside * error_share), margin) >= -log(alpha)

    high = 16
    while not passes(high):
        high *= 2
        if high > _MOST_NEEDED:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if passes(middle) else (middle, high)
    return high


def excess(strata: Sequence[Stratum]) -> float:
    """The candidate's excess error share, strata weighted by their information (Mantel-Haenszel)."""
    total = weights = 0.0
    for s in strata:
        if s.candidate_requests and s.stable_requests:
            weight = s.candidate_requests * s.stable_requests / (s.candidate_requests + s.stable_requests)
            gap = s.candidate_errors / s.candidate_requests - s.stable_errors / s.stable_requests
            total, weights = total + weight * gap, weights + weight
    return total / weights if weights else 0.0


def _numbers(strata: Sequence[Stratum], now: Stratum, margin: float) -> dict[str, float]:
    part = _part(now)
    candidate = (now.candidate_requests * part, now.candidate_errors * part)
    stable = (now.stable_requests * part, now.stable_errors * part)
    return {
        "logMismatch": log_mismatch(candidate[0], stable[0], now.weight / _FULL),
        "logWorse": _log_worse(strata),
        "logWithin": log_within(candidate, stable, margin),
        "excess": excess(strata),
    }


def _part(stratum: Stratum) -> float:
    """What a count weighs. A key that several router processes met may stand in the counts of each.

    A geometric mean of e-values is one however they depend on one another (Hölder), and it is what
    counts divided by the number of processes give.
    """
    return 1 / max(stratum.processes, 1) if stratum.unit == "Key" else 1.0


def _log_worse(strata: Sequence[Stratum]) -> float:
    """All strata together: requests of different steps are independent, and e-values of such are multiplied.

    Keys come again in the next step, on the same side: of e-values that depend on one another only the
    mean is one.
    """
    logs = [log_worse(s.candidate_errors * _part(s), s.stable_errors * _part(s), s.weight / _FULL) for s in strata]
    if strata[-1].unit == "Request":
        return sum(logs)
    top = max(logs)
    return top + log(sum(exp(one - top) for one in logs) / len(logs))


def _counts(now: Stratum) -> str:
    return (
        f"at {now.weight} % the candidate failed {now.candidate_errors} of {now.candidate_requests} {_what(now)}, "
        f"the stable revision {now.stable_errors} of {now.stable_requests}"
        f"{f', counted by {now.processes} router processes' if now.processes > 1 else ''}"
    )


def _what(now: Stratum) -> str:
    return "keys" if now.unit == "Key" else "requests"


def _open(now: Stratum, min_requests: int, needed: int | None) -> str:
    if now.candidate_requests < min_requests:
        return f"the step wants {min_requests} {_what(now)} at least"
    if needed is not None and now.candidate_requests < needed:
        return f"about {needed} are needed"
    return "the evidence does not decide yet"


def _mismatch(now: Stratum) -> str:
    total = now.candidate_requests + now.stable_requests
    share = _FULL * now.candidate_requests / total if total else 0.0
    return (
        f"the candidate got {share:.1f} % of {total} requests instead of {now.weight} %: "
        "the split is broken, so errors are not compared; look at the router's ejected backends"
    )


def strength(log_evidence: float) -> float:
    """Evidence as a readable factor, capped so that it stays a finite number."""
    return round(exp(min(log_evidence, 50.0)), 3)
