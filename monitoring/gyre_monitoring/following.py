"""`gyre-monitoring stream`: the parts of a folder or a store prefix, once or as they come, and what is said of them."""

import argparse
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import NamedTuple, TypeVar

import pyarrow as pa

from gyre_monitoring import local, reference, settings
from gyre_monitoring.checkpoint import Checkpoint, Standing
from gyre_monitoring.errors import InputError, StoreError
from gyre_monitoring.parts import Parts
from gyre_monitoring.sources import Source
from gyre_monitoring.stream import Change, Stream
from gyre_monitoring.telemetry import Telemetry
from gyre_monitoring.telling import Teller, Told, line

_LONGEST = 60.0
"""Seconds between two tries of a store that does not answer, at most."""
_SHARE = 10
"""Times the last writing of the state took that pass before the next one, unless something was found."""
_Made = TypeVar("_Made")
_Tables = Iterable[tuple[str, pa.Table]]


def run(options: argparse.Namespace) -> None:
    """Say each change that is found, and at the end how much was looked at; Ctrl-C or SIGTERM end following.

    Raises:
        InputError: no profile, no part, or nothing in it that can be followed.
        StoreError: the store does not answer, without `--follow`.
    """
    if not options.every > 0:
        raise InputError(f"--every {options.every:g} is no time to wait: give seconds above 0")
    spec, contract = settings.read(options.config)
    known, _ = reference.from_bytes(local.file_content(options.profile), str(options.profile), spec, contract)
    stream = Stream(known, spec)
    if not stream.channels:
        raise InputError(f"{options.profile} holds no column with two values or more: there is nothing to follow")
    telemetry = Telemetry()
    if options.metrics_port is not None:
        telemetry.serve(options.metrics_port)
    with Teller(options.out) as teller:
        follower = _Follower(stream, Source(options.current), teller, _checkpoint(options), telemetry, options)
        try:
            signal.signal(signal.SIGTERM, signal.default_int_handler)
            follower.run()
        except KeyboardInterrupt:
            pass
        rows, count, changes = follower.counted
        teller.say(f"{rows} rows, {count} parts, {len(stream.channels)} columns; changes found: {changes}")


def _checkpoint(options: argparse.Namespace) -> Checkpoint | None:
    """Where the state is kept: as told, else beside the changes while following."""
    if options.state:
        if options.out and os.path.realpath(options.state) == os.path.realpath(options.out):
            raise InputError(f"--state {options.state} is the file of --out, which it would replace: name another")
        return Checkpoint(options.state)
    return Checkpoint(f"{options.out}.state.json") if options.follow and options.out else None


class _Counted(NamedTuple):
    """What was read whole."""

    rows: int = 0
    parts: int = 0
    changes: int = 0


class _Follower:
    """One stream from its first part, or from where its state says that it was."""

    def __init__(  # noqa: PLR0917  one of each, made by `run` alone
        self,
        stream: Stream,
        source: Source,
        teller: Teller,
        checkpoint: Checkpoint | None,
        telemetry: Telemetry,
        options: argparse.Namespace,
    ) -> None:
        self.counted = _Counted()
        self._stream, self._source, self._teller = stream, source, teller
        self._checkpoint, self._telemetry = checkpoint, telemetry
        self._every: float = options.every
        self._endless: bool = options.follow
        self._read: set[str] = set()
        self._untold: list[Told] = []
        self._changed = False
        self._next_write = 0.0

    def run(self) -> None:
        """Read what was not read before; with `--follow` without end."""
        self._resume()
        if self._stream.left_out:
            self._teller.say(f"not followed (times, vectors and constants): {', '.join(self._stream.left_out)}")
        while True:
            names = self._patiently(self._source.names)
            if not self._endless and not names:
                raise InputError("there is no .parquet part to follow: name another --current, or wait with --follow")
            for name in names:
                if name not in self._read and (self._source.is_whole(name) or not self._endless):
                    self._part(name)
                    self._keep()
            self._changed |= not self._read <= set(names)
            self._read &= set(names)  # what is gone is forgotten: memory is bounded by what is there
            self._keep(now=True)
            if not self._endless:
                return
            time.sleep(self._every)

    def _resume(self) -> None:
        if self._checkpoint is None:
            return
        checkpoint, place = self._checkpoint, self._source.place
        standing, problem = self._patiently(lambda: checkpoint.read(self._stream, place))
        if standing is None:
            self._teller.recover((), None)
            if problem:
                self._teller.say(problem)
            return
        self._stream.resume(standing.stream)
        self._read = set(standing.read)
        self.counted = _Counted(self._stream.rows, standing.parts, standing.changes)
        self._teller.recover(standing.lines, standing.said)
        self._teller.say(f"taken up after {standing.parts} parts and {self._stream.rows} rows")

    def _part(self, name: str) -> None:
        """Read one part whole."""
        part, tables = self._patiently(lambda: _begun(self._source.open(name)))
        changes, rows = 0, self._stream.rows
        for title, table in tables:
            for told in self._stream.add(table, title):
                changes += isinstance(told, Change)
                self._tell(told)
        for problem in part.broken.parts:
            self._tell(f"not read: {problem}")
        self._read.add(name)
        self._changed = True
        self.counted = _Counted(self._stream.rows, self.counted.parts + 1, self.counted.changes + changes)
        self._telemetry.rows.inc(self._stream.rows - rows)
        self._telemetry.parts.inc()
        self._telemetry.unread.inc(len(part.broken.parts))
        self._telemetry.changes.inc(changes)
        self._telemetry.last_part.set_to_current_time()

    def _tell(self, told: Told) -> None:
        """Say it at once, or after the state that knows of it was written."""
        if self._checkpoint is None:
            self._teller.say(told)
        else:
            self._untold.append(told)

    def _keep(self, *, now: bool = False) -> None:
        """Write the state, and say what it knows; large states are not written after every part."""
        if self._checkpoint is None or not self._changed:
            return
        started = time.monotonic()
        if not now and not self._untold and started < self._next_write:
            return
        self._write([line(told) for told in self._untold])
        for told in self._untold:
            self._teller.say(told)
        if self._untold:  # a file of changes that is put away later must not make them said again
            self._write([])
        self._untold, self._changed = [], False
        ended = time.monotonic()
        self._next_write = ended + _SHARE * (ended - started)

    def _write(self, lines: list[str]) -> None:
        checkpoint = self._checkpoint
        if checkpoint is None:
            return
        standing = Standing(
            follows=self._stream.follows,
            place=self._source.place,
            read=sorted(self._read),
            parts=self.counted.parts,
            changes=self.counted.changes,
            lines=lines,
            said=self._teller.size,
            stream=self._stream.state(),
        )
        self._patiently(lambda: checkpoint.write(standing))

    def _patiently(self, action: Callable[[], _Made]) -> _Made:
        """The action, while following again and again until the store answers; both ends are said once."""
        wait = 0.0
        while True:
            try:
                made = action()
            except StoreError as error:
                self._telemetry.store_errors.inc()
                if not self._endless:
                    raise
                if not wait:
                    self._teller.say(f"{error}; trying again until it answers")
                wait = min(2 * wait or self._every, _LONGEST)
                time.sleep(wait)
            else:
                if wait:
                    self._teller.say("the store answers again")
                return made


def _begun(part: Parts) -> tuple[Parts, _Tables]:
    """The part with its first rows at hand: a store that is away says so before a detector has seen any."""
    tables: Iterator[tuple[str, pa.Table]] = part.tables()
    first = next(tables, None)
    return part, tables if first is None else chain([first], tables)
