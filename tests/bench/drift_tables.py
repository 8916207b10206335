"""Real tables whose random splits have nothing to find: census, health insurance, handwritten digits."""

from collections.abc import Iterator
from functools import cache

import numpy as np
import pyarrow as pa
from sklearn.datasets import load_digits  # type: ignore[import-untyped]  # it carries no types
from statsmodels.datasets import randhie  # type: ignore[import-untyped]  # it carries no types

from tests.bench.drift_peers import Pair
from tests.monitoring.support import census

REFERENCE = 5000
"""Rows of a reference at most."""
CHUNKS = 10
"""Windows' worth of reference rows that NannyML learns its thresholds from."""


@cache
def tables() -> dict[str, pa.Table]:
    """Numeric columns of each table, by name."""
    people = census.young(census.people()[1])
    insured = randhie.load_pandas().data
    digits = load_digits().data
    return {
        "census": pa.table({name: people[name] for name in census.FEATURES}),
        "randhie": pa.table({name: np.asarray(insured[name], dtype=np.float64) for name in insured}),
        "digits": pa.table({f"p{k}": digits[:, k] for k in range(digits.shape[1])}),
    }


def split(table: pa.Table, rows: int, seed: int) -> tuple[pa.Table, pa.Table] | None:
    """A reference of up to 5,000 rows and a window of other rows; None where the table is too short."""
    reference = min(REFERENCE, table.num_rows // 2)
    if reference + rows > table.num_rows:
        return None
    order = np.random.default_rng(seed).permutation(table.num_rows)
    return table.take(pa.array(order[:reference])), table.take(pa.array(order[reference : reference + rows]))


def chunked(table: pa.Table, rows: int, repetitions: int) -> Iterator[Pair] | None:
    """The same with ten windows' worth of reference rows or more; None where the table has not so many."""
    reference = max(REFERENCE, CHUNKS * rows)
    if table.num_rows < (CHUNKS + 1) * rows:
        return None
    return _chunked(table, rows, min(reference, table.num_rows - rows), repetitions)


def _chunked(table: pa.Table, rows: int, reference: int, repetitions: int) -> Iterator[Pair]:
    for seed in range(repetitions):
        order = np.random.default_rng(seed).permutation(table.num_rows)
        yield table.take(pa.array(order[:reference])), table.take(pa.array(order[reference : reference + rows]))
