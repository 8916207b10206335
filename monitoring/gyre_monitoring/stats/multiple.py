"""Many tests at once: weighted Benjamini-Hochberg."""

import numpy as np

from gyre_monitoring.values import Floats


def adjusted(p_values: Floats, weights: Floats | None = None) -> Floats:
    """p-values after weighted Benjamini-Hochberg, in the order given.

    Rejecting where the result is at most q keeps the false discovery rate, and, where every null
    hypothesis holds, the chance of any rejection, at or below q (Genovese, Roeder & Wasserman 2006
    for the weights, which are scaled to a mean of one).
    """
    if not p_values.size:
        return p_values
    scaled = p_values if weights is None else p_values / (weights / weights.mean())
    order = np.argsort(scaled)
    ranked = scaled[order] * scaled.size / np.arange(1, scaled.size + 1)
    result = np.empty_like(ranked)
    result[order] = np.minimum.accumulate(ranked[::-1])[::-1].clip(max=1.0)
    return result
