"""Counting one column while rows stream by: exact counts, bounded memory, order-free."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gyre_monitoring.samples import TextSample, VectorSample
from gyre_monitoring.sketch import Sketch
from gyre_monitoring.values import ColumnType, Counts, Floats, column_type, numbers, texts

DISTINCT = 20_000
"""Categories counted one by one; a column with more is text or an identifier."""
LARGEST = 1e150
"""Numbers beyond it count as infinite: their squares are no floats, and nobody measures them."""


class Sorted(NamedTuple):
    """The finite values of one chunk in ascending order, and what is not finite."""

    finite: Floats
    missing: int
    infinite: int


def split(values: Floats) -> Sorted:
    """Sort a chunk once; everything else is read off the sorted values."""
    ordered = np.sort(values)  # NaN goes last, infinities to the ends
    valid = int(ordered.searchsorted(np.inf, side="right"))
    low, high = ordered.searchsorted(-LARGEST), ordered.searchsorted(LARGEST, side="right")
    return Sorted(ordered[low:high], ordered.size - valid, int(valid - (high - low)))


class NumberCounter:
    """A number, a time, or a text by its length."""

    def __init__(self, cells: int = 16384) -> None:
        self.rows = self.missing = self.infinite = 0
        self.sketch = Sketch(cells)

    def add(self, values: Floats) -> Sorted:
        """Count a chunk; NaN is missing."""
        part = split(values)
        self.rows += int(values.size)
        self.missing += part.missing
        self.infinite += part.infinite
        self.sketch.add(part.finite)
        return part


class CategoryCounter:
    """A category, value by value."""

    def __init__(self) -> None:
        self.rows = self.missing = 0
        self.counts: dict[str, int] = {}
        self.overflow = False

    def add(self, column: pa.Array) -> None:
        """Count a chunk of strings; null is missing."""
        self.rows += len(column)
        self.missing += column.null_count
        if self.overflow:
            return
        for entry in pc.value_counts(column.drop_null()).to_pylist():
            self.counts[entry["values"]] = self.counts.get(entry["values"], 0) + entry["counts"]
        if len(self.counts) > DISTINCT:
            self.overflow, self.counts = True, {}

    def ranked(self) -> list[tuple[str, int]]:
        """Categories, most frequent first, ties by name."""
        return sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))


class ColumnCounter:
    """A reference column whose kind is not known yet: counted as everything it may turn out to be."""

    def __init__(self, name: str, *, categorical: bool) -> None:
        self.name = name
        self.categorical = categorical
        self.type: ColumnType = "nothing"
        self.conflict = False
        self.number = NumberCounter()
        self.category = CategoryCounter()
        self.vectors = VectorSample()
        self.texts = TextSample()

    def add(self, column: pa.Array) -> None:
        """Count a chunk."""
        kind = column_type(column.type)
        if kind != "nothing":
            self.conflict |= self.type not in {"nothing", kind}
            self.type = kind
        if kind in {"number", "time"}:
            self.number.add(numbers(column))
        elif kind == "string":
            self.number.add(numbers(pc.utf8_length(texts(column))))
            self.texts.add(texts(column))
        elif kind == "vector":
            self.vectors.add(column)
        else:
            self.number.add(np.full(len(column), np.nan))
            self.vectors.rows += len(column)
            self.vectors.missing += len(column)
        if kind == "string" or self.categorical or pa.types.is_boolean(column.type):
            self.categorical |= kind != "string"
            self.category.add(texts(column))
        elif self.category.rows:
            self.category.add(pa.nulls(len(column), pa.string()))


def bin_counts(ordered: Floats, edges: Floats) -> Counts:
    """Counts of sorted finite values in the bins `(edge[i-1], edge[i]]`; the last one is open."""
    upto = np.searchsorted(ordered, edges, side="right")
    upto[-1] = ordered.size
    return np.diff(upto, prepend=0).astype(np.int64)
