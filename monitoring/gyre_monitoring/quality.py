"""Data that are broken, not moved: missing values, ranges, unknown categories, constants, duplicates."""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from gyre_crds.contracts.payload import PayloadColumn
from gyre_crds.v1alpha1.drift import DriftMonitorSpec
from gyre_monitoring.evidence import Incident
from gyre_monitoring.history import Past
from gyre_monitoring.stats.special import normal_quantile
from gyre_monitoring.window import ColumnWindow, WindowCounter

HEAVY = 0.2
"""Share of broken values of one column from which on the incident is P0."""
_PLACEHOLDER = 0.1
_RARE = 0.01
_ROW_FACTOR = 10.0
_ROW_WINDOWS = 5
_PLACEHOLDER_DISTINCT = 16


def incidents(
    window: WindowCounter, spec: DriftMonitorSpec, past: Sequence[Past], broken: Sequence[str], rate: float,
) -> tuple[Incident, ...]:  # fmt: skip
    """Every incident beyond its threshold that chance (at `rate` for all checks together) does not explain."""
    columns = list(window.columns.values())
    reach = normal_quantile(1 - rate / max(len(columns) * len(_CHECKS), 1))
    found = [one for column in columns for check in _CHECKS for one in check(column, spec, reach) if column.rows]
    found += [*_duplicates(window, spec), *_row_count(window, past), *_unreadable(broken)]
    return tuple(sorted(found, key=lambda one: (not one.heavy, -one.share, one.column or "")))


def _missing(column: ColumnWindow, spec: DriftMonitorSpec, reach: float) -> Iterator[Incident]:
    seen = column.rows - column.absent - column.retyped
    if seen <= 0:
        return
    profile = column.profile
    before, now = profile.missing / profile.rows, column.missing / seen
    if now - before >= spec.quality.missing_increase and _rose(before, profile.rows, now, seen, reach):
        words = f"is missing in {now:.0%} of the rows ({before:.0%} in training)"
        yield Incident(profile.name, "missing", now, words, heavy=now - before >= HEAVY)


def _range(column: ColumnWindow, spec: DriftMonitorSpec, reach: float) -> Iterator[Incident]:
    del reach  # a declared range is a rule, not a distribution
    outside = column.below + column.above + column.infinite
    seen = column.valid + column.infinite
    if outside and outside > spec.quality.out_of_range * seen:
        share = outside / seen
        feature = column.feature
        low, high = (feature.min, feature.max) if feature else (None, None)
        limits = f"outside {'-inf' if low is None else f'{low:g}'} to {'inf' if high is None else f'{high:g}'}"
        words = f"is {limits if outside > column.infinite else 'infinite'} in {share:.1%} of the rows"
        yield Incident(column.profile.name, "range", share, words, heavy=share >= HEAVY)


def _categories(column: ColumnWindow, spec: DriftMonitorSpec, reach: float) -> Iterator[Incident]:
    del reach  # the reference has none, so the threshold alone decides
    if column.profile.kind != "Category" or column.profile.name == PayloadColumn.PREDICTION or not column.valid:
        return
    share = column.unseen / column.valid
    if share > spec.quality.new_categories:
        words = f"holds values that training never had in {share:.1%} of the rows"
        yield Incident(column.profile.name, "category", share, words, heavy=share >= HEAVY)


def _constant(column: ColumnWindow, spec: DriftMonitorSpec, reach: float) -> Iterator[Incident]:
    if column.valid < spec.window.min_rows / 2 or not _varied(column):
        return
    held, reference = _modal(column)
    if held < column.valid:
        return
    if column.valid * math.log(max(reference, 1e-12)) < math.log(0.5 * math.erfc(reach / math.sqrt(2))):
        yield Incident(column.profile.name, "constant", 1.0, "holds one single value, training had many", heavy=True)


def _placeholder(column: ColumnWindow, spec: DriftMonitorSpec, reach: float) -> Iterator[Incident]:
    del spec, reach
    number = column.profile.number
    values, counts = column.numbers.sketch.cells()
    if column.profile.kind != "Number" or number is None or len(number.edges) < _PLACEHOLDER_DISTINCT:
        return
    if column.profile.type == "time" or counts.size < 2 or not column.valid:  # noqa: PLR2004  a constant is _constant's
        return
    top = int(np.argmax(counts))
    share, value = int(counts[top]) / column.valid, float(values[top])
    if share >= _PLACEHOLDER and _reference_share(column, value) <= _RARE and column.numbers.sketch.exact:
        words = f"holds one value that training hardly had in {share:.0%} of the rows, like a placeholder"
        yield Incident(column.profile.name, "placeholder", share, words, heavy=share >= HEAVY)


_CHECKS: tuple[Callable[[ColumnWindow, DriftMonitorSpec, float], Iterator[Incident]], ...] = (
    _missing,
    _range,
    _categories,
    _constant,
    _placeholder,
)


def _duplicates(window: WindowCounter, spec: DriftMonitorSpec) -> Iterator[Incident]:
    share = window.duplicates
    if share > spec.quality.duplicates:
        yield Incident(None, "duplicates", share, f"{share:.0%} of the rows repeat a key of the same window")


def _row_count(window: WindowCounter, past: Sequence[Past]) -> Iterator[Incident]:
    rows = [one.rows for one in past]
    if len(rows) < _ROW_WINDOWS:
        return
    usual = float(np.median(rows))
    if window.rows > _ROW_FACTOR * usual and window.rows > 2 * max(rows):
        words = f"{window.rows} rows came, {usual:.0f} are usual"
        yield Incident(None, "rows", 1.0, words)


def _unreadable(broken: Sequence[str]) -> Iterator[Incident]:
    if broken:
        words = f"{len(broken)} part{'s' if len(broken) > 1 else ''} cannot be read, first {broken[0]}"
        yield Incident(None, "unreadable", 0.0, words)


def _rose(before: float, rows: int, now: float, seen: int, reach: float) -> bool:
    together = (before * rows + now * seen) / (rows + seen)
    return now - before > reach * math.sqrt(together * (1 - together) * (1 / rows + 1 / seen))


def _varied(column: ColumnWindow) -> bool:
    shape = column.profile.number or column.profile.category
    return shape is not None and len(shape.counts) > 1


def _modal(column: ColumnWindow) -> tuple[int, float]:
    """Rows that hold the most frequent value, and the share that value had in the reference."""
    if column.profile.category is not None:
        counts = column.counts
        top = int(np.argmax(counts))
        reference = [*column.profile.category.counts, column.profile.category.other, 0]
        return int(counts[top]), reference[top] / max(sum(reference), 1)
    values, cells = column.numbers.sketch.cells()
    top = int(np.argmax(cells))
    return int(cells[top]), _reference_share(column, float(values[top]))


def _reference_share(column: ColumnWindow, value: float) -> float:
    """Share of reference rows that can hold the value: its bin's, which is the most it can be."""
    number = column.profile.number
    if number is None or not number.edges or not number.min <= value <= number.max:
        return 0.0
    edges = np.asarray(number.edges)
    at = int(np.searchsorted(edges, value, side="left"))
    if number.exact and edges[at] != value:
        return 0.0
    return number.counts[at] / max(sum(number.counts), 1)
