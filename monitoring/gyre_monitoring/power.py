"""What a window could not have seen: the smallest shift and loss that it finds four times in five."""

import math

from gyre_monitoring.evidence import Evidence
from gyre_monitoring.figures import figure
from gyre_monitoring.stats.special import chi2_isf, noncentral_sf, normal_quantile

_BINS = 10
_POWER = 0.8
_FLOOR = 0.02
_OF_PSI = {
    "PSI": (1.0, False), "ChiSquare": (1.0, False), "KL": (2.0, False),
    "Hellinger": (8.0, True), "JensenShannon": (8.0 * math.log(2.0), True),
}  # fmt: skip
"""PSI over the effect, and whether the effect is squared first."""


def least_psi(rows: int, reference: int, level: float, floor: float = _FLOOR, bins: int = _BINS) -> float:
    """Population stability index that the test at `level` and the floor let through four times in five."""
    if min(rows, reference) < 1:
        return math.inf
    freedom, step = bins - 1, 1 / rows + 1 / reference
    critical = max(chi2_isf(level, freedom, floor / 2 / step), freedom + floor / step)
    low, high = 0.0, 10 * critical + 100
    while high - low > 1e-4 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if noncentral_sf(critical, freedom, middle) >= _POWER else (middle, high)
    return high * step


def least_effect(method: str, rows: int, reference: int, level: float, *, floor: float, bins: int) -> float | None:
    """The same in the unit of a method's effect; None for methods without a chi-square law.

    For small shifts KL is half of PSI, and the squares of the Hellinger and Jensen-Shannon distances are fixed
    parts of it.
    """
    factor, rooted = _OF_PSI.get(method, (0.0, False))
    if not factor:
        return None
    psi = least_psi(rows, reference, level, factor * (floor**2 if rooted else floor), bins)
    return math.sqrt(psi / factor) if rooted else psi / factor


def least_shift(psi: float) -> float:
    """The shift of a normal column's mean, in standard deviations, that has this index over ten bins."""
    return math.sqrt(psi / 0.93)  # ten bins keep 93 % of the divergence


def numbers(evidence: Evidence) -> dict[str, float | None]:
    """The limits of this window; None where nothing could be said."""
    tested = [one for one in evidence.inputs if one.segment is None and one.method != "MMD"]
    if not tested or not evidence.rows:
        return {"psi": None, "shift": None, "loss": None}
    level = evidence.budget.inputs / len(evidence.inputs)
    rows = min(one.rows for one in tested)
    reference = min(one.reference_rows for one in tested)
    psi = least_psi(rows, reference, level)
    return {"psi": round(psi, 4), "shift": round(least_shift(psi), 3), "loss": _least_loss(evidence)}


def sentence(evidence: Evidence) -> str:
    """The limits in words."""
    limits = numbers(evidence)
    if limits["shift"] is None:
        return "No column could be tested in this window."
    performance = evidence.performance
    words = [f"A shift of one column's mean below {limits['shift']:.2f} standard deviations"]
    if performance is not None and limits["loss"] is not None:
        words.append(
            f"or a loss of {performance.metric} below {figure(limits['loss'], 3)} ({performance.labels} labels)"
        )
        return " ".join(words) + " could have gone unseen (power 80 %)."
    return words[0] + " could have gone unseen (power 80 %); without mature labels so could any change of concept."


def _least_loss(evidence: Evidence) -> float | None:
    performance = evidence.performance
    if performance is None:
        return None
    error = math.hypot(performance.reference.standard_error, performance.realized.standard_error)
    return round((normal_quantile(1 - performance.level) + normal_quantile(_POWER)) * error, 5)
