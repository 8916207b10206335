"""ADWIN: a window over a stream of values in [0, 1] that forgets its old end when that has another mean.

Bifet & Gavalda, "Learning from Time-Changing Data with Adaptive Windowing", 2007. Values come in blocks of 16,
which are counted at numpy's speed; a change is looked for with every second, as the usual implementation does.
Memory grows with the logarithm of the window.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gyre_monitoring.stats.recent import STEP
from gyre_monitoring.values import Floats

BLOCK = STEP
_MOST = 5  # buckets of one size; with one more, the two oldest become one of twice the size
_LEAST = 5  # values that the paper's bound takes off each side

Buckets = Sequence[Sequence[tuple[float, float]]]


class Cut(NamedTuple):
    """Where two stretches with different means meet most clearly."""

    before: float
    """Mean of the older stretch."""
    after: float
    rows: int
    """Values of the newer stretch."""


class Adwin:
    """One stream; `delta` is the error of its tests, 0.002 as a rule; `buckets` are another's, to go on from."""

    def __init__(self, delta: float, buckets: Buckets = ()) -> None:
        self._delta = delta
        self._sizes = [list(level) for level in buckets]

    @property
    def buckets(self) -> list[list[tuple[float, float]]]:
        """All that is remembered, by power of two, oldest first: sum and squared deviations."""
        return [list(level) for level in self._sizes]

    @property
    def rows(self) -> int:
        """Values in the window."""
        return sum(len(level) * (BLOCK << power) for power, level in enumerate(self._sizes))

    @property
    def mean(self) -> float:
        """Mean of the window."""
        return sum(total for level in self._sizes for total, _ in level) / max(self.rows, 1)

    def add(self, block: Floats) -> Cut | None:
        """Take 16 values; the change that they made visible, if they did. Old values are forgotten then."""
        total = float(block.sum())
        self._insert(total, max(float(block @ block) - total * total / BLOCK, 0.0))
        if len(self._sizes[0]) % 2:  # an odd number of blocks
            return None
        first = cut = self._cut()
        while cut is not None:
            self._drop()
            cut = self._cut()
        return first

    def keep(self, rows: int) -> None:
        """Forget the oldest buckets until no more than these rows are left."""
        while self.rows > rows:
            self._drop()

    def _insert(self, total: float, deviation: float) -> None:
        carried: tuple[float, float] | None = (total, deviation)
        power = 0
        while carried is not None:
            if power == len(self._sizes):
                self._sizes.append([])
            level = self._sizes[power]
            level.append(carried)
            carried = None
            if len(level) > _MOST:
                (first, one), (second, other) = level.pop(0), level.pop(0)
                carried = (first + second, one + other + (first - second) ** 2 / (2 * (BLOCK << power)))
            power += 1

    def _drop(self) -> None:
        """Forget the oldest bucket."""
        self._sizes[-1].pop(0)
        if not self._sizes[-1]:
            self._sizes.pop()

    def _cut(self) -> Cut | None:
        """The cut whose sides' means differ most beyond the bound, if any differ beyond it."""
        buckets = [
            (BLOCK << power, *bucket) for power, level in reversed([*enumerate(self._sizes)]) for bucket in level
        ]
        if len(buckets) < 2:  # noqa: PLR2004  one side is no cut
            return None
        sizes, totals, deviations = np.array(buckets).T
        rows, total = sizes.sum(), totals.sum()
        variance = (deviations.sum() + (sizes * (totals / sizes - total / rows) ** 2).sum()) / rows
        old, before = np.cumsum(sizes)[:-1], np.cumsum(totals)[:-1]
        sides = before / old, (total - before) / (rows - old)
        both = 1 / (old - _LEAST + 1) + 1 / (rows - old - _LEAST + 1)
        log = math.log(2 * math.log(rows) / self._delta)
        beyond = np.abs(sides[0] - sides[1]) - (np.sqrt(2 * both * variance * log) + 2 / 3 * both * log)
        at = int(np.argmax(beyond))
        return Cut(float(sides[0][at]), float(sides[1][at]), int(rows - old[at])) if beyond[at] > 0 else None
