"""Performance without labels: what the reference's errors say of today's scores. Blind to concept drift."""

import math
from dataclasses import dataclass

import numpy as np

from gyre_crds.contracts.profile import ColumnProfile, Profile
from gyre_monitoring.metrics import loss_between
from gyre_monitoring.stats.bins import coarse_index
from gyre_monitoring.stats.special import normal_quantile
from gyre_monitoring.window import ColumnWindow

_BINS = 20
_LEAST_VALID = 100
FLOOR_SHARE = 0.03
"""Least estimated loss of accuracy that is spoken of: an estimate errs by about half of that itself."""
FLOOR_RELATIVE = 0.1
"""Least relative rise of an estimated error of a value."""


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


def estimate(profile: Profile, columns: dict[str, ColumnWindow], level: float) -> Estimated | None:
    """Accuracy by score (or mean absolute error by predicted value); None where the reference had no labels.

    The reference's loss in each bin, weighted by how the window fills the bins: confidence-based
    estimation for a classifier, direct loss estimation for a regressor.
    """
    source = profile.score if profile.task == "Classification" else None
    source = source or profile.prediction
    if source is None or source.name not in columns:
        return None
    metric = "accuracy" if profile.task == "Classification" else "mae"
    losses = _losses(source, columns[source.name])
    if losses is None:
        return None
    before, after, error = losses
    reference, value = (1 - before, 1 - after) if metric == "accuracy" else (before, after)
    loss = loss_between(metric, reference, value)
    floor = FLOOR_SHARE if metric == "accuracy" else FLOOR_RELATIVE * before
    return Estimated(metric, reference, value, loss, loss - normal_quantile(1 - level) * error, floor, source.name)


def _losses(profile: ColumnProfile, window: ColumnWindow) -> tuple[float, float, float] | None:
    """Mean loss on the reference, on the window, and the standard error of their difference."""
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
    variance = sum(
        float((share * mean**2).sum() - (share * mean).sum() ** 2) / total
        for share, total in ((before, rows[known].sum()), (after, now[known].sum()))
    )
    noise = ((after - before) ** 2 * mean * np.where(mean <= 1, 1 - mean, mean) / rows[known]).sum()
    return float((before * mean).sum()), float((after * mean).sum()), math.sqrt(variance + float(noise))
