"""Rows that never train: found first in every source, then taken out of every source.

A key that one source holds out is dropped from the training rows of all of them, or a copy of the
row in another file would train after all.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from gyre_crds.reasons import Training
from gyre_crds.v1alpha1.common import Contract
from gyre_pipelines import tables
from gyre_pipelines.failure import Failure
from gyre_pipelines.payloads import time_column
from gyre_pipelines.sources import Fetched
from gyre_pipelines.split import is_held_out
from gyre_pipelines.tables import Writer, spelled_column


@dataclass
class Held:
    """Held-out rows of one source and what is left to train."""

    rows: list[pa.Table] = field(default_factory=list)
    """Held-out rows, as their files have them."""
    train_rows: int = 0
    latest: datetime | None = None
    """Latest event time of a training row."""

    @property
    def count(self) -> int:
        """Held-out rows."""
        return sum(table.num_rows for table in self.rows)


def held_keys(fetched: Fetched, contract: Contract | None) -> set[str]:
    """Keys of this source that never train.

    Raises:
        Failure: a holdout is asked of something that has no keys.
    """
    share = fetched.source.holdout
    if share == 0 or not fetched.files:
        return set()
    if contract is None:
        raise _cannot(fetched, "the Model has no contract; set contract.key or holdout to 0")
    found = [key for path in fetched.files for key in _keys(fetched, path, contract.key)]
    if not fetched.latest:
        return {key for key in found if is_held_out(key, share)}
    return set(found[len(found) - int(len(found) * share) :])


def divide(fetched: Fetched, target: Path, contract: Contract | None, held: set[str]) -> Held:
    """Write the training rows of one source below `target` and return the others.

    Files that are no tables, and tables without the key column, go over as they are.
    """
    result = Held()
    target.mkdir(parents=True, exist_ok=True)
    for path in fetched.files:
        destination = target / path.relative_to(fetched.folder)
        if tables.is_table(path):
            _divide_table(path, destination, contract, held, result)
        else:
            destination.parent.mkdir(parents=True, exist_ok=True)
            path.replace(destination)
    return result


def _divide_table(path: Path, destination: Path, contract: Contract | None, held: set[str], result: Held) -> None:
    writer = Writer(destination)
    for batch in tables.batches(path):
        train = batch
        if contract is not None and held and contract.key in batch.column_names:
            mask = pa.array([key in held for key in spelled_column(batch, contract.key)])
            result.rows.append(batch.filter(mask))
            train = batch.filter(pc.invert(mask))
        writer.write(train)
        result.train_rows += train.num_rows
        result.latest = _later(result.latest, _latest(train, contract))
    writer.close()


def _keys(fetched: Fetched, path: Path, key: str) -> Iterator[str]:
    if not tables.is_table(path):
        raise _cannot(fetched, f"{path.name} is neither Parquet nor CSV; set holdout to 0")
    if key not in tables.columns(path):
        raise _cannot(fetched, f"{path.name} has no column {key!r} (contract.key); add it or set holdout to 0")
    for batch in tables.batches(path):
        for value in spelled_column(batch, key):
            if value is None:
                raise _cannot(fetched, f"{path.name} has a row without a value in {key!r} (contract.key); fill it")
            yield value


def _cannot(fetched: Fetched, why: str) -> Failure:
    return Failure(Training.DATA_UNREADABLE, f"data[{fetched.source.name}].holdout: {why}")


def _latest(table: pa.Table, contract: Contract | None) -> datetime | None:
    name = time_column(contract) if contract else None
    if name not in table.column_names or not table.num_rows:
        return None
    try:
        latest: datetime | None = pc.max(tables.utc(table.column(name))).as_py()
    except (ValueError, pa.ArrowException) as error:
        wanted = "RFC 3339 texts, Unix seconds, dates or timestamps"
        raise tables.NotATableError(f"column {name!r} (contract.time) holds something else than {wanted}") from error
    return latest


def _later(one: datetime | None, other: datetime | None) -> datetime | None:
    known = [moment for moment in (one, other) if moment is not None]
    return max(known) if known else None
