"""When to retrain: Gyre's own rule, driven through the operator's functions, and what others do."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from statistics import NormalDist

import numpy as np

from gyre_crds.base import seconds
from gyre_crds.v1alpha1.drift import Window
from gyre_crds.v1alpha1.model import Decision, Retraining
from gyre_operators.engine.clock import rfc3339
from gyre_operators.model.decide import decide
from gyre_operators.model.evidence import Evidence, Later, first_alarm
from gyre_operators.model.learned import expected
from gyre_operators.model.terms import Situation
from tests.bench.retraining_world import DELAY, TRAINED, Bools, Floats, Losses, World, labelled, training

HORIZON = 15
"""Batches over which a point won counts."""
ASSUMED = 0.02
"""Points a day, for the column that assumes a decay."""
DAY = timedelta(days=1)
_START = datetime(2026, 1, 1, tzinfo=UTC)
_LEVEL = 0.008
"""One-sided error of a look's bounds: what a monitor of the default falseAlarmRate gives the labels."""
_BACK = round(seconds(Window().labels_back) / DAY.total_seconds())
_NORMAL = NormalDist()
_GATE = _NORMAL.inv_cdf(0.95)


@dataclass
class Course:
    """One policy's way through one world."""

    world: World
    losses: Losses
    cost: float
    """Of one retraining, in units of the loss of one batch."""
    version: int = 0
    since: int = TRAINED
    """First batch that the version served."""
    trained: list[int] = field(default_factory=list)
    looks: list[Evidence] = field(default_factory=list)
    paid: list[tuple[int, int, Mapping[str, float]]] = field(default_factory=list)
    """Retrainings by Gyre's rule: when, of which version, and the arithmetic."""

    def cohort(self, batch: int, back: int) -> range:
        """Labelled batches that the version served, at most so many windows back."""
        return range(max(self.since, batch + 1 - back), batch - DELAY + 1)

    def wrong(self, batches: Sequence[int]) -> Floats:
        """Which rows of some batches the version got wrong."""
        rows = self.losses.wrong[self.version]
        return np.concatenate([rows[one] for one in batches]).astype(np.float64) if batches else np.empty(0)


Policy = Callable[[Course, int], bool]
"""Whether to retrain at the end of a batch."""


def run(world: World, losses: Losses, policy: Policy, cost: float) -> tuple[float, int]:
    """Total cost (losses and retrainings) and the number of retrainings."""
    course = Course(world, losses, cost)
    total = 0.0
    for batch in range(TRAINED, len(world.features)):
        total += losses.expected[course.version, batch]
        if batch + 1 < len(world.features) and policy(course, batch):
            course.version, course.since = batch, batch + 1
            course.trained.append(batch)
    return total + cost * len(course.trained), len(course.trained)


def oracle(losses: Losses, cost: float) -> float:
    """The least total cost with all losses known, by dynamic programming over the version that serves."""
    batches = losses.expected.shape[1]
    least = {0: float(losses.expected[0, TRAINED])}
    for batch in range(TRAINED + 1, batches):
        fresh = min(least.values()) + cost
        least[batch - 1] = min(least.get(batch - 1, np.inf), fresh)
        least = {version: spent + float(losses.expected[version, batch]) for version, spent in least.items()}
    return min(least.values())


# What others do.


def never(_course: Course, _batch: int) -> bool:
    """The first version serves for ever."""
    return False


def every(period: int) -> Policy:
    """By the calendar."""
    return lambda _course, batch: (batch - TRAINED + 1) % period == 0


def drift_share(course: Course, batch: int) -> bool:
    """At least half of the inputs differ from those that trained, by Kolmogorov and Smirnov at 5 %."""
    chosen = training(course.version, course.losses.history)
    trained = np.concatenate([course.world.features[one] for one in chosen])
    return share_moved(trained, course.world.features[batch]) >= 0.5


def accuracy_drop(course: Course, batch: int) -> bool:
    """The newest labelled batch is more than two points worse than the rows held out of training."""
    known = course.cohort(batch, DELAY + 1)
    if not known:
        return False
    return float(course.wrong(known).mean()) - float(course.losses.held[course.version].mean()) > 0.02


def share_moved(before: Floats, now: Floats) -> float:
    """Share of columns whose two-sample Kolmogorov-Smirnov distance exceeds its 5 % line."""
    line = 1.358 * np.sqrt(1 / len(before) + 1 / len(now))
    return float(np.mean([_distance(before[:, one], now[:, one]) > line for one in range(before.shape[1])]))


def _distance(before: Floats, now: Floats) -> float:
    both = np.concatenate([before, now])
    sides = [np.searchsorted(np.sort(one), both, side="right") / one.size for one in (before, now)]
    return float(np.abs(sides[0] - sides[1]).max())


# Ours.


def gyre(assumed_decay: float = 0.0) -> Policy:
    """One look at each batch, one decision on each look; batches are days and other settings are defaults."""
    return lambda course, batch: _gyre(course, batch, assumed_decay)


def _gyre(course: Course, batch: int, assumed_decay: float) -> bool:
    policy = Decision(
        cost_per_run=course.cost,
        benefit_per_point=HORIZON / 100,
        horizon=f"{HORIZON}d",
        min_labels=TRAINED * course.world.rows,
        assumed_decay=assumed_decay,
    )
    look = _look(course, batch)
    last = course.trained[-1] if course.trained else None
    situation = Situation(
        now=look.end,
        policy=policy,
        earlier=tuple(course.looks),
        last_training=_at(last + 1) if last is not None else None,
        trained=_at(last + 1) if last is not None else _at(TRAINED),
        maturity=DELAY * DAY,
        learned=expected(_gains(course, batch), assumed_decay),
    )
    course.looks.append(look)
    said = decide(look, situation)
    if said.action == "Retrain":
        course.paid.append((batch, course.version, said.arithmetic))
    return said.action == "Retrain"


def _gains(course: Course, now: int) -> list[Retraining]:
    """What the champion gate has measured by now of each retraining."""
    return [_gain(course, *one) for one in course.paid if one[0] + DELAY <= now]


def _gain(course: Course, batch: int, before: int, numbers: Mapping[str, float]) -> Retraining:
    """Both versions on identical rows: those of the batches whose labels were not known when the new one trained."""
    rows = course.losses.wrong
    better = np.concatenate([
        rows[before][one].astype(np.float64) - rows[batch][one] for one in range(labelled(batch) + 1, batch + 1)
    ])  # fmt: skip
    mean, reach = float(better.mean()), _GATE * float(better.std() / np.sqrt(better.size))
    return Retraining(
        version=f"v{batch}",
        at=rfc3339(_at(batch + 1)),
        lost=numbers["gap"],
        lost_lower=numbers["gapLower"],
        gain=100 * mean,
        gain_lower=100 * (mean - reach),
        gain_upper=100 * (mean + reach),
        age_days=numbers["ageDays"],
    )


def _look(course: Course, batch: int) -> Evidence:
    known = course.cohort(batch, _BACK)
    wrong, held = course.wrong(known), course.losses.held[course.version]
    plain = Evidence(
        report=f"look-{batch}",
        verdict="Healthy",
        start=_at(batch),
        end=_at(batch + 1),
        version=f"v{course.version}",
        labels=wrong.size,
        reference=1 - float(held.mean()),
    )
    if not known:
        return replace(plain, verdict="CovariateShift" if drift_share(course, batch) else "Healthy")
    gap = float(wrong.mean() - held.mean())
    error = float(np.hypot(wrong.std() / np.sqrt(wrong.size), held.std() / np.sqrt(held.size)))
    lower = gap - _NORMAL.inv_cdf(1 - _LEVEL) * error
    look = replace(plain, gap=gap, lower=lower, since=_at(known[0]))
    if lower <= 0:
        return replace(look, verdict="CovariateShift" if drift_share(course, batch) else "Healthy")
    look = replace(look, verdict="PerformanceLoss")
    first = first_alarm(look, course.looks)
    later = [one for one in known if first is not None and _at(one) >= first.end - DELAY * DAY]
    return replace(look, later=_later(course.wrong(later), held, first.end)) if first and later else look


def _later(wrong: Floats, held: Bools, after: datetime) -> Later:
    gap = float(wrong.mean() - held.mean())
    error = float(np.hypot(wrong.std() / np.sqrt(wrong.size), held.std() / np.sqrt(held.size)))
    return Later(gap, gap - _NORMAL.inv_cdf(1 - _LEVEL) * error, wrong.size, after)


def _at(batch: int) -> datetime:
    return _START + batch * DAY


POLICIES: dict[str, Policy] = {
    "never": never,
    "every 5": every(5),
    "every 15": every(15),
    "drift share": drift_share,
    "accuracy drop": accuracy_drop,
    "Gyre": gyre(),
    f"Gyre, {ASSUMED} assumed": gyre(ASSUMED),
}
