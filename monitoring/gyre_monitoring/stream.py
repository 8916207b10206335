"""Streaming: payload parts as they come, one change detector a column, one line a change.

Every value is its rank among the reference rows, between 0 and 1, so one outlier is one value, and one bound
serves every column. A column that has left the reference's range would have one rank for ever: from then on it is
ranked among its own recent values. Memory is a few kilobytes a column, whatever has passed.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field

from gyre_crds.contracts.payload import PayloadColumn
from gyre_crds.contracts.profile import ColumnProfile, Profile
from gyre_crds.v1alpha1.drift import DriftMonitorSpec
from gyre_monitoring.counting import LARGEST
from gyre_monitoring.scale import Scale
from gyre_monitoring.stats.adwin import BLOCK, Adwin, Cut
from gyre_monitoring.values import Floats, column_type, numbers, texts
from gyre_monitoring.window import adapted

FLOOR = 0.04
"""Least change of a mean rank that is told: about 0.14 standard deviations, as for the looks."""
_SETTLING = 32
"""Blocks of 32 values after a change in which further cuts belong to it."""
_ANOTHER = 3 * FLOOR
"""Least distance of the settled mean from the one told that is a change of its own."""
_RECENT = 128
"""Newest values of a number that are kept, to rank later ones among them."""
_COLLECTING = 8
"""Blocks after a change out of the range until the newest values are all from behind it."""
_END = 0.1
"""Mean rank so near to an end of the range, with most of the newest values beyond it, tells nothing more."""
_TESTED = 5.0  # 0.002, the usual error of a detector, for one column at the usual rate of 0.01


@dataclass(frozen=True)
class Change:
    """A column that moved."""

    column: str
    row: int
    """Number of the row at which it was found, the first of the stream being 1."""
    time: str | None
    """Arrival of that row, where rows carry one."""
    part: str
    before: float
    """Mean rank in the stretch before, among the rows that `among` names."""
    after: float
    rows: int
    """Rows since the change, as far as it can be dated."""
    among: Literal["reference", "recent"] = "reference"
    """Rows that the ranks speak of: the reference's, or the column's own since it left the reference's range."""

    def words(self) -> str:
        """The change as a sentence."""
        rank = "in training" if self.among == "reference" else f"among {_RECENT} rows after it left training's range"
        when = f" ({self.time})" if self.time else ""
        return (
            f"{self.column} moved: mean rank {rank} {self.before:.2f} before, {self.after:.2f} since about "
            f"{self.rows} rows; found at row {self.row}{when} in {self.part}"
        )


class ChannelState(BaseModel):
    """All that a channel remembers between two tables."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    told: bool
    base: float | None
    settling: Annotated[int, Field(ge=0)]
    after: float
    waiting: Annotated[list[tuple[float, int]], Field(max_length=BLOCK - 1)]
    """Value (of a category its place in the profile) and row, where they do not fill a block yet."""
    buckets: list[list[tuple[float, float]]]
    recent: Annotated[list[float], Field(max_length=_RECENT)]
    anchor: Annotated[list[float], Field(max_length=_RECENT)]
    """The values that later ones are ranked among; none while the reference is."""


class StreamState(BaseModel):
    """All that a stream remembers between two tables."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rows: Annotated[int, Field(ge=0)]
    channels: dict[str, ChannelState]


class Channel:
    """One column of the stream."""

    def __init__(self, profile: ColumnProfile, delta: float) -> None:
        self.profile = profile
        self._delta = delta
        self.told = False
        """Whether it was said that the column cannot be read."""
        self._adwin = Adwin(delta)
        self._base: float | None = None
        self._settling = 0
        self._after = 0.0
        self._waiting: Floats = np.empty((2, 0), dtype=np.float64)
        self._scale = Scale.of(profile)
        self._recent: Floats = np.empty(0, dtype=np.float64)
        self._anchor: Floats = np.empty(0, dtype=np.float64)

    @property
    def among(self) -> Literal["reference", "recent"]:
        """Rows that the ranks speak of."""
        return "recent" if self._anchor.size else "reference"

    def state(self) -> ChannelState:
        """What `resume` goes on from."""
        return ChannelState(
            told=self.told,
            base=self._base,
            settling=self._settling,
            after=self._after,
            waiting=[(float(value), int(row)) for value, row in self._waiting.T],
            buckets=self._adwin.buckets,
            recent=self._recent.tolist(),
            anchor=self._anchor.tolist(),
        )

    def resume(self, state: ChannelState) -> None:
        """Go on as if every value before had been added here."""
        self.told, self._base, self._settling, self._after = state.told, state.base, state.settling, state.after
        self._waiting = np.array(state.waiting, dtype=np.float64).reshape(-1, 2).T
        self._adwin = Adwin(self._delta, state.buckets)
        self._recent, self._anchor = np.array(state.recent), np.array(state.anchor)
        self._scale = Scale.among(self._anchor) if self._anchor.size else Scale.of(self.profile)

    def add(self, column: pa.Array, first: int) -> Iterator[tuple[int, float, float, int]]:
        """Row, mean before, mean after and rows since, of every change; `first` is the number of the first row."""
        found = self._values(column)
        known = np.flatnonzero(~np.isnan(found))
        waiting = np.concatenate((self._waiting, np.stack((found[known], (first + known).astype(np.float64)))), axis=1)
        ranks, blocks = self._scale.ranks(waiting[0]), waiting.shape[1] // BLOCK
        for at in range(blocks):
            block = slice(at * BLOCK, (at + 1) * BLOCK)
            change = self._found(self._adwin.add(ranks[block]))
            self._recent = np.concatenate((self._recent, waiting[0, block]))[-_RECENT:]
            if change is not None:
                if self._scale.left(waiting[0, block]):
                    change = change._replace(after=float(ranks[block].mean()))  # the cut still mixes in older values
                    self._settling, self._after = _COLLECTING, change.after
                yield int(waiting[1, block][-1]), *change
            elif self._lost():
                self._rescale()
                ranks = self._scale.ranks(waiting[0])
        self._waiting = waiting[:, blocks * BLOCK :].copy()

    def _lost(self) -> bool:
        """Whether the ranks tell nothing more: the detector and the newest values are beyond the range."""
        if self._settling or self._recent.size < _RECENT or _END < self._adwin.mean < 1 - _END:
            return False
        return self._scale.left(self._recent)

    def _rescale(self) -> None:
        """Rank later values among the newest ones; the new state is what the next change is measured against."""
        self._anchor = np.sort(self._recent)
        self._scale = Scale.among(self._anchor)
        self._adwin, self._base = Adwin(self._delta), 0.5

    def _found(self, cut: Cut | None) -> Cut | None:
        """The cut, where it is news.

        After a change the detector goes on cutting until nothing of the old state is left: the same change,
        told once. What it has settled on then is what the next change is measured against, so many small
        steps add up to one that is told.
        """
        if self._settling:
            self._settling -= 1
            return self._settled() if not self._settling else None
        if cut is None:
            return None
        self._base = cut.before if self._base is None else self._base
        if abs(cut.after - self._base) < FLOOR:
            return None
        self._settling = _SETTLING
        self._after = cut.after
        return cut._replace(before=self._base)

    def _settled(self) -> Cut | None:
        """What the detector settled on, where that is not what was told: another change came in the meantime.

        A mean of the few rows of a fresh cut is rough, hence the wider floor.
        """
        told, self._base = self._after, self._adwin.mean
        if abs(self._base - told) < _ANOTHER:
            return None
        self._settling, self._after = _SETTLING, self._base
        return Cut(told, self._base, self._adwin.rows)

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


class Stream:
    """All columns of a monitor."""

    def __init__(self, profile: Profile, spec: DriftMonitorSpec) -> None:
        known = adapted(profile, spec)
        watched = [*known.columns, *(one for one in (known.prediction, known.score) if one)]
        usable = [one for one in watched if _streams(one)]
        delta = spec.false_alarm_rate / _TESTED / max(len(usable), 1)
        self.channels = {one.name: Channel(one, delta) for one in usable}
        self.left_out = [one.name for one in watched if not _streams(one)]
        self.rows = 0
        followed = [one.model_dump_json() for one in usable]
        self.follows = hashlib.sha256("\n".join([repr(delta), *followed]).encode()).hexdigest()
        """Changes with whatever a state depends on: columns, their reference and the declared rate."""

    def state(self) -> StreamState:
        """What `resume` goes on from."""
        return StreamState(rows=self.rows, channels={name: one.state() for name, one in self.channels.items()})

    def resume(self, state: StreamState) -> None:
        """Go on as if every table before had been added here; the state is one of a stream that follows the same."""
        self.rows = state.rows
        for name, channel in self.channels.items():
            channel.resume(state.channels[name])

    def add(self, table: pa.Table, part: str) -> Iterator[Change | str]:
        """The changes that a table shows, and a sentence for each column that stops being readable."""
        times = numbers(table[PayloadColumn.TIME]) if PayloadColumn.TIME in table.column_names else None
        for name, channel in self.channels.items():
            problem = _problem(channel.profile, table)
            if problem and not channel.told:
                yield f"{name} {problem} in {part}: the column is not followed there"
            channel.told = bool(problem)
            if problem:
                continue
            for row, before, after, rows in channel.add(table[name].combine_chunks(), self.rows + 1):
                time = _stamp(times, row - self.rows - 1)
                yield Change(name, row, time, part, round(before, 4), round(after, 4), rows, channel.among)
        self.rows += table.num_rows


def _streams(profile: ColumnProfile) -> bool:
    shape = profile.number or profile.category
    return profile.type != "time" and shape is not None and len(shape.counts) > 1


def _problem(profile: ColumnProfile, table: pa.Table) -> str:
    if profile.name not in table.column_names:
        return "is missing"
    kind = column_type(table.schema.field(profile.name).type)
    label = profile.name == PayloadColumn.PREDICTION and profile.kind == "Category"
    return "" if kind in {profile.type, "nothing"} or label else f"arrives as {kind}, training had {profile.type},"


def _stamp(times: Floats | None, index: int) -> str | None:
    if times is None or not 0 <= index < times.size or np.isnan(times[index]):
        return None
    return datetime.fromtimestamp(times[index], UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
