"""Is the candidate better than the champion on the same rows, and how sure is that?

Gains are turned so that more is better. For metrics that are a mean over rows the gain is a mean of
differences, and its bounds come from Student's t; for the others rows are resampled in pairs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from gyre_pipelines.metrics import (
    HIGHER_IS_BETTER,
    METRICS,
    Answers,
    Floats,
    absolute_errors,
    distances,
    right,
    surprise,
)  # fmt: skip

CONFIDENCE = 0.95
LEAST_ROWS = 200
"""With fewer rows the bounds' approximations are not to be trusted."""
_RESAMPLES = 2000
_SEED = 20150101
_ROW_GAINS: dict[str, Callable[[Answers], Floats]] = {
    "accuracy": right,
    "logLoss": lambda given: -surprise(given),
    "brier": lambda given: -distances(given),
    "mae": lambda given: -absolute_errors(given),
}


@dataclass(frozen=True)
class Gain:
    """Candidate less champion in the metric's unit, more is better, with one-sided 95 % bounds."""

    candidate: float
    champion: float
    value: float
    lower: float
    upper: float


def gain(metric: str, candidate: Answers, champion: Answers) -> Gain:
    """The paired gain; both answers speak of the same rows in the same order."""
    sign = 1.0 if metric in HIGHER_IS_BETTER else -1.0
    one, other = METRICS[metric](candidate), METRICS[metric](champion)
    if metric in _ROW_GAINS:
        lower, upper = _mean_bounds(_ROW_GAINS[metric](candidate) - _ROW_GAINS[metric](champion))
    else:
        lower, upper = _resampled_bounds(METRICS[metric], sign, candidate, champion)
    return Gain(one, other, sign * (one - other), lower, upper)


def _mean_bounds(differences: Floats) -> tuple[float, float]:
    count = len(differences)
    error = float(np.std(differences, ddof=1)) / count**0.5
    reach = _student(count - 1) * error
    mean = float(np.mean(differences))
    return mean - reach, mean + reach


def _student(freedom: int) -> float:
    """The one-sided quantile of Student's t; Cornish-Fisher is exact to four digits from 20 degrees on."""
    z = NormalDist().inv_cdf(CONFIDENCE)
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)


def _resampled_bounds(
    measure: Callable[[Answers], float], sign: float, candidate: Answers, champion: Answers
) -> tuple[float, float]:
    generator = np.random.default_rng(_SEED)
    count = len(candidate.truth)
    gains = []
    for _ in range(_RESAMPLES):
        rows = generator.integers(0, count, count)
        gains.append(sign * (measure(candidate.taken(rows)) - measure(champion.taken(rows))))
    known = np.asarray(gains)[np.isfinite(gains)]
    if not len(known):
        return float("-inf"), float("inf")
    return float(np.quantile(known, 1 - CONFIDENCE)), float(np.quantile(known, CONFIDENCE))
