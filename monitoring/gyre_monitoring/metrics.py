"""How well a model does on labelled rows: value and standard error of each objective metric."""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np

from gyre_monitoring.values import Bools, Floats

Metric = Literal["accuracy", "logLoss", "auc", "f1", "brier", "rmse", "mae"]
HIGHER_IS_BETTER: dict[str, bool] = {
    "accuracy": True, "auc": True, "f1": True, "logLoss": False, "brier": False, "rmse": False, "mae": False,
}  # fmt: skip
REGRESSION = frozenset({"rmse", "mae"})
_CLIP = 1e-6
_LEAST_ROWS = 2


class Outcomes(NamedTuple):
    """Labelled rows as the metrics need them; absent parts are None."""

    correct: Bools | None = None
    """Prediction equals label, for classification."""
    positive: Bools | None = None
    """Label is the positive class."""
    predicted_positive: Bools | None = None
    score: Floats | None = None
    """Score of the positive class."""
    error: Floats | None = None
    """Prediction minus label, for regression."""


class Estimate(NamedTuple):
    """A metric with its uncertainty."""

    value: float
    standard_error: float
    rows: int


def evaluate(metric: str, outcomes: Outcomes) -> Estimate | None:
    """The metric on these rows; None where they do not carry what it needs."""
    return _METRICS[metric](outcomes)


def row_losses(outcomes: Outcomes) -> Floats | None:
    """One loss a row, more is worse: 0/1 error of a class, absolute error of a value."""
    if outcomes.correct is not None:
        return (~outcomes.correct).astype(np.float64)
    return None if outcomes.error is None else np.abs(outcomes.error)


def loss_between(metric: str, reference: float, now: float) -> float:
    """Reference against now, turned so that more is worse."""
    return reference - now if HIGHER_IS_BETTER[metric] else now - reference


def _mean(values: Floats) -> Estimate | None:
    if values.size < _LEAST_ROWS:
        return None
    return Estimate(float(values.mean()), float(values.std(ddof=1) / math.sqrt(values.size)), int(values.size))


def _accuracy(outcomes: Outcomes) -> Estimate | None:
    return None if outcomes.correct is None else _mean(outcomes.correct.astype(np.float64))


def _log_loss(outcomes: Outcomes) -> Estimate | None:
    if outcomes.score is None or outcomes.positive is None:
        return None
    chance = np.where(outcomes.positive, outcomes.score, 1 - outcomes.score)
    return _mean(-np.log(chance.clip(_CLIP, 1.0)))


def _brier(outcomes: Outcomes) -> Estimate | None:
    if outcomes.score is None or outcomes.positive is None:
        return None
    return _mean((outcomes.score - outcomes.positive) ** 2)


def _mae(outcomes: Outcomes) -> Estimate | None:
    return None if outcomes.error is None else _mean(np.abs(outcomes.error))


def _rmse(outcomes: Outcomes) -> Estimate | None:
    squared = None if outcomes.error is None else _mean(outcomes.error**2)
    if squared is None:
        return None
    root = math.sqrt(squared.value)
    return Estimate(root, squared.standard_error / (2 * root) if root else 0.0, squared.rows)


def _f1(outcomes: Outcomes) -> Estimate | None:
    if outcomes.positive is None or outcomes.predicted_positive is None:
        return None
    top = 2.0 * (outcomes.positive & outcomes.predicted_positive)
    bottom = outcomes.positive.astype(np.float64) + outcomes.predicted_positive
    if top.size < _LEAST_ROWS or not bottom.sum():
        return None
    value = float(top.sum() / bottom.sum())
    influence = (top - value * bottom) / bottom.mean()  # delta method for a ratio of means
    return Estimate(value, float(influence.std(ddof=1) / math.sqrt(top.size)), int(top.size))


def _auc(outcomes: Outcomes) -> Estimate | None:
    """Area under the curve with DeLong's variance, by ranks."""
    if outcomes.score is None or outcomes.positive is None:
        return None
    yes, no = outcomes.score[outcomes.positive], outcomes.score[~outcomes.positive]
    if min(yes.size, no.size) < _LEAST_ROWS:
        return None
    above = _share_below(no, yes)
    beyond = 1.0 - _share_below(yes, no)
    variance = above.var(ddof=1) / yes.size + beyond.var(ddof=1) / no.size
    return Estimate(float(above.mean()), math.sqrt(float(variance)), int(outcomes.score.size))


def _share_below(population: Floats, points: Floats) -> Floats:
    """Share of the population below each point, ties half."""
    ordered = np.sort(population)
    left = np.searchsorted(ordered, points, side="left")
    right = np.searchsorted(ordered, points, side="right")
    return np.asarray((left + right) / (2.0 * ordered.size))


_METRICS: dict[str, Callable[[Outcomes], Estimate | None]] = {
    "accuracy": _accuracy, "logLoss": _log_loss, "auc": _auc, "f1": _f1, "brier": _brier,
    "rmse": _rmse, "mae": _mae,
}  # fmt: skip
