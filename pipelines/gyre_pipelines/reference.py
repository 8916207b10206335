"""Reference rows: held-out rows as training saw the world, which the native model predicts in the user's image."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gyre_crds.contracts import golden
from gyre_crds.contracts.payload import PayloadColumn
from gyre_crds.v1alpha1.common import Contract
from gyre_pipelines import tables
from gyre_pipelines.payloads import time_column
from gyre_pipelines.split import rank
from gyre_pipelines.tables import TIME_TYPE, plain, spelled_column

RECENT_ENOUGH = 500
"""So many held-out rows of services make the reference alone: they are the world that the version goes into."""


def features_of(contract: Contract, files: Iterable[Path]) -> list[str]:
    """The model's input columns: the contract's, or those of the first table that holds the label, in file order."""
    if contract.features:
        return list(contract.features)
    apart = {contract.key, contract.time, contract.label.column, PayloadColumn.TIME.value}
    for path in files:
        names = tables.columns(path) if tables.is_table(path) else []
        if contract.label.column in names:
            return [name for name in names if name not in apart]
    return []


def shaped(rows: Sequence[pa.Table], contract: Contract, features: Sequence[str]) -> pa.Table | None:
    """Held-out rows as features, key, time (null where unknown) and label; rows without a label are left out."""
    needed = [*features, contract.key, contract.label.column]
    whole = [_shape(table, contract, features) for table in rows if set(needed) <= set(table.column_names)]
    whole = [table for table in whole if table.num_rows]
    if not whole:
        return None
    return pa.concat_tables(_alike(whole), promote_options="permissive")


def choose(files: pa.Table | None, services: pa.Table | None, contract: Contract) -> pa.Table | None:
    """At most REFERENCE_ROWS rows, a fair sample by hash of the key, so in no order that means anything."""
    pools = [services] if services is not None and services.num_rows >= RECENT_ENOUGH else [files, services]
    known = [pool for pool in pools if pool is not None]
    if not known:
        return None
    pool = pa.concat_tables(_alike(known), promote_options="permissive")
    keys = [key or "" for key in spelled_column(pool, contract.key)]
    order = sorted(range(len(keys)), key=lambda index: (rank(keys[index]), index))
    return pool.take(pa.array(order[: golden.REFERENCE_ROWS], pa.int64()))


def write(table: pa.Table, features: Sequence[str], rows: Path, truth: Path) -> None:
    """Leave the features for the wrapper to predict, and the same rows with their truth for publish alone."""
    values = [[plain(value) for value in table.column(name).to_pylist()] for name in features]
    rows.write_text(json.dumps(golden.Rows(columns=list(features), values=values).dump(), allow_nan=False))
    rows.chmod(0o644)
    truth.parent.mkdir(parents=True, exist_ok=True)
    truth.touch(mode=0o600)
    pq.write_table(table, truth)


def _shape(table: pa.Table, contract: Contract, features: Sequence[str]) -> pa.Table:
    name = time_column(contract)
    if name in table.column_names:
        times = tables.utc(table.column(name))
    else:
        times = pa.chunked_array([pa.nulls(table.num_rows, TIME_TYPE)])
    table = tables.decoded(table)
    columns = {feature: table.column(feature) for feature in features}
    columns |= {
        contract.key: table.column(contract.key),
        name: times,
        contract.label.column: table.column(contract.label.column),
    }
    shaped_table = pa.table(columns)
    return shaped_table.filter(pc.is_valid(shaped_table.column(contract.label.column)))


def _alike(parts: Sequence[pa.Table]) -> list[pa.Table]:
    """Columns that are text in one part and numbers in another become text everywhere."""
    result = list(parts)
    for name in parts[0].column_names:
        types = [part.schema.field(name).type for part in result]
        text = [pa.types.is_string(kind) or pa.types.is_large_string(kind) for kind in types]
        if any(text) and not all(text):
            result = [_as_text(part, name) for part in result]
    return result


def _as_text(part: pa.Table, name: str) -> pa.Table:
    column = pa.array(spelled_column(part, name), pa.string())
    return part.set_column(part.column_names.index(name), name, column)
