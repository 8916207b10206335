"""Shares for pictures: a column of the reference and of the window over the same bars."""

from typing import Any

import numpy as np

from gyre_monitoring.sketch import quantiles
from gyre_monitoring.values import Counts, Floats
from gyre_monitoring.window import ColumnWindow

_BARS = 24
_CATEGORIES = 10


def histogram(column: ColumnWindow) -> dict[str, Any]:
    """`labels`, and for each bar the shares `reference` and `current`; bars of numbers are equally wide."""
    if column.profile.category is not None:
        return _categories(column)
    number = column.profile.number
    if number is None or not number.edges:
        return {"labels": [], "reference": [], "current": []}
    before = (np.asarray(number.edges), np.asarray(number.counts))
    now = column.numbers.sketch.cells()
    low, high = _range(before, now)
    bars = _BARS
    if number.integral and high - low < _BARS:
        low, high, bars = low - 0.5, high + 0.5, int(high - low) + 1
    limits = np.linspace(low, high, bars + 1)
    return {
        "labels": [float(f"{one:.6g}") for one in (limits[:-1] + limits[1:]) / 2],
        "reference": _shares(*before, limits),
        "current": _shares(*now, limits),
        "numeric": True,
    }


def _range(before: tuple[Floats, Counts], now: tuple[Floats, Counts]) -> tuple[float, float]:
    """Where 99 % of both lie, so that one outlier does not squeeze the picture."""
    ends = np.array([0.005, 0.995])
    spans = [quantiles(*side, ends) for side in (before, now) if side[1].sum()]
    low, high = min(one[0] for one in spans), max(one[1] for one in spans)
    return (float(low), float(high)) if high > low else (float(low) - 0.5, float(low) + 0.5)


def _shares(values: Floats, counts: Counts, limits: Floats) -> list[float]:
    total = counts.sum()
    if not total:
        return [0.0] * (limits.size - 1)
    index = np.clip(np.searchsorted(limits, values, side="right") - 1, 0, limits.size - 2)
    bars = np.bincount(index, weights=counts, minlength=limits.size - 1)
    return [round(float(one), 5) for one in bars / total]


def _categories(column: ColumnWindow) -> dict[str, Any]:
    shape = column.profile.category
    if shape is None:
        return {"labels": [], "reference": [], "current": []}
    before = np.asarray([*shape.counts, shape.other, 0], dtype=np.float64)
    now = column.counts.astype(np.float64)
    shares = [side / max(side.sum(), 1.0) for side in (before, now)]
    order = np.argsort(-np.maximum(shares[0], shares[1])[: len(shape.values)])[:_CATEGORIES]
    order = np.sort(order)
    rest = [float(side.sum() - side[order].sum() - side[-1]) for side in shares]
    labels = [shape.values[at] for at in order]
    columns = [[round(float(side[at]), 5) for at in order] for side in shares]
    for name, extra in (("other", rest), ("new", [float(side[-1]) for side in shares])):
        if max(extra) > 0.0005:  # noqa: PLR2004  a bar thinner than a pixel tells nothing
            labels.append(name)
            for side, value in zip(columns, extra, strict=True):
                side.append(round(value, 5))
    return {"labels": labels, "reference": columns[0], "current": columns[1], "numeric": False}
