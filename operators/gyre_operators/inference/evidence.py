"""E-processes over error counts: evidence that may be read at any moment, as often as one likes.

An e-process is a number that, where its null hypothesis is true, exceeds 1/alpha at *any* time with a
chance of at most alpha (Ville's inequality). So a verdict may be taken at every look, without a fixed
sample size. All of them are functions of counts alone, kept as logarithms; counts may be fractional,
which planning a sample size uses.

- `log_worse`: null "the candidate errs no more often than the stable revision". Requests are assigned
  at random with the candidate's share `w`, so under the null each error is the candidate's with a
  chance of at most `w`. A mixture of likelihood ratios over higher odds is a test supermartingale.
- `log_within`: null "the candidate errs more often by `margin` or more". A mixture likelihood over the
  largest likelihood that the null allows (universal inference: Wasserman, Ramdas, Balakrishnan 2020).
  Half of the mixture sits on "nobody ever errs": without errors it passes with the fewest requests.
- `log_other`: null "things go wrong with exactly the chance `share`". The same mixture against one value. Its
  logarithm is convex in `share`, so where it stays below log(1/alpha) is a confidence sequence, an interval.
- `log_mismatch`: null "the candidate gets the share `w` of the requests" (sample-ratio check).
"""

from collections.abc import Callable
from math import exp, inf, lgamma, log

_ODDS = (1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0, 1000.0)
"""Alternatives of `log_worse`: how many times the odds of an error are the candidate's."""

_PRIOR = (0.5, 10.0)
"""Beta prior of an error share: mostly small, never excluded."""

_SEARCH_STEPS = 60
_GOLDEN = 0.6180339887498949


def log_worse(candidate_errors: float, stable_errors: float, share: float) -> float:
    """Log evidence that the candidate errs more often; `share` is its part of the traffic, 0 < share < 1."""
    terms = []
    for odds in _ODDS:
        scale = log(share * odds + 1 - share)
        terms.append(candidate_errors * (log(odds) - scale) - stable_errors * scale)
    return _log_sum(terms) - log(len(terms))


def log_within(candidate: tuple[float, float], stable: tuple[float, float], margin: float) -> float:
    """Log evidence that the candidate's error share exceeds the stable one's by less than `margin`.

    Args:
        candidate: its (requests, errors).
        stable: the same of the stable revision, over the same time.
        margin: largest excess that is tolerated, 0 < margin < 1.
    """
    (n_c, k_c), (n_s, k_s) = candidate, stable
    errors, requests = k_c + k_s, n_c + n_s
    common = _log_mixture(errors, requests) - log(4)
    apart = _log_mixture(k_c, n_c) + _log_mixture(k_s, n_s) - log(4)
    spotless = -log(2) if errors == 0 else -inf
    return _log_sum([spotless, common, apart]) - _log_null(candidate, stable, margin)


def log_other(errors: float, requests: float, share: float) -> float:
    """Log evidence that the chance of an error is not `share`, 0 < share < 1."""
    return _log_mixture(errors, requests) - _log_likelihood(share, requests, errors)


def log_mismatch(candidate_requests: float, stable_requests: float, share: float) -> float:
    """Log evidence that the candidate's part of the requests is not `share`."""
    mixture = _log_beta(1 + candidate_requests, 1 + stable_requests)
    return mixture - candidate_requests * log(share) - stable_requests * log(1 - share)


def _log_mixture(errors: float, requests: float) -> float:
    """Log likelihood of the counts, averaged over the prior."""
    a, b = _PRIOR
    return _log_beta(a + errors, b + requests - errors) - _log_beta(a, b)


def _log_null(candidate: tuple[float, float], stable: tuple[float, float], margin: float) -> float:
    """The largest log likelihood where the candidate's error share is higher by `margin` or more."""
    (n_c, k_c), (n_s, k_s) = candidate, stable
    if n_c and n_s and k_c / n_c - k_s / n_s >= margin:
        return _log_likelihood(k_c / n_c, n_c, k_c) + _log_likelihood(k_s / n_s, n_s, k_s)

    def on_boundary(p: float) -> float:
        return _log_likelihood(min(p + margin, 1.0), n_c, k_c) + _log_likelihood(p, n_s, k_s)

    return _maximum(on_boundary, 0.0, 1.0 - margin)


def _maximum(concave: Callable[[float], float], low: float, high: float) -> float:
    """The maximum of a concave function, by golden section; the ends count too."""
    ends = max(concave(low), concave(high))
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_left, at_right = concave(left), concave(right)
    for _ in range(_SEARCH_STEPS):
        if at_left < at_right:
            low, left, at_left = left, right, at_right
            right = low + _GOLDEN * (high - low)
            at_right = concave(right)
        else:
            high, right, at_right = right, left, at_left
            left = high - _GOLDEN * (high - low)
            at_left = concave(left)
    return max(ends, at_left, at_right)


def _log_likelihood(p: float, requests: float, errors: float) -> float:
    return _times_log(errors, p) + _times_log(requests - errors, 1 - p)


def _times_log(count: float, p: float) -> float:
    """Count * log(p), where nothing times log(0) is nothing."""
    if count <= 0:
        return 0.0
    return count * log(p) if p > 0 else -inf


def _log_beta(a: float, b: float) -> float:
    return lgamma(a) + lgamma(b) - lgamma(a + b)


def _log_sum(terms: list[float]) -> float:
    top = max(terms)
    return top if top == -inf else top + log(sum(exp(term - top) for term in terms))
