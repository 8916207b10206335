"""Maximum mean discrepancy of two samples of vectors, by random Fourier features.

A Gaussian kernel as wide as the median distance of the reference rows is approximated by 64 cosines; the
distance of the two means is compared with the distances that permuting the rows makes. Rows are kept as
their 64 cosines in one byte each, so a sample of 1,000 rows takes 64 kB whatever the length of the vectors.
"""

import math

import numpy as np
import numpy.typing as npt

from gyre_monitoring.stats.methods import Measure
from gyre_monitoring.stats.special import gamma_sf
from gyre_monitoring.values import Floats

FEATURES = 64
FLOOR = 0.05
"""Least debiased distance that counts as drift, where the monitor sets none; 0.05 is a shift of about a third of a
standard deviation in one direction of 16."""
Cosines = npt.NDArray[np.int8]
_SCALE = 127.0
_SEED = 17
_PERMUTATIONS = 300
_PAIRS = 300
_TOLERATED = 0.5


def bandwidth(vectors: Floats) -> float:
    """Median distance of neighbours in the sample; equal ones say nothing of how far apart different ones are."""
    first = vectors[:_PAIRS]
    distances = np.linalg.norm(first - np.roll(first, 1, axis=0), axis=1)
    apart = distances[distances > 0]
    return max(float(np.median(apart)), 1e-9) if apart.size else 1.0


def cosines(vectors: Floats, width: float) -> Cosines:
    """Features of the vectors, (rows, 64); the same vectors and width give the same bytes in every release."""
    frozen = np.random.RandomState(_SEED)  # the one stream that numpy promises never to change
    directions = frozen.standard_normal((vectors.shape[1], FEATURES)) / width
    phases = frozen.uniform(0, 2 * math.pi, FEATURES)
    return np.asarray(np.round(_SCALE * np.cos(vectors @ directions + phases)), dtype=np.int8)


def mmd(reference: Cosines, current: Cosines, floor: float) -> Measure:
    """The distance, its part that chance does not explain, and a p-value from 300 permutations.

    A gamma law fitted to the permuted distances gives small p-values without a million permutations.
    """
    rows = np.concatenate((current, reference)).astype(np.float64) / _SCALE
    score = float(_squared(rows, np.arange(len(rows)) < len(current)))
    order = np.random.default_rng(_SEED).random((_PERMUTATIONS, len(rows))).argsort(axis=1)
    null = _squared(rows, order < len(current))
    mean, variance = float(null.mean()), float(null.var())
    if variance <= 0:
        return Measure(math.sqrt(score), 0.0, 0.0, 1.0, FEATURES)
    beyond = max(math.sqrt(score) - math.sqrt(_TOLERATED) * floor, 0.0) ** 2
    signed = math.copysign(math.sqrt(abs(score - mean)), score - mean)
    p_value = gamma_sf(mean * mean / variance, beyond * mean / variance)
    return Measure(math.sqrt(score), max(0.0, signed), signed, p_value, FEATURES)


def _squared(rows: Floats, chosen: npt.NDArray[np.bool_]) -> Floats:
    """Squared distance of the means of the chosen rows and the others, for one choice or many."""
    size = chosen.sum(axis=-1, keepdims=True)
    weights = np.where(chosen, 1.0 / size, -1.0 / (chosen.shape[-1] - size))
    return np.asarray(2.0 / FEATURES * ((weights @ rows) ** 2).sum(axis=-1))
