"""Ranks of single values, as the stream follows them."""

from typing import NamedTuple

import numpy as np

from gyre_crds.contracts.profile import ColumnProfile
from gyre_monitoring.counting import LARGEST
from gyre_monitoring.values import Counts, Floats

_FEW = 0.01
"""Share of the rows in an outermost bin that may be outliers."""


class Scale(NamedTuple):
    """Ranks of values, between 0 and 1: the middle rank of the bin that each lies in."""

    edges: Floats
    """Upper ends of the bins; values beyond are in the first and the last one."""
    middles: Floats
    low: float
    high: float

    @classmethod
    def of(cls, profile: ColumnProfile) -> "Scale":
        """Among the reference rows; of categories by frequency, then the rare ones, which have no name."""
        if profile.category is not None:
            counts = np.array([*profile.category.counts, profile.category.other], dtype=np.float64)
            return cls(np.arange(counts.size, dtype=np.float64), _middles(counts), -np.inf, np.inf)
        number = profile.number
        if number is None:
            raise ValueError(f"{profile.name} has no histogram")
        return cls._numbers(np.asarray(number.edges), np.asarray(number.counts), number.min)

    @classmethod
    def among(cls, values: Floats) -> "Scale":
        """Among these values, which are sorted. What lies beyond all of them has a rank of its own.

        A column that stood still would else have one rank for whatever comes.
        """
        edges, counts = np.unique(values, return_counts=True)
        made = cls._numbers(edges, counts, float(edges[0]))
        below = np.nextafter(edges[0], -np.inf)
        middles = _middles(np.concatenate(([0], counts, [0])))
        return made._replace(edges=np.concatenate(([below], edges, [np.inf])), middles=middles)

    @classmethod
    def _numbers(cls, edges: Floats, counts: Counts, low: float) -> "Scale":
        """The range is without its outermost bins where these hold few rows: an outlier would stretch it for ever."""
        few = _FEW * counts.sum()
        ends = (low if counts[0] > few else edges[0], edges[-1] if counts[-1] > few else edges[-2])
        return cls(edges, _middles(counts), float(ends[0]), float(ends[1]))

    def ranks(self, values: Floats) -> Floats:
        """The rank of each."""
        found: Floats = self.middles[np.minimum(np.searchsorted(self.edges, values, side="left"), self.edges.size - 1)]
        return found

    def places(self, values: Floats) -> Floats:
        """The rank of each, and beyond the range how far from its end, in ranges: what moves on there still moves."""
        if not np.isfinite(self.high - self.low):
            return self.ranks(values)
        span = max(self.high - self.low, 1 / LARGEST) if self.high > self.low else 1.0
        beyond = np.maximum(values - self.high, 0) - np.maximum(self.low - values, 0)
        return self.ranks(values) + beyond / span

    def left(self, values: Floats) -> bool:
        """Whether most of the values lie beyond the range."""
        return bool(np.mean((values < self.low) | (values > self.high)) > 0.5)  # noqa: PLR2004  most


def _middles(counts: Floats | Counts) -> Floats:
    return np.asarray((np.cumsum(counts) - counts / 2) / max(counts.sum(), 1.0))
