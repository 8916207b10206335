"""One column of a stream: where its values move to another level, and which of these moves are news.

Two memories look for a move: the newest values as they are, for what is large and fast, wherever it is; and ADWIN
over the values' ranks among the reference rows, between 0 and 1, for what shows in thousands of rows only. A column
that has left the reference's range would have one rank for ever: once it is steady it is ranked among its own recent
values. Memory is a few kilobytes, whatever has passed.
"""

import math
from collections.abc import Iterator
from typing import Annotated, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field

from gyre_crds.contracts.profile import ColumnProfile
from gyre_monitoring import movement
from gyre_monitoring.counting import LARGEST
from gyre_monitoring.movement import Moving
from gyre_monitoring.scale import Scale
from gyre_monitoring.stats.adwin import Adwin
from gyre_monitoring.stats.recent import MOST, STEP, Recent, Split
from gyre_monitoring.values import Floats, column_type, numbers, texts

FLOOR = 0.04
"""Least change of a mean rank that is told: about 0.14 standard deviations, as for the looks."""
Among = Literal["reference", "recent"]
_TESTS = 1e4
"""A test of the newest values errs as often as one in this many times the declared rate: they are looked at again and
again. So a steady stream is told to move once in 20,000 values over that rate, whatever the law of its values."""
_END = 0.1
"""Mean rank so near to an end of the range, with most of the newest values beyond it, tells nothing more."""


class Move(NamedTuple):
    """A change that is told."""

    row: int
    """Number of the row at which it was found."""
    before: float
    """Mean rank in the stretch before."""
    after: float
    rows: int
    """Rows since the change, as far as it can be dated."""
    among: Among
    """Rows that the ranks speak of."""


class _Found(NamedTuple):
    """A move that a memory made visible: mean ranks, and places on the scale, which has no ends."""

    ranks: tuple[float, float]
    places: tuple[float, float]
    rows: int
    beyond: bool
    """Whether the ranks are those of the two sides among themselves, because both are beyond the range."""


class ChannelState(BaseModel):
    """All that a channel remembers between two tables."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    told: bool
    base: float | None
    after: float
    moving: Moving | None
    waiting: Annotated[list[tuple[float, int]], Field(max_length=STEP - 1)]
    """Value (of a category its place in the profile) and row, where they do not fill a step yet."""
    buckets: list[list[tuple[float, float]]]
    recent: Annotated[list[float], Field(max_length=MOST + STEP)]
    anchor: Annotated[list[float], Field(max_length=MOST)]
    """The values that later ones are ranked among; none while the reference is."""


class Channel:
    """One column of the stream."""

    def __init__(self, profile: ColumnProfile, delta: float) -> None:
        self.profile = profile
        self._delta = delta
        self.told = False
        """Whether it was said that the column cannot be read."""
        self._adwin = Adwin(delta)
        self._level = math.log(_TESTS / delta)
        self._recent = Recent(self._level)
        self._base: float | None = None
        self._after = 0.0
        self._moving: Moving | None = None
        self._waiting: Floats = np.empty((2, 0), dtype=np.float64)
        self._scale = Scale.of(profile)
        self._anchor: Floats = np.empty(0, dtype=np.float64)

    def state(self) -> ChannelState:
        """What `resume` goes on from."""
        return ChannelState(
            told=self.told,
            base=self._base,
            after=self._after,
            moving=self._moving,
            waiting=[(float(value), int(row)) for value, row in self._waiting.T],
            buckets=self._adwin.buckets,
            recent=self._recent.values.tolist(),
            anchor=self._anchor.tolist(),
        )

    def resume(self, state: ChannelState) -> None:
        """Go on as if every value before had been added here."""
        self.told, self._base, self._after, self._moving = state.told, state.base, state.after, state.moving
        self._waiting = np.array(state.waiting, dtype=np.float64).reshape(-1, 2).T
        self._adwin = Adwin(self._delta, state.buckets)
        self._recent, self._anchor = Recent(self._level, state.recent), np.array(state.anchor)
        self._scale = Scale.among(self._anchor) if self._anchor.size else Scale.of(self.profile)

    def add(self, column: pa.Array, first: int) -> Iterator[Move]:
        """Every change that is told; `first` is the number of the first row."""
        found = self._values(column)
        known = np.flatnonzero(~np.isnan(found))
        waiting = np.concatenate((self._waiting, np.stack((found[known], (first + known).astype(np.float64)))), axis=1)
        steps = waiting.shape[1] // STEP
        for at in range(steps):
            values, rows = waiting[:, at * STEP : (at + 1) * STEP]
            move = self._step(values)
            if move is not None:
                yield Move(int(rows[-1]), *move.ranks, move.rows, self._among(move))
        self._waiting = waiting[:, steps * STEP :].copy()

    def _among(self, found: _Found) -> Among:
        return "recent" if found.beyond or self._anchor.size else "reference"

    def _step(self, values: Floats) -> _Found | None:
        """Take 16 values; what is told of them."""
        split = self._recent.add(values, moving=self._moving is not None)
        cut = self._adwin.add(self._scale.ranks(values))
        if split is not None:
            self._adwin.keep(split.after.size)
            return self._news(self._seen(split))
        if cut is not None:
            self._recent.keep(cut.rows)
            sides = (cut.before, cut.after)
            return self._news(_Found(sides, sides, cut.rows, beyond=False))
        if self._moving is not None:
            return self._waited(self._moving)
        if self._scale.left(values) and self._lost():
            self._rescale()
        return None

    def _seen(self, split: Split) -> _Found:
        ranks = _means(self._scale, split)
        places = (movement.level(self._scale.places(split.before)), movement.level(self._scale.places(split.after)))
        beyond = abs(ranks[1] - ranks[0]) < FLOOR and all(map(self._scale.left, split))
        if beyond:
            ranks = _means(Scale.among(np.sort(np.concatenate(split))), split)
        return _Found(ranks, places, split.after.size, beyond)

    def _news(self, found: _Found) -> _Found | None:
        """The move, where it is told."""
        before, after = found.ranks
        if not found.beyond:
            self._base = before if self._base is None else self._base
            before = self._base if self._moving is None else self._after
        small = abs(after - before) < FLOOR
        if self._moving is not None:
            self._moving, told = movement.moved(self._moving, found.places[1], found.rows)
        elif small:
            return None
        else:
            self._moving, told = movement.started(*found.places, found.rows), True
        if small or not told:
            return None
        return self._told(found._replace(ranks=(before, after)))

    def _waited(self, moving: Moving) -> _Found | None:
        """Call the column steady where it is; the level that it found, where that is not the one told."""
        self._moving, enough = movement.waited(moving, STEP)
        recent = self._recent.values
        if not enough or self._recent.doubtful():
            return None
        self._moving, self._base = None, self._adwin.mean
        places = self._scale.places(recent)
        place = movement.level(places)
        if not movement.elsewhere(moving, place):
            return None
        ranks, told_beyond = (self._after, self._base), not 0 <= moving.told <= 1
        beyond = abs(ranks[1] - ranks[0]) < FLOOR and told_beyond and self._scale.left(recent)
        if beyond:
            ranks = (float(np.mean(places < moving.told)), 0.5)
        if abs(ranks[1] - ranks[0]) < FLOOR:
            return None
        return self._told(_Found(ranks, (moving.told, place), recent.size, beyond))

    def _told(self, found: _Found) -> _Found:
        if not found.beyond:
            self._after = found.ranks[1]
        return found

    def _lost(self) -> bool:
        """Whether the ranks tell nothing more: the detector and the newest values are beyond the range."""
        if self._recent.values.size < MOST or _END < self._adwin.mean < 1 - _END:
            return False
        return self._scale.left(self._recent.values)

    def _rescale(self) -> None:
        """Rank later values among the newest ones; the new state is what the next change is measured against."""
        self._anchor = np.sort(self._recent.values[-MOST:])
        self._scale = Scale.among(self._anchor)
        self._adwin, self._base = Adwin(self._delta), 0.5

    def _values(self, column: pa.Array) -> Floats:
        """Numbers, or the places of categories in the profile; NaN is missing."""
        profile = self.profile
        if profile.category is not None:
            known = pa.array(profile.category.values, pa.string())
            values = texts(column)
            index = np.asarray(pc.fill_null(pc.index_in(values, known), len(known)), dtype=np.float64)
            index[np.asarray(values.is_null())] = np.nan  # one more than the last is a value without a name there
            return index
        measured = numbers(pc.utf8_length(texts(column)) if column_type(column.type) == "string" else column)
        return np.clip(measured, -LARGEST, LARGEST)


def _means(scale: Scale, split: Split) -> tuple[float, float]:
    return float(scale.ranks(split.before).mean()), float(scale.ranks(split.after).mean())
