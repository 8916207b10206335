"""Streaming: payload parts as they come, one change detector a column, one line a change.

What a column remembers and when it speaks is in `channel`; memory is a few kilobytes a column, whatever has passed.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from gyre_crds.contracts.payload import PayloadColumn
from gyre_crds.contracts.profile import ColumnProfile, Profile
from gyre_crds.v1alpha1.drift import DriftMonitorSpec
from gyre_monitoring.channel import Among, Channel, ChannelState
from gyre_monitoring.values import Floats, column_type, numbers
from gyre_monitoring.window import adapted

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
    among: Among = "reference"
    """Rows that the ranks speak of: the reference's, or beyond its range the column's own newest ones."""

    def words(self) -> str:
        """The change as a sentence."""
        rank = "in training" if self.among == "reference" else "among its newest rows, beyond training's range,"
        when = f" ({self.time})" if self.time else ""
        return (
            f"{self.column} moved: mean rank {rank} {self.before:.2f} before, {self.after:.2f} since about "
            f"{self.rows} rows; found at row {self.row}{when} in {self.part}"
        )


class StreamState(BaseModel):
    """All that a stream remembers between two tables."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rows: Annotated[int, Field(ge=0)]
    channels: dict[str, ChannelState]


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
            for move in channel.add(table[name].combine_chunks(), self.rows + 1):
                time = _stamp(times, move.row - self.rows - 1)
                ranks = round(move.before, 4), round(move.after, 4)
                yield Change(name, move.row, time, part, *ranks, move.rows, move.among)
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
