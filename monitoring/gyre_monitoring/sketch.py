"""A histogram of float64 values in bounded memory that does not care in which order they came.

Cells are the values with their last mantissa bits cut off: none while few distinct values are seen,
one more each time there are too many. Cutting by one bit twice is cutting by two, so the cells depend
on the set of values alone: order, chunking and merging change nothing, to the last bit.
"""

import numpy as np
import numpy.typing as npt

from gyre_monitoring.values import Counts, Floats

_Keys = npt.NDArray[np.int64]
_MAGNITUDE = np.int64(0x7FFF_FFFF_FFFF_FFFF)
_LOW = np.uint64(0xFFFF_FFFF)
_LAST = np.float64(np.finfo(np.float64).max).view(np.int64)  # beyond it lie infinity and NaN
_BUFFER = 4  # compact when this many times the cells are waiting: sorting once is cheaper than often


class Sketch:
    """Counts of finite values in at most `cells` cells."""

    def __init__(self, cells: int = 16384) -> None:
        self._cells = cells
        self._shift = 0
        self._waiting: list[tuple[_Keys, Counts]] = []
        self._size = 0
        self.rows = 0

    def add(self, ordered: Floats) -> None:
        """Count values that are finite and sorted."""
        if not ordered.size:
            return
        self.rows += int(ordered.size)
        low, high = ordered.searchsorted(0.0), ordered.searchsorted(0.0, side="right")
        if high > low:
            ordered = ordered + 0.0  # two zeros would be two cells
        cells = ordered.view(np.int64) >> self._shift
        starts = np.concatenate(([0], np.flatnonzero(cells[1:] != cells[:-1]) + 1))
        self._push(_keys(ordered[starts]) >> self._shift, np.diff(starts, append=ordered.size))

    def merge(self, other: "Sketch") -> None:
        """Count everything that the other sketch has seen."""
        keys, counts, shift = other.state()
        self.rows += other.rows
        if shift > self._shift:
            self._coarsen(shift)
        self._push(keys >> (self._shift - shift), counts)

    def state(self) -> tuple[_Keys, Counts, int]:
        """Keys and counts of the cells, and how many bits are cut off."""
        keys, counts = self._compact()
        return keys, counts, self._shift

    def cells(self) -> tuple[Floats, Counts]:
        """The largest value of each cell, ascending, and its count; exact values while `exact`."""
        keys, counts = self._compact()
        top = (keys << self._shift) | ((np.int64(1) << self._shift) - 1)
        return _values(np.minimum(top, _LAST)), counts

    @property
    def exact(self) -> bool:
        """Whether every cell still is one value."""
        self._compact()
        return self._shift == 0

    def _push(self, keys: _Keys, counts: Counts) -> None:
        self._waiting.append((keys, counts))
        self._size += keys.size
        if self._size > _BUFFER * self._cells:
            self._compact()

    def _compact(self) -> tuple[_Keys, Counts]:
        if not self._waiting:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        keys = np.concatenate([part for part, _ in self._waiting])
        counts = np.concatenate([part for _, part in self._waiting])
        if len(self._waiting) > 1:
            order = np.argsort(keys, kind="stable")
            keys, counts = _grouped(keys[order], counts[order])
        if keys.size > self._cells:
            more = _bits_to_cut(keys, self._cells)
            self._shift += more
            keys, counts = _grouped(keys >> more, counts)
        self._waiting, self._size = [(keys, counts)], int(keys.size)
        return keys, counts

    def _coarsen(self, shift: int) -> None:
        keys, counts = self._compact()
        more = shift - self._shift
        self._shift = shift
        self._waiting = [_grouped(keys >> more, counts)] if keys.size else []


def quantiles(values: Floats, counts: Counts, shares: Floats) -> Floats:
    """The smallest value with at least each share of the counts at or below it."""
    total = np.cumsum(counts)
    at = np.searchsorted(total, np.ceil(shares * total[-1]).clip(1), side="left")
    found: Floats = values[at]
    return found


def _grouped(keys: _Keys, counts: Counts) -> tuple[_Keys, Counts]:
    starts = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
    return keys[starts], np.add.reduceat(counts, starts)


def _bits_to_cut(keys: _Keys, cells: int) -> int:
    """The fewest last bits without which at most so many of the ascending keys differ.

    Neighbours stay apart while the highest bit they differ in is kept; 32 bits at a time, because
    only whole numbers below 2^53 have their exact length as floats.
    """
    apart = (keys[1:] ^ keys[:-1]).view(np.uint64)
    high, low = np.frexp((apart >> np.uint64(32)).astype(np.float64))[1], np.frexp((apart & _LOW).astype(np.float64))[1]
    highest = np.where(high > 0, high + 32, low)
    left = keys.size - np.cumsum(np.bincount(highest, minlength=65))
    return int(np.argmax(left <= cells))


def _keys(values: Floats) -> _Keys:
    bits = values.view(np.int64)
    keys: _Keys = bits ^ ((bits >> 63) & _MAGNITUDE)
    return keys


def _values(keys: _Keys) -> Floats:
    bits: _Keys = keys ^ ((keys >> 63) & _MAGNITUDE)
    values: Floats = bits.view(np.float64)
    return values
