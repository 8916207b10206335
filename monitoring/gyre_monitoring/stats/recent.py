"""The newest values of a stream as they are: where do the ones before and the ones after have other ranks?

Among so few values ranks can be taken anew each time, so nothing depends on a scale: the test is as right for heavy
tails and for values that training never had. It holds for every law of independent values: ties only make a rank sum
vary less than its continuous twin.
"""

from collections.abc import Sequence
from functools import cache
from math import lgamma
from typing import NamedTuple

import numpy as np

from gyre_monitoring.values import Floats

STEP = 16
"""Values that are taken at once."""
MOST = 256
"""Values that are kept."""
_LEAST = 8
"""Values on either side of a cut."""
_SHOWING = 64
"""Values from which on dependence can be seen."""
_BEND = 0.225
"""How much lighter than a normal one a rank sum's tail gets: its fourth cumulant, sides of one size."""


class Split(NamedTuple):
    """The values on both sides of a cut."""

    before: Floats
    after: Floats


class _Cuts(NamedTuple):
    """Every cut of n values."""

    variance: Floats
    """Of the rank sum of the older ones."""
    apart: Floats
    """Half the square of the normal score where the sides do not overlap."""
    ways: Floats
    """Logarithm of the number of ways to choose the older ones: what that is worth."""


class Recent:
    """The newest values since the last cut; `level` is the evidence that a cut needs."""

    def __init__(self, level: float, values: Sequence[float] = ()) -> None:
        self._level = level
        self.values: Floats = np.array(values, dtype=np.float64)

    def add(self, values: Floats, *, moving: bool = False) -> Split | None:
        """Take 16 values; the two sides where they made a change visible. The older side is forgotten then.

        While the column is steady a full window is looked at after every second call only, and evidence counts for
        less where the older values depend on each other.
        """
        full = self.values.size >= MOST
        self.values = np.concatenate((self.values, values))
        if full and not moving and self.values.size < MOST + 2 * STEP:
            return None
        self.values = self.values[-MOST:]
        found = evidence(self.values)
        if not found.size or found.max() < self._level:
            return None
        at = int(np.argmax(found)) + _LEAST
        split = Split(self.values[:at], self.values[at:])
        if not moving and found.max() * worth(split.before) < self._level:
            return None
        self.values = split.after
        return split

    def doubtful(self) -> bool:
        """Whether there is half the evidence of a change that is not seen yet, as within a trend."""
        return bool(evidence(self.values).max(initial=0.0) >= self._level / 2)

    def keep(self, rows: int) -> None:
        """Forget all but the newest."""
        self.values = self.values[max(self.values.size - rows, 0) :]


def evidence(values: Floats) -> Floats:
    """Of every cut: about minus the logarithm of the chance of such a rank sum where nothing changes.

    Half the square of its normal score is that only near the middle; at the other end, where the sides do not
    overlap at all, it is the logarithm of the number of ways to choose them.
    """
    if values.size < 2 * _LEAST:
        return np.empty(0, dtype=np.float64)
    cuts = _cuts(values.size)
    normal = np.cumsum(_ranks(values) / 2)[_LEAST - 1 : values.size - _LEAST] ** 2 / (2 * cuts.variance)
    part = normal / cuts.apart
    made: Floats = normal * (1 + _BEND * part + (cuts.ways / cuts.apart - 1 - _BEND) * part**6)
    return made


def worth(values: Floats) -> float:
    """Share of the values that count as independent: less than 1 where each shows to follow the one before.

    Fewer than 64 values show nothing, nor does what chance would do in one of forty times.
    """
    if values.size < _SHOWING:
        return 1.0
    ranks = _ranks(values)
    square = float(ranks @ ranks)
    followed = float(ranks[1:] @ ranks[:-1]) / square if square else 0.0
    followed = max(followed - 2 / values.size**0.5, 0.0)
    return float((1 - followed) / (1 + followed))


def _ranks(values: Floats) -> Floats:
    """Twice the rank of each, ties in the middle, with a mean of 0."""
    ordered = np.sort(values)
    below, upto = (np.searchsorted(ordered, values, side) for side in ("left", "right"))
    return np.asarray(below + upto - values.size, dtype=np.float64)


@cache
def _cuts(rows: int) -> _Cuts:
    older = np.arange(_LEAST, rows - _LEAST + 1)
    sides = older * (rows - older).astype(np.float64)
    ways = [lgamma(rows + 1) - lgamma(k + 1) - lgamma(rows - k + 1) for k in older]
    return _Cuts(sides * (rows + 1) / 12, 1.5 * sides / (rows + 1), np.array(ways))
