"""Columns of vectors and of free text: a bounded sample of rows, and each row as a vector.

A text is the counts of its words and character triples, hashed into 256 buckets and scaled to length one,
with the logarithm of its length beside them.
"""

import math
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gyre_monitoring.values import Bools, Counts, Floats

MOST = 1000
"""Rows of a sample."""
_BUCKETS = 256
_LONGEST = 2000  # characters of a text that are looked at
_LARGEST = 1e150  # the squares of larger numbers are no numbers, and neither are distances
_SEED = 5
_P1, _P2 = np.uint32(2654435761), np.uint32(40503)


class Reservoir:
    """A uniform sample of the rows that stream by: every row draws a lot, and the lowest lots stay."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(_SEED)
        self._lots: Floats = np.empty(0)
        self._items: list[Any] = []
        self.rows = 0

    def add(self, rows: int, take: Callable[[Counts], list[Any]]) -> None:
        """Offer rows; `take` gives those of an index."""
        self.rows += rows
        lots = self._random.random(rows)
        limit = self._lots[-1] if self._lots.size == MOST else math.inf
        chosen = np.flatnonzero(lots < limit)
        chosen = np.sort(chosen[np.argsort(lots[chosen], kind="stable")[:MOST]])
        if not chosen.size:
            return
        merged, items = np.concatenate((self._lots, lots[chosen])), [*self._items, *take(chosen)]
        order = np.argsort(merged, kind="stable")[:MOST]
        self._lots, self._items = merged[order], [items[at] for at in order]

    def items(self) -> list[Any]:
        """The sample, in the order of the lots: any first part of it is a sample too."""
        return self._items


class VectorSample:
    """Vectors of one length."""

    def __init__(self, dimension: int | None = None) -> None:
        self.dimension = dimension
        self.reservoir = Reservoir()
        self.rows = self.missing = 0
        self.wrong: dict[int, int] = {}
        """Rows of another length than the first vector's (or the reference's), by length."""

    def add(self, column: pa.Array) -> None:
        """Count a chunk of lists of numbers; null, and a vector with a value that is null or not finite, is missing."""
        self.rows += len(column)
        present = column.drop_null()
        lengths = np.asarray(pc.list_value_length(present), dtype=np.int64)
        if self.dimension is None and lengths.size:
            self.dimension = int(lengths[0])
        fits = lengths == self.dimension
        for length, rows in zip(*np.unique(lengths[~fits], return_counts=True), strict=True):
            self.wrong[int(length)] = self.wrong.get(int(length), 0) + int(rows)
        usable = present if fits.all() else present.filter(pa.array(fits))
        finite = _finite(usable, self.dimension or 0)
        self.missing += column.null_count + int(finite.size - finite.sum())
        index = np.flatnonzero(finite)
        self.reservoir.add(index.size, lambda at: list(_matrix(usable.take(pa.array(index[at])), self.dimension or 0)))

    def matrix(self) -> Floats:
        """The sampled vectors, (rows, dimension)."""
        items = self.reservoir.items()
        return np.vstack(items) if items else np.empty((0, self.dimension or 0))


class TextSample:
    """Texts, cut to 2,000 characters."""

    def __init__(self) -> None:
        self.reservoir = Reservoir()

    def add(self, column: pa.Array) -> None:
        """Offer a chunk of strings; nulls are left out."""
        present = column.drop_null()
        self.reservoir.add(
            len(present), lambda at: [text[:_LONGEST] for text in present.take(pa.array(at)).to_pylist()]
        )

    def matrix(self) -> Floats:
        """The sampled texts as vectors, (rows, 257)."""
        items = self.reservoir.items()
        return np.vstack([_hashed(text) for text in items]) if items else np.empty((0, _BUCKETS + 1))


def _finite(column: pa.Array, dimension: int) -> Bools:
    if not len(column) or not dimension:
        return np.zeros(len(column), dtype=bool)
    values = np.asarray(column.flatten().to_numpy(zero_copy_only=False), dtype=np.float64)
    return np.asarray((np.abs(values) < _LARGEST).reshape(-1, dimension).all(axis=1))


def _matrix(column: pa.Array, dimension: int) -> Floats:
    values = column.flatten().to_numpy(zero_copy_only=False)
    return np.asarray(values, dtype=np.float64).reshape(-1, dimension)


def _hashed(text: str) -> Floats:
    content = np.frombuffer(f" {text.lower()} ".encode(), dtype=np.uint8).astype(np.uint32)
    triples = (content[:-2] * _P1 ^ content[1:-1] * _P2 ^ content[2:]) if content.size > 2 else content  # noqa: PLR2004
    words = np.array([zlib.crc32(word.encode()) for word in text.lower().split()], dtype=np.uint32)
    counts = np.bincount(np.concatenate((triples >> 7 ^ triples, words)) % _BUCKETS, minlength=_BUCKETS)
    length = float(np.linalg.norm(counts)) or 1.0
    return np.append(counts / length, math.log1p(len(text)))
