"""Performance without labels: what the reference's errors say of today's scores. Blind to concept drift."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from gyre_crds.contracts.profile import ColumnProfile, Profile
from gyre_monitoring import calibrated
from gyre_monitoring.metrics import loss_between
from gyre_monitoring.stats.bins import coarse_index
from gyre_monitoring.stats.special import normal_quantile
from gyre_monitoring.values import Floats
from gyre_monitoring.window import ColumnWindow

_BINS = 20
_LEAST_VALID = 100
_SHARES = frozenset({"accuracy", "auc", "f1"})
FLOOR_SHARE = 0.03
"""Least estimated loss of accuracy, auc or f1 that is spoken of: an estimate errs by about half of that itself."""
FLOOR_RELATIVE = 0.1
"""Least relative rise of an estimated log loss, or error of a value."""


@dataclass(frozen=True)
class Estimated:
    """The metric as estimated for the window."""

    metric: str
    reference: float
    value: float
    loss: float
    lower: float
    floor: float
    source: str
    """The column whose bins the estimate goes by."""

    @property
    def lost(self) -> bool:
        """Whether the estimate speaks of a loss worth a word."""
        return self.lower > 0 and self.loss >= self.floor


def estimate(profile: Profile, columns: dict[str, ColumnWindow], metric: str, level: float) -> Estimated | None:
    """The objective's metric without labels, or accuracy where that cannot be had; None where nothing is known.

    The reference's loss in each bin of scores (of predicted values, for a regressor), weighted by how the
    window fills the bins: confidence-based estimation for a classifier, direct loss estimation for a regressor.
    """
    changed = calibrated.change(profile, columns, metric)
    known = next((one.value for one in profile.performance if one.metric == metric), None)
    if changed is not None and known is not None and profile.score is not None:
        moved = (known, known + changed.after - changed.before, changed.error)
        return _estimated(metric, moved, level, profile.score)
    source = profile.score if profile.task == "Classification" else None
    source = source or profile.prediction
    if source is None or source.name not in columns:
        return None
    losses = _losses(source, columns[source.name])
    if losses is None:
        return None
    if profile.task == "Classification":
        return _estimated("accuracy", (1 - losses.before, 1 - losses.after, losses.error), level, source)
    if metric == "rmse" and known is not None and losses.root > 0:
        return _estimated("rmse", (known, known * losses.root, known * losses.root_error), level, source)
    return _estimated("mae", (losses.before, losses.after, losses.error), level, source)


def _estimated(metric: str, moved: tuple[float, float, float], level: float, source: ColumnProfile) -> Estimated:
    """From reference, value and the standard error of their difference."""
    reference, value, error = moved
    loss = loss_between(metric, reference, value)
    floor = FLOOR_SHARE if metric in _SHARES else FLOOR_RELATIVE * reference
    return Estimated(metric, reference, value, loss, loss - normal_quantile(1 - level) * error, floor, source.name)


class _Losses(NamedTuple):
    """Mean losses by bins."""

    before: float
    after: float
    error: float
    """Standard error of their difference."""
    root: float
    """Factor of the root mean square, taking the shape of errors in a bin to be the same everywhere."""
    root_error: float


def _losses(profile: ColumnProfile, window: ColumnWindow) -> _Losses | None:
    shape = profile.number or profile.category
    if shape is None or not shape.losses or window.valid < _LEAST_VALID:
        return None
    size = len(shape.counts)
    group = coarse_index(np.asarray(shape.counts), _BINS) if profile.number else np.arange(size)
    bins = int(group.max()) + 1
    rows = np.bincount(group, weights=shape.labelled, minlength=bins)
    loss = np.bincount(group, weights=shape.losses, minlength=bins)
    now = np.bincount(group, weights=window.counts[:size], minlength=bins)
    known = rows > 0
    if not now[known].sum():
        return None
    mean = loss[known] / rows[known]
    before, after = rows[known] / rows[known].sum(), now[known] / now[known].sum()
    held: Floats = rows[known].astype(np.float64)
    noise = ((after - before) ** 2 * mean * np.where(mean <= 1, 1 - mean, mean) / held).sum()
    error = math.sqrt(_variance(mean, before, after, held.sum(), now.sum()) + float(noise))
    root, root_error = _root(mean, before, after, held, now.sum())
    return _Losses(float((before * mean).sum()), float((after * mean).sum()), error, root, root_error)


def _root(mean: Floats, before: Floats, after: Floats, rows: Floats, total: float) -> tuple[float, float]:
    """Factor of the root mean square error and its standard error, by the delta method."""
    square = mean**2
    base, now = float((before * square).sum()), float((after * square).sum())
    if base <= 0 or now <= 0:
        return 0.0, 0.0
    # The mean absolute error of a bin is known to about itself over the root of its rows.
    noise = float(((after / now - before / base) ** 2 * 4 * square**2 / rows).sum())
    spread = _variance(square / base, before, np.zeros(0), rows.sum(), 0) + _variance(
        square / now, np.zeros(0), after, 0, total
    )
    root = math.sqrt(now / base)
    return root, root / 2 * math.sqrt(spread + noise)


def _variance(mean: Floats, before: Floats, after: Floats, first: float, second: float) -> float:
    """Variance of a difference of means over bins, from drawing the rows of both sides."""
    sides = [(share, total) for share, total in ((before, first), (after, second)) if total]
    return sum(float((share * mean**2).sum() - (share * mean).sum() ** 2) / total for share, total in sides)
