"""Reading parts: what is held in memory while rows stream by."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gyre_crds.v1alpha1.common import Contract, LabelContract
from gyre_monitoring.parts import BATCH, local
from gyre_monitoring.profile import build
from gyre_monitoring.window import coded, count
from tests.monitoring.support.looks import monitor

ROWS, COLUMNS = 1_000_000, 3


def test_one_large_row_group_is_not_held_whole(tmp_path: Path) -> None:
    """A file that its writer put into one row group is read in steps, at a fraction of its size."""
    generator = np.random.default_rng(1)
    table = pa.table({f"x{k}": generator.normal(size=ROWS) for k in range(COLUMNS)})
    pq.write_table(table, tmp_path / "one.parquet", row_group_size=ROWS, compression="none")
    whole = table.nbytes
    del table
    before = pa.total_allocated_bytes()
    held, rows = 0, 0
    for _, part in local([tmp_path / "one.parquet"]).tables():
        held = max(held, pa.total_allocated_bytes() - before)
        rows += part.num_rows
        assert part.num_rows <= BATCH
    assert rows == ROWS
    assert held < whole / 2


def test_texts_as_dictionaries_count_as_plain_ones(tmp_path: Path) -> None:
    """Rows of known, rare, new and missing categories are the same numbers however they were read and written."""
    generator = np.random.default_rng(2)
    words = [*"abcdefgh", "new", None]
    column = pa.array([words[k] for k in generator.choice(len(words), 70_000)])
    table = pa.table(
        {"city": column, "also": column.cast(pa.large_string()), "code": generator.integers(5, size=70_000)}
    )
    contract = Contract(key="id", label=LabelContract(column="label"), features=table.column_names)
    known = table.filter(pc.not_equal(column, "new"))
    profile = build(lambda: [known], contract, categorical=frozenset({"code"}))
    assert coded(profile) == {"city", "also"}
    writings: dict[str, dict[str, Any]] = {"groups": {"row_group_size": 9_999}, "plain": {"use_dictionary": False}}
    for name, options in writings.items():
        pq.write_table(table, tmp_path / f"{name}.parquet", **options)
        parts = local([tmp_path / f"{name}.parquet"])
        read = next(parts.tables(coded=frozenset({"city", "also", "code", "absent"})))[1]
        assert [pa.types.is_dictionary(read[one].type) for one in ("city", "also", "code")] == [True, True, False]
        ways = (parts.tables(), parts.tables(coded=coded(profile)))
        plain, dictionaries = (count((one for _, one in way), profile, monitor(features=[])) for way in ways)
        for column_name in table.column_names:
            left, right = plain.columns[column_name], dictionaries.columns[column_name]
            assert left.counts.tolist() == right.counts.tolist()
            assert (left.missing, left.unseen, left.rows) == (right.missing, right.unseen, right.rows)
        new = int(pc.sum(pc.equal(column, "new")).as_py())
        assert (dictionaries.columns["city"].missing, dictionaries.columns["city"].unseen) == (column.null_count, new)


def test_a_column_with_a_dot_beside_an_object_is_read(tmp_path: Path) -> None:
    """`person.city` is a column, and `person` an object with a `city`: the part counted as unreadable."""
    cities = ["Riga", "Bonn"] * 50
    table = pa.table({"person.city": cities, "person": [{"city": "Rome"}] * 100, "plain": cities})
    pq.write_table(table, tmp_path / "part.parquet", row_group_size=40)
    parts = local([tmp_path / "part.parquet"])
    read = [one for _, one in parts.tables(coded=frozenset({"person.city", "plain"}))]
    assert parts.broken.parts == []
    assert [city for one in read for city in one["person.city"].to_pylist()] == cities
    assert all(pa.types.is_dictionary(one["plain"].type) for one in read)
