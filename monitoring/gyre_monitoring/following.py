"""`gyre-monitoring stream`: the parts of a folder or a store prefix, once or as they come, and what is said of them."""

import argparse
import json
import math
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, Self

from gyre_monitoring import local, parts, reference, settings
from gyre_monitoring.errors import InputError
from gyre_monitoring.parts import Parts
from gyre_monitoring.store import Store
from gyre_monitoring.stream import Change, Stream

_SETTLED = 2.0
"""Seconds since its last write after which a file of a folder counts as whole."""
_PARQUET = (".parquet", ".pq")


def run(options: argparse.Namespace) -> None:
    """Say each change that is found, and at the end how much was looked at; Ctrl-C or SIGTERM end following.

    Raises:
        InputError: no profile, no part, or nothing in it that can be followed.
    """
    spec, contract = settings.read(options.config)
    known, _ = reference.from_bytes(local.file_content(options.profile), str(options.profile), spec, contract)
    stream = Stream(known, spec)
    if not stream.channels:
        raise InputError(f"{options.profile} holds no column with two values or more: there is nothing to follow")
    with _Teller(options.out) as teller:
        if stream.left_out:
            teller.say(f"not followed (times, vectors and constants): {', '.join(stream.left_out)}")
        try:
            signal.signal(signal.SIGTERM, signal.default_int_handler)
            _follow(stream, _Source(options.current), options.every if options.follow else None, teller)
        except KeyboardInterrupt:
            pass
        columns = len(stream.channels)
        teller.say(f"{stream.rows} rows, {teller.parts} parts, {columns} columns; changes found: {teller.changes}")


class _Source:
    """Names of parts that are there, and how to read them."""

    def __init__(self, place: str) -> None:
        self._place = place
        self._store = Store() if "://" in place else None
        if self._store is None and not Path(place).exists():
            raise InputError(f"{place} does not exist")

    def names(self, *, settled: bool) -> list[str]:
        """All parts in the order of their names; of a folder with `settled` only those that nobody writes any more."""
        if self._store is not None:
            return [uri for uri in self._store.list(self._place) if uri.endswith(_PARQUET)]
        root = Path(self._place)
        files = sorted(one for one in root.rglob("*") if one.suffix in _PARQUET) if root.is_dir() else [root]
        last = time.time() - (_SETTLED if settled else -_SETTLED)
        return [str(one) for one in files if _written(one) <= last]

    def open(self, name: str) -> Parts:
        """One part."""
        return parts.local([Path(name)]) if self._store is None else parts.single(self._store, name)


def _written(path: Path) -> float:
    """Time of the last write; of what went away since it was listed, never."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return math.inf


class _Teller:
    """Sentences on standard output, and the same as JSON lines in a file."""

    def __init__(self, out: Path | None) -> None:
        self._out = out
        self._file: IO[str] | None = None
        self.changes = self.parts = 0

    def __enter__(self) -> Self:
        try:
            self._file = self._out.open("a", encoding="utf-8") if self._out else None
        except OSError as error:
            raise InputError(f"{self._out} cannot be written: {error.strerror}") from error
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def say(self, told: Change | str) -> None:
        """Tell a change, or a sentence about the stream."""
        body: dict[str, Any] = {"note": told} if isinstance(told, str) else asdict(told)
        self.changes += isinstance(told, Change)
        sys.stdout.write((told if isinstance(told, str) else told.words()) + "\n")
        sys.stdout.flush()
        if self._file is not None:
            self._file.write(json.dumps(body) + "\n")
            self._file.flush()


def _follow(stream: Stream, source: _Source, every: float | None, teller: _Teller) -> None:
    for name in _fresh(source, every):
        part = source.open(name)
        for title, table in part.tables():
            for told in stream.add(table, title):
                teller.say(told)
        teller.parts += 1
        for problem in part.broken.parts:
            teller.say(f"not read: {problem}")


def _fresh(source: _Source, every: float | None) -> Iterator[str]:
    """Parts that were not there before; without `every` those that are there now, else without end."""
    seen: set[str] = set()
    while True:
        names = source.names(settled=every is not None)
        if every is None and not names:
            raise InputError("there is no .parquet part to follow: name another --current, or wait with --follow")
        yield from (name for name in names if name not in seen)
        if every is None:
            return
        seen = set(names)  # what is gone is forgotten: memory is bounded by what is there
        time.sleep(every)
