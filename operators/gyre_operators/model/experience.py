"""What past retrainings let expect of the next one, beside what labels show of the version now. Pure.

    by age   = points won per day of age x days since the last training
    expected = by age, weighed with what labels show, each by how sure it is

A retraining's gain is the champion gate's, so nothing here rests on inputs that move. Without a measured
retraining there is no experience: the first needs labels that prove a loss.
"""

from dataclasses import dataclass
from datetime import timedelta
from math import isfinite

from gyre_operators.model.evidence import Evidence
from gyre_operators.model.terms import Situation

_DAY = 86_400.0
_REACH = 2.4
"""Standard errors from a gap to its lower bound, at a monitor's default falseAlarmRate."""
_MISSED = 200.0
"""Labels that should have come of a version whose looks count none, from which on none are expected any more.

A look that has fewer than a hundred says nothing of them.
"""


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a training now is expected to win."""

    points: float
    by_age: float
    """What experience alone says."""
    shown: float | None
    """What labels alone say; None while the version has none."""
    labels: float
    """New labels since the last training, as far as is known."""
    unit: float
    """Points of one unit of the metric."""


def expectation(look: Evidence, situation: Situation, share: float, days: float) -> Expectation | None:
    """What a training is expected to win, `days` after the last; None where no retraining has won anything.

    `share` of a gap that labels show can be won back.

    Experience is as sure as it is large: drift comes in bursts, so its standard deviation is its own size.
    """
    before = sorted((one for one in situation.earlier if one.end <= look.end), key=lambda e: e.end, reverse=True)
    judged = [one for one in (look, *before) if one.labels > 0]
    by_age = max(situation.learned.per_day, 0.0) * days
    if not judged or by_age <= 0 or not isfinite(by_age):
        return None
    shown, spread = _shown(look, share)
    expected = by_age if shown is None else _weighed((by_age, by_age), (shown, spread))
    return Expectation(max(expected, 0.0), by_age, shown, _new(look, judged[0], situation, days), judged[0].points(1.0))


def _new(look: Evidence, judged: Evidence, situation: Situation, days: float) -> float:
    """Labels since the last training: those that are known, or as many as came in when a look last had some."""
    rate, rollout = _per_day(judged, situation.maturity), situation.rollout
    if look.labels <= 0 and rollout is not None and rollout.version == look.version:
        due = (look.end - rollout.at - situation.maturity).total_seconds() / _DAY
        if rate * due >= _MISSED:
            return 0.0  # nobody labels any more, so that nothing new could be learned
    return max(float(look.labels), rate * days)


def _shown(look: Evidence, share: float) -> tuple[float | None, float]:
    """What can be won back of the measured gap, and its standard deviation, in points."""
    if look.gap is None or look.lower is None or look.labels <= 0:
        return None, 0.0
    return share * look.points(look.gap), share * look.points(look.gap - look.lower) / _REACH


def _weighed(one: tuple[float, float], other: tuple[float, float]) -> float:
    """The mean of two estimates, each weighing by its precision."""
    ours, theirs = one[1] ** 2, other[1] ** 2
    return (one[0] * theirs + other[0] * ours) / (ours + theirs) if ours + theirs > 0 else other[0]


def _per_day(look: Evidence, maturity: timedelta) -> float:
    """Labels a day over the time from which rows had labels; the newest rows are too young for theirs."""
    if look.since is None:
        return 0.0
    span = max(look.end - look.since - maturity, look.end - look.start, timedelta(seconds=1))
    return look.labels * _DAY / span.total_seconds()
