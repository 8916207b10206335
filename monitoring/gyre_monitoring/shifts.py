"""Testing columns against their reference: one family, one declared rate."""

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from gyre_crds.contracts.profile import ColumnProfile
from gyre_crds.v1alpha1.drift import Feature
from gyre_monitoring.errors import InputError
from gyre_monitoring.history import Baseline
from gyre_monitoring.stats.bins import Pair
from gyre_monitoring.stats.methods import FLOORS, METHODS, Measure
from gyre_monitoring.stats.mmd import FEATURES, FLOOR, cosines, mmd
from gyre_monitoring.stats.multiple import adjusted
from gyre_monitoring.values import Floats
from gyre_monitoring.window import ColumnWindow

LEAST_ROWS = 50
"""Usable values below which a column is not tested."""


@dataclass(frozen=True)
class Shift:
    """One test of one column, in one segment or in the whole window."""

    name: str
    kind: str
    method: str
    measure: Measure
    rows: int
    reference_rows: int
    weight: float = 1.0
    floor: float = 0.02
    segment: str | None = None
    p_adjusted: float = 1.0
    excess: float = math.inf
    """Distance above the column's own past, in spreads; infinite without one."""
    drifted: bool = False

    @property
    def key(self) -> str:
        """Name of its statistic in a report."""
        return f"shift:{self.name}" if self.segment is None else f"shift:{self.segment}:{self.name}"

    @property
    def noise(self) -> float:
        """Standard deviation of the effect by theory, were nothing to move."""
        step = 1.0 / max(self.rows, 1) + 1.0 / max(self.reference_rows, 1)
        return math.sqrt(2.0 * max(self.measure.bins - 1, 1)) * step

    @property
    def rank(self) -> float:
        """Effect in floors times importance: what the top columns are ordered by."""
        return self.measure.effect / self.floor * self.weight if self.floor else self.measure.effect * self.weight


def pair(profile: ColumnProfile, window: ColumnWindow) -> Pair:
    """The reference's and the window's counts over the same bins."""
    if profile.category is not None:
        shape = profile.category
        return Pair(np.asarray([*shape.counts, shape.other, 0], dtype=np.int64), window.counts)
    counts = profile.number.counts if profile.number else []
    return Pair(np.asarray(counts, dtype=np.int64), window.counts)


def edges(profile: ColumnProfile) -> Floats | None:
    """Bin edges of a number; None for a category."""
    return np.asarray(profile.number.edges) if profile.number is not None else None


def measured(window: ColumnWindow, segment: str | None = None) -> Shift | None:
    """The column's test; None where there is nothing to compare (a time, a constant, too few values)."""
    profile, feature = window.profile, window.feature
    method = _method(profile, feature)
    if method == "MMD":
        return _sampled(window, segment)
    counts = pair(profile, window)
    if profile.type == "time" or min(counts.current.sum(), counts.reference.sum()) < LEAST_ROWS:
        return None
    weight = feature.weight if feature else 1.0
    floor = _floor(feature, FLOORS[method])
    measure = METHODS[method](counts, edges(profile), floor)
    return Shift(
        name=profile.name,
        kind=profile.kind,
        method=method,
        measure=measure,
        rows=int(counts.current.sum()),
        reference_rows=int(counts.reference.sum()),
        weight=weight,
        floor=floor,
        segment=segment,
    )


def _sampled(window: ColumnWindow, segment: str | None) -> Shift | None:
    """The test of a text or a vector, on samples of rows."""
    profile, feature, vector = window.profile, window.feature, window.profile.vector
    if vector is None or window.sample is None:
        return None
    vectors = window.sample.matrix()
    if min(len(vectors), vector.rows) < LEAST_ROWS:
        return None
    reference = np.frombuffer(base64.b64decode(vector.sample), dtype=np.int8).reshape(vector.rows, FEATURES)
    floor = _floor(feature, FLOOR)
    return Shift(
        name=profile.name,
        kind=profile.kind,
        method="MMD",
        measure=mmd(reference, cosines(vectors, vector.bandwidth), floor),
        rows=len(vectors),
        reference_rows=vector.rows,
        weight=feature.weight if feature else 1.0,
        floor=floor,
        segment=segment,
    )


def too_few(window: ColumnWindow) -> str:
    """Why a text or vector was not tested; empty for other columns."""
    vector, sample = window.profile.vector, window.sample
    if vector is None or sample is None:
        return ""
    rows, side = min((sample.reservoir.rows, "window"), (vector.rows, "reference"))
    return f"{window.profile.name} was not tested: {rows} usable rows in the {side}, {LEAST_ROWS} are needed"


def judged(shifts: Sequence[Shift], rate: float, baseline: Baseline | None) -> list[Shift]:
    """The family with adjusted p-values and verdicts: significant, large enough, and beyond its own past."""
    p_values = adjusted(
        np.array([one.measure.p_value for one in shifts]),
        np.array([one.weight for one in shifts]),
    )
    return [_decided(one, float(p), rate, baseline) for one, p in zip(shifts, p_values, strict=True)]


def noises(shifts: Sequence[Shift]) -> Mapping[str, float]:
    """Least spread of every statistic of the family."""
    return {one.key: one.noise for one in shifts}


def _decided(shift: Shift, p_adjusted: float, rate: float, baseline: Baseline | None) -> Shift:
    excess = math.inf if baseline is None else baseline.excess(shift.key, shift.measure.signed, shift.noise)
    beyond = baseline is None or excess > baseline.limit
    drifted = p_adjusted <= rate and shift.measure.effect >= shift.floor and beyond
    return replace(shift, p_adjusted=p_adjusted, excess=excess, drifted=bool(drifted))


def _method(profile: ColumnProfile, feature: Feature | None) -> str:
    wanted = feature.method if feature is not None else None
    if profile.vector is None and wanted == "MMD":
        raise InputError(
            f"features.{profile.name}.method: MMD compares texts and vectors, and the reference holds no sample of "
            f"{profile.name}, a {profile.kind}: name another method, or make the profile anew"
        )
    if profile.kind == "Vector" and wanted not in {None, "MMD"}:
        raise InputError(f"features.{profile.name}.method: only MMD compares vectors, {wanted} does not")
    if wanted is not None:
        return wanted
    if profile.vector is not None:
        return "MMD"
    return "ChiSquare" if profile.kind == "Category" else "PSI"


def _floor(feature: Feature | None, usual: float) -> float:
    if feature is None:
        return usual
    return feature.threshold if feature.threshold is not None else usual / _eased(feature.weight)


def _eased(weight: float) -> float:
    """Important columns alarm at smaller effects, others at larger ones, within a factor of four."""
    return min(max(weight, 0.25), 4.0)
