"""The loss that labels prove, and whether a moved input explains it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from gyre_crds.contracts.profile import ColumnProfile, Profile
from gyre_crds.v1alpha1.common import Objective
from gyre_monitoring.labels import LABEL, Labelled
from gyre_monitoring.losses import OUTSIDE, bin_index
from gyre_monitoring.metrics import Estimate, evaluate, loss_between, row_losses
from gyre_monitoring.outcomes import outcomes
from gyre_monitoring.stats.bins import coarse_index
from gyre_monitoring.stats.special import normal_quantile, normal_sf
from gyre_monitoring.values import Bools, Floats

LEAST_LABELS = 100
"""Labels below which no loss is tested: the normal law does not hold yet."""
_MOSTLY = 0.5  # a loss that moved inputs explain for the most part is no change of concept


@dataclass(frozen=True)
class Explained:
    """What is left of a loss when the inputs' movement is taken out."""

    column: str
    inside: int
    """Labelled rows whose value the reference knew."""
    lower: float
    """Lower bound of the loss of these rows beyond what their mix explains."""
    left: float
    """Share of the whole loss that its movement leaves unexplained."""
    inside_loss: float
    """Loss per row inside the reference's range."""
    outside_loss: float | None
    """Loss per row outside of it."""


@dataclass(frozen=True)
class Performance:
    """Realized performance against the reference."""

    metric: str
    reference: Estimate
    realized: Estimate
    loss: float
    """Positive when worse, in the metric's unit."""
    lower: float
    upper: float
    p_value: float
    level: float
    """One-sided error of each bound."""
    labels: int
    eligible: int
    since: datetime | None
    explained: tuple[Explained, ...] = ()
    later: "Later | None" = None

    @property
    def proven(self) -> bool:
        """Whether the lower bound of the loss is above zero."""
        return self.lower > 0

    @property
    def concept(self) -> bool:
        """Whether the loss stays where inputs did not move: the relation of input and label changed."""
        return self.proven and all(one.lower > 0 and one.left >= _MOSTLY for one in self.explained)


@dataclass(frozen=True)
class Later:
    """The loss on rows that arrived after those that first alarmed."""

    after: datetime
    """End of the window that first proved a loss."""
    realized: float
    lower: float
    labels: int


def later(
    labelled: Labelled,
    profile: Profile,
    objective: Objective,
    level: float,
    *,
    alarm: datetime,
    maturity: timedelta,
    measured: "Measured | None" = None,
) -> Later | None:
    """The loss on rows that the alarm of a window's end cannot have counted; None without enough of them.

    That look counted rows up to its end less `maturity`. `measured` is how the loss is measured, `measure` as a rule.
    """
    if labelled.since is None:
        return None
    found = (measured or measure)(labelled.from_instant(alarm - maturity), profile, objective, level)
    return Later(alarm, found.realized.value, found.lower, found.labels) if found else None


def measure(labelled: Labelled, profile: Profile, objective: Objective, level: float) -> Performance | None:
    """The loss with bounds at `level`; None without enough labels or a reference to compare with."""
    known = next((one for one in profile.performance if one.metric == objective.metric), None)
    if known is None:
        return None
    results, keep = outcomes(labelled.table, LABEL, objective.metric, profile.positive)
    realized = evaluate(objective.metric, results)
    if realized is None or realized.rows < LEAST_LABELS:
        return None
    reference = Estimate(known.value, known.standard_error, known.rows)
    loss = loss_between(objective.metric, reference.value, realized.value)
    error = math.hypot(reference.standard_error, realized.standard_error)
    reach = normal_quantile(1 - level) * error
    return Performance(
        metric=objective.metric,
        reference=reference,
        realized=realized,
        loss=loss,
        lower=loss - reach,
        upper=loss + reach,
        p_value=normal_sf(loss / error) if error else float(loss <= 0),
        level=level,
        labels=int(keep.sum()),
        eligible=labelled.eligible,
        since=labelled.since,
    )


Measured = Callable[[Labelled, Profile, Objective, float], Performance | None]
"""What `measure` is: labelled rows, reference, metric and one-sided error in, the loss out."""


def explanations(
    labelled: Labelled, profile: Profile, metric: str, moved: Sequence[str], level: float,
) -> tuple[Explained, ...]:  # fmt: skip
    """For each moved column, the loss that its movement does not explain, best explanation first."""
    results, keep = outcomes(labelled.table, LABEL, metric, profile.positive)
    losses = row_losses(results)
    if losses is None:
        return ()
    columns = {one.name: one for one in profile.columns if one.name in labelled.table.column_names}
    found = [_explained(columns[name], labelled, losses, keep, level) for name in moved if name in columns]
    return tuple(sorted((one for one in found if one), key=lambda one: one.lower))


def _explained(
    profile: ColumnProfile, labelled: Labelled, losses: Floats, keep: Bools, level: float,
) -> Explained | None:  # fmt: skip
    shape = profile.number or profile.category
    if shape is None or not shape.losses:
        return None
    fine = bin_index(profile, labelled.table[profile.name])[keep]
    inside = fine != OUTSIDE
    if inside.sum() < LEAST_LABELS:
        return None
    group = coarse_index(np.asarray(shape.counts)) if profile.number else np.arange(len(shape.counts))
    size = int(group.max()) + 1
    rows = np.bincount(group, weights=shape.labelled, minlength=size)
    sums = np.bincount(group, weights=shape.losses, minlength=size)
    known = rows > 0
    expected = np.divide(sums, rows, out=np.zeros(size), where=known)
    inside[inside] = known[group[fine[inside]]]
    at = group[fine[inside]]
    share = np.bincount(at, minlength=size) / max(at.size, 1)
    surplus = losses[inside] - expected[at]
    reference = (share[known] ** 2 * expected[known] * _spread(expected[known]) / rows[known]).sum()
    error = math.sqrt(float(surplus.var(ddof=1)) / surplus.size + float(reference))
    outside = losses[~inside]
    return Explained(
        column=profile.name,
        inside=int(inside.sum()),
        lower=float(surplus.mean()) - normal_quantile(1 - level) * error,
        left=_left(float(surplus.sum()) / losses.size, float(losses.mean()) - sum(shape.losses) / sum(shape.labelled)),
        inside_loss=float(losses[inside].mean()),
        outside_loss=float(outside.mean()) if outside.size >= LEAST_LABELS else None,
    )


def _left(unexplained: float, loss: float) -> float:
    return unexplained / loss if loss > 0 else 1.0


def _spread(expected: Floats) -> Floats:
    """Variance of a loss over its mean: 1 - p for a 0/1 error, the mean itself for an absolute error."""
    return np.where(expected <= 1, np.maximum(1 - expected, 0), expected)
