"""Tables as streams of batches: Parquet and CSV in and out, times in UTC, keys in one spelling."""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

TIME_TYPE = pa.timestamp("us", tz="UTC")
_PARQUET = frozenset({".parquet", ".pq"})
_CSV = frozenset({".csv"})
_BATCH_ROWS = 65536


class NotATableError(Exception):
    """A file or column that does not hold what its name says; the message names it and shows no value of it."""


def is_table(path: Path) -> bool:
    """Whether the file's name says Parquet or CSV."""
    return path.suffix.lower() in _PARQUET | _CSV


def columns(path: Path) -> list[str]:
    """Column names in file order.

    Raises:
        NotATableError: the file is not what its name says.
    """
    try:
        return _columns(path)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path) from error


def _columns(path: Path) -> list[str]:
    if path.suffix.lower() in _PARQUET:
        return list(pq.read_schema(path).names)
    with pacsv.open_csv(path) as reader:
        return list(reader.schema.names)


def batches(path: Path) -> Iterator[pa.Table]:
    """The rows, some tens of thousands at a time, in file order.

    Raises:
        NotATableError: the file is not what its name says.
    """
    try:
        yield from _batches(path)
    except pa.ArrowException as error:
        raise _unreadable(path) from error


def _unreadable(path: Path) -> NotATableError:
    kind = "Parquet" if path.suffix.lower() in _PARQUET else "CSV with one header line"
    return NotATableError(f"{path.name} cannot be read as {kind}; write it again, or give it another ending")


def _batches(path: Path) -> Iterator[pa.Table]:
    if path.suffix.lower() in _PARQUET:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_BATCH_ROWS):
                yield pa.Table.from_batches([batch])
        return
    with pacsv.open_csv(path) as reader:
        for batch in reader:
            yield pa.Table.from_batches([batch])


def decoded(table: pa.Table) -> pa.Table:
    """The same rows with dictionary columns as plain values, so that parts of several files fit together."""
    fields = [
        pa.field(entry.name, entry.type.value_type if pa.types.is_dictionary(entry.type) else entry.type)
        for entry in table.schema
    ]
    return table.cast(pa.schema(fields))


class Writer:
    """Writes tables of one schema to one file, in the format that its name says; no table, no file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open: pq.ParquetWriter | pacsv.CSVWriter | None = None

    def write(self, table: pa.Table) -> None:
        """Append rows; a table without rows still makes the file, so that its columns are known."""
        if self._open is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            make: Callable[..., Any] = pq.ParquetWriter if self._path.suffix.lower() in _PARQUET else pacsv.CSVWriter
            self._open = make(self._path, table.schema)
        self._open.write_table(table)

    def close(self) -> None:
        """Finish the file."""
        if self._open is not None:
            self._open.close()


def spelled(value: Any) -> str | None:
    """One spelling for a key or label whatever type a file gave it: 5, 5.0 and "5" are the same; None is None."""
    if value is None or value != value:  # noqa: PLR0124  NaN is missing too
        return None
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def spelled_column(table: pa.Table, name: str) -> list[str | None]:
    """A column in one spelling."""
    return [spelled(value) for value in table.column(name).to_pylist()]


def utc(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Event times as instants: RFC 3339 texts, Unix seconds, dates or timestamps (without a zone: UTC).

    Raises:
        ValueError: a text that is no time.
    """
    kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return column.cast(pa.timestamp("us", tz=getattr(kind, "tz", None))).cast(TIME_TYPE)
    return pa.chunked_array([pa.array([_instant(value) for value in column.to_pylist()], TIME_TYPE)])


def _instant(value: Any) -> datetime | None:
    if value is None or value != value:  # noqa: PLR0124
        return None
    if isinstance(value, int | float):
        return datetime.fromtimestamp(value, UTC)
    moment = datetime.fromisoformat(str(value))
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def plain(value: Any) -> Any:
    """A value as JSON takes it: NaN becomes null, instants become RFC 3339."""
    if value is None or value != value:  # noqa: PLR0124
        return None
    if isinstance(value, datetime | date):
        return value.isoformat()
    return value


def rfc3339(moment: datetime) -> str:
    """An instant as the API writes it, microseconds kept so that a strict comparison stays strict."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def instant(text: str) -> datetime:
    """The instant in an RFC 3339 text."""
    return datetime.fromisoformat(text)
