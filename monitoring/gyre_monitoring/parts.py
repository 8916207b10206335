"""Parquet parts: which of them touch a window, and their rows as tables of bounded size."""

import io
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gyre_crds.contracts.payload import PayloadColumn
from gyre_monitoring.errors import InputError
from gyre_monitoring.store import Store

BATCH = 32_768
_PAGE = 65_536  # bytes
_HOUR = "%Y-%m-%d-%H"
_NAME_FIELDS = 3


class Span(NamedTuple):
    """From the first instant to the first one after."""

    start: datetime
    end: datetime

    def milliseconds(self) -> tuple[int, int]:
        """Both ends in Unix milliseconds."""
        return int(self.start.timestamp() * 1000), int(self.end.timestamp() * 1000)


@dataclass
class Broken:
    """Parts that could not be read, each with a sentence; filled while reading."""

    parts: list[str] = field(default_factory=list)


Opener = Callable[[], "Path | io.BytesIO"]
"""Gives what a Parquet file is read from."""


@dataclass(frozen=True)
class Parts:
    """Parquet files that are read one after the other."""

    openers: Sequence[tuple[str, Opener]]
    """Name and how to open it."""
    broken: Broken = field(default_factory=Broken)

    def tables(
        self, columns: Sequence[str] | None = None, *, coded: frozenset[str] = frozenset()
    ) -> Iterator[tuple[str, pa.Table]]:
        """Part name and up to 32,768 rows at a time; a part that cannot be read is noted and left out.

        Texts of columns that `coded` names come as Arrow dictionaries: whoever only counts them saves most of their
        reading.
        """
        for name, opener in self.openers:
            try:
                yield from ((name, table) for table in _batches(opener, columns, coded))
            except (pa.ArrowException, OSError, InputError) as error:
                note = f"{name}: {str(error).strip().splitlines()[0][:200] if str(error).strip() else 'unreadable'}"
                if note not in self.broken.parts:
                    self.broken.parts.append(note)


def _batches(opener: Opener, columns: Sequence[str] | None, coded: frozenset[str]) -> Iterator[pa.Table]:
    with _opened(opener(), coded) as file:
        names = file.schema_arrow.names
        wanted = None if columns is None else [name for name in columns if name in names]
        if file.metadata.num_rows == 0:
            yield file.schema_arrow.empty_table()
        for batch in file.iter_batches(BATCH, columns=wanted, use_threads=False):
            yield pa.Table.from_batches([batch])


def local(paths: Sequence[Path]) -> Parts:
    """Parquet files on disk; a directory stands for all `*.parquet` and `*.pq` files below it.

    Raises:
        InputError: a path does not exist or holds no Parquet.
    """
    files: list[Path] = []
    for path in paths:
        if not path.exists():
            raise InputError(f"{path} does not exist")
        found = sorted([*path.rglob("*.parquet"), *path.rglob("*.pq")]) if path.is_dir() else [path]
        if not found:
            raise InputError(f"{path} holds no .parquet file")
        files.extend(found)
    return Parts([(file.name, partial(Path, file)) for file in files])


def single(store: Store, uri: str) -> Parts:
    """One object."""
    return Parts([(uri, _stored(store, uri))])


def stored(store: Store, prefix: str, span: Span) -> Parts:
    """The parts below a prefix whose names say that they touch the span; the listing starts an hour before it.

    Raises:
        StoreError: the store does not answer.
    """
    first, last = span.milliseconds()
    early = (span.start - timedelta(hours=1)).astimezone(UTC).strftime(_HOUR)
    late = span.end.astimezone(UTC).strftime(_HOUR)
    chosen = []
    for uri in store.list(prefix, after=f"{prefix}/{early}"):
        if not early <= uri.removeprefix(f"{prefix}/")[: len(early)] <= late:
            continue
        low, high = times(uri)
        if low < last and high >= first:
            chosen.append((uri.removeprefix(f"{prefix}/"), _stored(store, uri)))
    return Parts(chosen)


def times(uri: str) -> tuple[int, int]:
    """First and last millisecond in a part's name; a name without them may hold anything."""
    fields = uri.rsplit("/", 1)[-1].split("-", _NAME_FIELDS - 1)
    if len(fields) == _NAME_FIELDS and fields[0].isdigit() and fields[1].isdigit():
        return int(fields[0]), int(fields[1])
    return 0, 2**62


def within(table: pa.Table, span: Span, revisions: Sequence[str]) -> pa.Table:
    """The rows that arrived in the span and were decided by one of the revisions (all, if none is named).

    A table without our columns is somebody's own data: all of its rows count.
    """
    names = set(table.column_names)
    if PayloadColumn.TIME in names:
        arrived = pc.cast(table[PayloadColumn.TIME], pa.timestamp("us", "UTC"))
        first, last = (pa.scalar(one, pa.timestamp("us", "UTC")) for one in span)
        table = table.filter(pc.and_(pc.greater_equal(arrived, first), pc.less(arrived, last)))
    if revisions and PayloadColumn.REVISION in names:
        wanted = pa.array(list(revisions), pa.string())
        table = table.filter(pc.is_in(pc.cast(table[PayloadColumn.REVISION], pa.string()), wanted))
    return table


def _opened(source: Path | io.BytesIO, coded: frozenset[str]) -> pq.ParquetFile:
    """Columns are read a page at a time: by default a whole file would be held in memory while it is read.

    Raises:
        InputError: no Parquet.
    """
    try:
        file = pq.ParquetFile(source, pre_buffer=False, buffer_size=_PAGE)
        # Parquet names a field within an object like a column with a dot, and does not read it as a dictionary.
        paths = Counter(file.schema.column(at).path for at in range(file.metadata.num_columns))
        texts = [
            one.name for one in file.schema_arrow if one.name in coded and _is_text(one.type) and paths[one.name] == 1
        ]
        if not texts:
            return file
        with file:  # which names may be dictionaries is known only now
            return pq.ParquetFile(
                source, metadata=file.metadata, read_dictionary=texts, pre_buffer=False, buffer_size=_PAGE
            )
    except pa.ArrowException as error:
        raise InputError(f"no Parquet: {error}") from error


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _stored(store: Store, uri: str) -> Opener:
    return lambda: io.BytesIO(store.read(uri))
