"""Labels that depend on what was decided: only rows that a lot chose can speak for all rows.

Where the router marked rows for labelling by lot (`gyre_label_sample`), these are the slice; else the rows whose
revision was drawn (a propensity below one). Each row weighs the inverse of its propensity. Rows of the slice that
have no label yet may be the good ones or the bad ones: the bounds take them as each.
"""

import math

import numpy as np
import pyarrow as pa

from gyre_crds.contracts.payload import PayloadColumn
from gyre_crds.contracts.profile import MetricProfile, Profile
from gyre_crds.v1alpha1.common import Objective
from gyre_monitoring.labels import LABEL, Labelled
from gyre_monitoring.metrics import Estimate, Outcomes, loss_between
from gyre_monitoring.outcomes import outcomes
from gyre_monitoring.performance import LEAST_LABELS, Performance
from gyre_monitoring.stats.special import normal_quantile, normal_sf
from gyre_monitoring.values import Bools, Floats, numbers

_OF_SCORES = frozenset({"logLoss", "brier"})
WEIGHABLE = frozenset({"accuracy", "logLoss", "brier", "rmse", "mae"})
"""Metrics that are a mean over rows, and can be weighted."""
_CLIP = 1e-6


def only(labelled: Labelled) -> Labelled:
    """The labelled rows of the randomised slice; none where nothing was drawn by lot."""
    lots = labelled.eligible_lots
    if lots is None:
        return Labelled(labelled.table.slice(0, 0), 0)
    picked = bool((lots[1] == 1).any())  # a mark that is null is NaN here, and no mark
    drawn, rows = _drawn(lots, picked=picked), _drawn(_lots(labelled.table), picked=picked)
    return Labelled(
        labelled.table.take(pa.array(np.flatnonzero(rows))),
        int(drawn.sum()),
        None if labelled.eligible_times is None else labelled.eligible_times[drawn],
        None if labelled.eligible_scores is None else labelled.eligible_scores[drawn],
        lots[:, drawn],
    )


def why_not(labelled: Labelled, metric: str) -> str:
    """Why these labels cannot prove a loss, as a sentence; empty if they may. `labelled` is a randomised slice."""
    if metric not in WEIGHABLE:
        return (
            f"labels depend on decisions, so they are biased, and {metric} cannot be weighed by propensities: they "
            f"prove no loss; name one of {', '.join(sorted(WEIGHABLE))} as objective.metric"
        )
    if labelled.table.num_rows < LEAST_LABELS:
        return (
            "labels depend on decisions, so they are biased and prove no loss: of the rows drawn by lot "
            f"{labelled.table.num_rows} have a label, {LEAST_LABELS} are needed; send labels for the rows marked "
            "gyre_label_sample, or raise payloads.labelSample"
        )
    return ""


def measure(labelled: Labelled, profile: Profile, objective: Objective, level: float) -> Performance | None:
    """The loss of all rows, from a randomised slice by inverse propensities; None where it cannot be weighed."""
    known = next((one for one in profile.performance if one.metric == objective.metric), None)
    if known is None or labelled.eligible_lots is None or why_not(labelled, objective.metric):
        return None
    results, keep = outcomes(labelled.table, LABEL, objective.metric, profile.positive)
    losses = _losses(objective.metric, results)
    if losses is None or losses.size < LEAST_LABELS:
        return None
    weights = _weights(_lots(labelled.table))[keep]
    everyone = _weights(labelled.eligible_lots)
    return _performance(labelled, known, _Weighed(losses, weights, everyone), level)


class _Weighed:
    """Weighted losses of a slice, some of whose rows have no label."""

    def __init__(self, losses: Floats, weights: Floats, everyone: Floats) -> None:
        self.losses, self.weights = losses, weights
        self.whole = float(everyone.sum())
        self.absent = max(self.whole - float(weights.sum()), 0.0)
        self.absent_squared = max(float((everyone**2).sum() - (weights**2).sum()), 0.0)

    def mean(self) -> float:
        """Of the rows with a label."""
        return float((self.weights * self.losses).sum() / self.weights.sum())

    def bound(self, absent: float) -> tuple[float, float]:
        """Mean and standard error, with this loss for every row without a label."""
        mean = float(((self.weights * self.losses).sum() + self.absent * absent) / self.whole)
        square = (self.weights**2 * (self.losses - mean) ** 2).sum() + self.absent_squared * (absent - mean) ** 2
        return mean, math.sqrt(float(square)) / self.whole


def _performance(labelled: Labelled, known: MetricProfile, weighed: _Weighed, level: float) -> Performance:
    metric, reach = known.metric, normal_quantile(1 - level)
    best, error = _turned(metric, *weighed.bound(0.0))
    value, _ = _turned(metric, weighed.mean(), 0.0)
    loss, spread = loss_between(metric, known.value, best), math.hypot(known.standard_error, error)
    upper = math.inf
    if metric == "accuracy" or not weighed.absent:
        worst, beyond = _turned(metric, *weighed.bound(1.0))
        upper = loss_between(metric, known.value, worst) + reach * math.hypot(known.standard_error, beyond)
    return Performance(
        metric=metric,
        reference=Estimate(known.value, known.standard_error, known.rows),
        realized=Estimate(value, error, weighed.losses.size),
        loss=loss_between(metric, known.value, value),
        lower=loss - reach * spread,
        upper=upper,
        p_value=normal_sf(loss / spread) if spread else float(loss <= 0),
        level=level,
        labels=weighed.losses.size,
        eligible=labelled.eligible,
        since=labelled.since,
    )


def _turned(metric: str, mean: float, error: float) -> tuple[float, float]:
    """From the mean loss of a row to the metric, with its standard error."""
    if metric == "accuracy":
        return 1.0 - mean, error
    if metric == "rmse":
        root = math.sqrt(mean)
        return root, error / (2 * root) if root else 0.0
    return mean, error


def _losses(metric: str, results: Outcomes) -> Floats | None:
    if metric == "accuracy" and results.correct is not None:
        return (~results.correct).astype(np.float64)
    if metric in _OF_SCORES and results.score is not None and results.positive is not None:
        chance = np.where(results.positive, results.score, 1 - results.score)
        return np.asarray((1 - chance) ** 2 if metric == "brier" else -np.log(chance.clip(_CLIP, 1.0)))
    if results.error is None:
        return None
    return np.asarray(results.error**2 if metric == "rmse" else np.abs(results.error))


def _lots(table: pa.Table) -> Floats:
    """Propensity and mark of each row, (2, rows)."""
    return np.stack([numbers(table[name]) for name in (PayloadColumn.PROPENSITY, PayloadColumn.LABEL_SAMPLE)])


def _drawn(lots: Floats, *, picked: bool) -> Bools:
    if picked:
        return np.asarray(lots[1] == 1)
    return np.asarray((lots[0] > 0) & (lots[0] < 1))


def _weights(lots: Floats) -> Floats:
    """Inverse propensities; a row without one was not drawn among revisions and stands for itself."""
    propensity = np.where((lots[0] > 0) & (lots[0] <= 1), lots[0], 1.0)
    return np.asarray(1.0 / propensity)
