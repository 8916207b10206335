"""Tail functions of the chi-square, gamma, normal and Kolmogorov laws.

scipy has them, and costs the image 110 MB and each start 0.3 s; the tests compare with scipy.
"""

import math
from statistics import NormalDist

_NORMAL = NormalDist()
_TINY = 1e-300
_EPS = 1e-14
_STEPS = 10_000


def normal_sf(z: float) -> float:
    """P(Z > z)."""
    return 0.5 * math.erfc(z / math.sqrt(2.0))


def normal_quantile(share: float) -> float:
    """The z with P(Z <= z) = share."""
    return _NORMAL.inv_cdf(min(max(share, 1e-15), 1 - 1e-15))


def gamma_sf(shape: float, x: float) -> float:
    """P(X > x) of a gamma law with scale 1 (the regularised upper incomplete gamma function)."""
    if x <= 0 or shape <= 0:
        return 1.0
    log_front = shape * math.log(x) - x - math.lgamma(shape)
    if x < shape + 1:
        return min(1.0, max(0.0, 1.0 - math.exp(log_front) * _series(shape, x)))
    return min(1.0, math.exp(log_front) * _fraction(shape, x))


def chi2_sf(x: float, df: float) -> float:
    """P(X > x) of a chi-square law."""
    return gamma_sf(df / 2, x / 2)


def noncentral_sf(x: float, df: float, noncentrality: float) -> float:
    """P(X > x) of a noncentral chi-square law by Sankaran's third approximation.

    Within 3 % of the truth at 0.01, and above it further out: never too bold.
    """
    if noncentrality <= 0:
        return chi2_sf(x, df)
    if x <= 0:
        return 1.0
    one, two, three = (df + step * noncentrality for step in (1, 2, 3))
    h = 1 - 2 * one * three / (3 * two**2)
    p = two / one**2
    m = (h - 1) * (1 - 3 * h)
    z = ((x / one) ** h - (1 + h * p * (h - 1 - 0.5 * (2 - h) * m * p))) / (h * math.sqrt(2 * p) * (1 + 0.5 * m * p))
    return normal_sf(z)


def chi2_isf(share: float, df: float, noncentrality: float = 0.0) -> float:
    """The x with P(X > x) = share, by bisection to a relative 1e-9."""
    low, high = 0.0, max(df, 1.0)
    while noncentral_sf(high, df, noncentrality) > share:
        high *= 2
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if noncentral_sf(middle, df, noncentrality) > share else (low, middle)
    return high


def kolmogorov_sf(x: float) -> float:
    """P(sup |Brownian bridge| > x)."""
    if x < 0.2:  # noqa: PLR2004  the series alternates too slowly there, and the value is 1 to 1e-12
        return 1.0
    terms = (2.0 * (-1.0) ** (k - 1) * math.exp(-2 * k * k * x * x) for k in range(1, 101))
    return min(1.0, max(0.0, math.fsum(terms)))


def _series(shape: float, x: float) -> float:
    term = total = 1.0 / shape
    for step in range(1, _STEPS):
        term *= x / (shape + step)
        total += term
        if term < total * _EPS:
            break
    return total


def _fraction(shape: float, x: float) -> float:
    b = x + 1.0 - shape
    c, d = 1.0 / _TINY, 1.0 / b
    result = d
    for step in range(1, _STEPS):
        a = -step * (step - shape)
        b += 2.0
        d = 1.0 / _nonzero(a * d + b)
        c = _nonzero(b + a / c)
        result *= d * c
        if abs(d * c - 1.0) < _EPS:
            break
    return result


def _nonzero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
