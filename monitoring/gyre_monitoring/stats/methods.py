"""Each method: two histograms in, score, debiased effect and calibrated p-value out.

`n` and `m` are the two sums of counts; `step` = 1/n + 1/m is the variance scale of a difference of
shares. Under equal distributions PSI / step, 2 KL / step, 8 JSD / step, 8 H^2 / step and the two-sample
chi-square follow a chi-square law with bins - 1 degrees of freedom; KS follows Kolmogorov's law; Wasserstein and
TVD have none in closed form and are calibrated by simulating that null law with a fixed seed.

Nothing in the world stands perfectly still, so the null hypothesis is not "no difference" but "no more
than half the floor" (in squared distance): the chi-square laws become noncentral, the others are moved.
A large window then does not alarm for a shift that nobody would act on.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from gyre_monitoring.stats.bins import Pair, pooled, quantile_bins, smoothed
from gyre_monitoring.stats.special import gamma_sf, kolmogorov_sf, noncentral_sf
from gyre_monitoring.values import Floats

_DRAWS = 500
_SEED = 20260101
_TOLERATED = 0.5


class Measure(NamedTuple):
    """What one method says of one column."""

    score: float
    """The statistic, in its usual unit."""
    effect: float
    """The part of it that chance does not explain, at least 0."""
    signed: float
    """The same without the cut at 0: what history is calibrated on."""
    p_value: float
    bins: int


def psi(pair: Pair, edges: Floats | None, floor: float) -> Measure:
    """Population stability index on reference quantile bins."""
    merged = _merged(pair, edges)
    p, q = smoothed(merged.current), smoothed(merged.reference)
    score = float(((p - q) * np.log(p / q)).sum())
    return _chi_square_like(score, score / _step(merged), merged, _TOLERATED * floor)


def kullback_leibler(pair: Pair, edges: Floats | None, floor: float) -> Measure:
    """Divergence of the window from the reference, D(reference || window), in nats; half of PSI for small shifts.

    Half a count in every bin keeps it finite where the window left a bin empty.
    """
    merged = _merged(pair, edges)
    p, q = smoothed(merged.current), smoothed(merged.reference)
    score = float((q * np.log(q / p)).sum())
    return _chi_square_like(score, 2.0 * score / _step(merged), merged, _TOLERATED * 2.0 * floor, factor=2.0)


def chi_square(pair: Pair, edges: Floats | None, floor: float) -> Measure:
    """Two-sample chi-square; the score is the statistic times (1/n + 1/m), on the scale of PSI."""
    merged = _merged(pair, edges)
    n, m = merged.current.sum(), merged.reference.sum()
    expected = (merged.current + merged.reference) / (n + m)
    used = expected > 0
    statistic = sum(
        float((((side - total * expected) ** 2)[used] / (total * expected)[used]).sum())
        for side, total in ((merged.current, n), (merged.reference, m))
    )
    return _chi_square_like(statistic * _step(merged), statistic, merged, _TOLERATED * floor)


def jensen_shannon(pair: Pair, edges: Floats | None, floor: float) -> Measure:
    """Jensen-Shannon distance, base 2, between 0 and 1."""
    merged = _merged(pair, edges)
    p, q = smoothed(merged.current), smoothed(merged.reference)
    middle = (p + q) / 2
    divergence = float((p * np.log(p / middle) + q * np.log(q / middle)).sum() / 2)
    return _rooted(divergence, 8.0, math.log(2.0), merged, floor)


def hellinger(pair: Pair, edges: Floats | None, floor: float) -> Measure:
    """Hellinger distance, between 0 and 1."""
    merged = _merged(pair, edges)
    p, q = smoothed(merged.current), smoothed(merged.reference)
    return _rooted(float(((np.sqrt(p) - np.sqrt(q)) ** 2).sum() / 2), 8.0, 1.0, merged, floor)


def kolmogorov_smirnov(pair: Pair, edges: Floats | None, floor: float) -> Measure:
    """Largest difference of the distribution functions at the stored edges; conservative with ties."""
    del edges  # the fine bins themselves are compared
    n, m = float(pair.current.sum()), float(pair.reference.sum())
    distance = float(np.abs(np.cumsum(pair.current) / n - np.cumsum(pair.reference) / m).max())
    root = math.sqrt(n * m / (n + m))
    beyond = max(distance - math.sqrt(_TOLERATED) * floor, 0.0)
    p_value = kolmogorov_sf((root + 0.12 + 0.11 / root) * beyond)
    signed = distance - 0.8687 / root  # the mean of Kolmogorov's law
    return Measure(distance, max(0.0, signed), signed, p_value, pair.reference.size)


def wasserstein(pair: Pair, edges: Floats | None, floor: float) -> Measure:
    """Earth mover's distance in reference standard deviations, inside the reference's range.

    Cut to the range, so that one outlier neither makes nor hides a shift.
    """
    if edges is None or edges.size < 2:  # noqa: PLR2004  one value has no distance
        return total_variation(pair, edges, floor)
    share = pair.reference / pair.reference.sum()
    centre = float((edges * share).sum())
    spread = math.sqrt(float((share * (edges - centre) ** 2).sum())) or 1.0
    gaps = np.diff(edges) / spread
    below = [np.cumsum(side)[:-1] / side.sum() for side in pair]
    distance = float((np.abs(below[1] - below[0]) * gaps).sum())
    draws = _bridges(tuple(np.round(below[0], 6)))
    return _simulated(distance, np.abs(draws) @ gaps, pair, floor)


def total_variation(pair: Pair, edges: Floats | None, floor: float) -> Measure:
    """Half the sum of absolute differences of shares."""
    merged = _merged(pair, edges)
    p, q = (side / side.sum() for side in (merged.current, merged.reference))
    both = (merged.current + merged.reference) / (merged.current.sum() + merged.reference.sum())
    noise = np.random.default_rng(_SEED).normal(size=(_DRAWS, both.size)) * np.sqrt(both)
    noise -= noise.sum(axis=1, keepdims=True) * both
    return _simulated(float(np.abs(p - q).sum() / 2), np.abs(noise).sum(axis=1) / 2, merged, floor)


METHODS: dict[str, Callable[[Pair, Floats | None, float], Measure]] = {
    "PSI": psi,
    "KS": kolmogorov_smirnov,
    "Wasserstein": wasserstein,
    "JensenShannon": jensen_shannon,
    "KL": kullback_leibler,
    "ChiSquare": chi_square,
    "Hellinger": hellinger,
    "TVD": total_variation,
}
"""By the name a DriftMonitor gives."""

FLOORS: dict[str, float] = {
    "PSI": 0.02,
    "KL": 0.01,
    "ChiSquare": 0.02,
    "KS": 0.05,
    "Wasserstein": 0.1,
    "JensenShannon": 0.06,
    "Hellinger": 0.05,
    "TVD": 0.05,
}
"""Least debiased effect that counts as drift, where the monitor sets none: about 0.14 standard deviations."""


def _merged(pair: Pair, edges: Floats | None) -> Pair:
    return pooled(pair) if edges is None else quantile_bins(pair)


def _step(pair: Pair) -> float:
    return 1.0 / float(pair.current.sum()) + 1.0 / float(pair.reference.sum())


def _chi_square_like(score: float, statistic: float, pair: Pair, tolerated: float, factor: float = 1.0) -> Measure:
    """`factor` is what the score is multiplied with to be on the scale of PSI."""
    freedom = pair.reference.size - 1
    if freedom < 1:
        return Measure(0.0, 0.0, 0.0, 1.0, pair.reference.size)
    signed = score - freedom * _step(pair) / factor
    p_value = noncentral_sf(statistic, freedom, tolerated / _step(pair))
    return Measure(score, max(0.0, signed), signed, p_value, freedom + 1)


def _rooted(divergence: float, factor: float, unit: float, pair: Pair, floor: float) -> Measure:
    tolerated = _TOLERATED * factor * unit * floor**2
    base = _chi_square_like(divergence, factor * divergence / _step(pair), pair, tolerated)
    freedom = max(base.bins - 1, 0)
    signed = (divergence - freedom * _step(pair) / factor) / unit
    root = math.copysign(math.sqrt(abs(signed)), signed)
    score = math.sqrt(max(divergence, 0.0) / unit)
    return Measure(score, max(0.0, root), root, base.p_value, base.bins)


def _simulated(score: float, null: Floats, pair: Pair, floor: float) -> Measure:
    """p-value by a gamma law fitted to the simulated null, so that small values need no million draws."""
    draws = null * math.sqrt(_step(pair))
    mean, variance = float(draws.mean()), float(draws.var())
    if variance <= 0:
        return Measure(score, 0.0, 0.0, 1.0, pair.reference.size)
    beyond = score - math.sqrt(_TOLERATED) * floor
    p_value = gamma_sf(mean * mean / variance, beyond * mean / variance)
    return Measure(score, max(0.0, score - mean), score - mean, p_value, pair.reference.size)


@lru_cache(maxsize=64)
def _bridges(below: tuple[float, ...]) -> Floats:
    """Brownian bridges at the reference's distribution function, (draws, points)."""
    at = np.concatenate(([0.0], below, [1.0]))
    steps = np.random.default_rng(_SEED).normal(size=(_DRAWS, at.size - 1)) * np.sqrt(np.diff(at).clip(0))
    walk = np.cumsum(steps, axis=1)
    return np.asarray(walk[:, :-1] - at[1:-1] * walk[:, -1:])
