"""A column that arrives in another unit: every quantile times, or plus, one constant."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from gyre_crds.contracts.profile import ColumnProfile
from gyre_monitoring.figures import figure
from gyre_monitoring.sketch import quantiles
from gyre_monitoring.values import Counts, Floats
from gyre_monitoring.window import ColumnWindow

_SHARES = np.linspace(0.05, 0.95, 19)
_LEAST_VALUES = 100
_LEAST_DISTINCT = 8
_LEAST_APART = 0.4  # difference of the distribution functions below which nobody changed a unit
_NO_OVERLAP = 0.95
_LEAST_SUBSET = 0.1
_KNOWN = (0.3048, 0.4536, 0.6214, 0.9144, 1.094, 1.609, 1.8)
_OFFSETS = ((1.8, 32.0), (1 / 1.8, -32 / 1.8), (1.0, 273.15), (1.0, -273.15))
_FIT = 0.06
_FIRST = 2  # the first whole factor that changes anything
_KNOWN_FIT = 0.01
_ROUNDING = 0.08


@dataclass(frozen=True)
class UnitChange:
    """How the values of a column are transformed."""

    factor: float
    offset: float
    share: float
    """Share of the values it holds for."""
    before: float
    """Median in the reference."""
    now: float
    """Median of the values it holds for."""

    def words(self) -> str:
        """The change, and what shows it, for a sentence."""
        if self.offset and self.factor == 1.0:
            how = f"{figure(abs(self.offset))} {'higher' if self.offset > 0 else 'lower'} than in training"
        elif self.offset:
            how = f"times {self.factor:.3g} plus {self.offset:.3g}, a change of temperature scale"
        elif self.factor > 1:
            how = f"{figure(self.factor)} times larger than in training"
        else:
            how = f"{figure(1 / self.factor)} times smaller than in training"
        return f"{how} (median {figure(self.now)} against {figure(self.before)})"


def unit_change(window: ColumnWindow) -> UnitChange | None:
    """The change of unit that explains the window's values, if one does, for all or for those out of range."""
    profile = window.profile
    number = profile.number
    if profile.kind != "Number" or profile.type != "number" or number is None or len(number.edges) < _LEAST_DISTINCT:
        return None
    values, counts = window.numbers.sketch.cells()
    total = int(counts.sum())
    if total < _LEAST_VALUES:
        return None
    whole = _change(profile, _Sample(values, counts))
    if whole is not None:
        return whole
    strange = (values < number.min) | (values > number.max)
    part = int(counts[strange].sum())
    if part < max(_LEAST_VALUES, _LEAST_SUBSET * total) or strange.sum() < _LEAST_DISTINCT:
        return None
    found = _change(profile, _Sample(values[strange], counts[strange]))
    if found is None:
        return None
    return UnitChange(found.factor, found.offset, part / total, found.before, found.now)


class _Sample(NamedTuple):
    """Ascending values and how often each occurs."""

    values: Floats
    counts: Counts

    def moved(self, factor: float, offset: float) -> "_Sample":
        return _Sample(self.values * factor + offset, self.counts)


def _change(profile: ColumnProfile, current: _Sample) -> UnitChange | None:
    number = profile.number
    if number is None:
        return None
    reference = _Sample(np.asarray(number.edges), np.asarray(number.counts))
    apart = _apart(reference, current)
    if apart < _LEAST_APART:
        return None
    before, now = quantiles(*reference, _SHARES), quantiles(*current, _SHARES)
    fits = []
    for factor, offset in _candidates(before, now):
        misfit = _apart(reference.moved(factor, offset), current)
        if misfit <= _tolerance(reference, current) and _unlike_drift(factor, offset, apart):
            fits.append((misfit, factor, offset))
    if not fits:
        return None
    _, factor, offset = min(fits)
    return UnitChange(factor, offset, 1.0, float(before[9]), float(now[9]))


def _candidates(before: Floats, now: Floats) -> list[tuple[float, float]]:
    candidates = list(_OFFSETS)
    usable = (before != 0) & (np.sign(before) == np.sign(now))
    if usable.sum() > before.size / 2:
        factor = float(np.exp(np.median(np.log(np.abs(now[usable] / before[usable])))))
        candidates += [(one, 0.0) for one in _near(factor)]
    candidates.append((1.0, float(np.median(now - before))))
    return candidates


def _near(factor: float) -> list[float]:
    """12.3 read off noisy quantiles is 12, and 0.081 is 1/12; the raw factor competes."""
    base = factor if factor >= 1 else 1 / factor
    whole = [float(one) for one in (round(base), round(base) - 1, round(base) + 1) if one >= _FIRST]
    whole += [one if one >= 1 else 1 / one for one in _KNOWN]
    bases = [one for one in whole if abs(base / one - 1) < _ROUNDING] + [base]
    return [one if factor >= 1 else 1 / one for one in bases]


def _tolerance(reference: _Sample, current: _Sample) -> float:
    """Kolmogorov distance that chance, rounding and a few stray values may leave."""
    n, m = int(current.counts.sum()), int(reference.counts.sum())
    return _FIT + 1.63 * math.sqrt((n + m) / (n * m))


def _unlike_drift(factor: float, offset: float, apart: float) -> bool:
    """A price that rose by half is drift; a unit has a known factor, a large one, or leaves no overlap."""
    if offset:
        return (factor, offset) in _OFFSETS or apart >= _NO_OVERLAP
    base = max(factor, 1 / factor)
    known = any(abs(base / max(one, 1 / one) - 1) < _KNOWN_FIT for one in _KNOWN)
    return known or base >= _FIRST


def _apart(left: _Sample, right: _Sample) -> float:
    """Kolmogorov distance of two samples, blind to steps closer together than rounding."""
    points = np.concatenate((left.values, right.values))
    points += np.abs(points) * 1e-9
    below = [
        np.concatenate(([0.0], np.cumsum(side.counts)))[np.searchsorted(side.values, points, side="right")]
        / side.counts.sum()
        for side in (left, right)
    ]
    return float(np.abs(below[0] - below[1]).max())
