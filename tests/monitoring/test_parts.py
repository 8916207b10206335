"""Reading parts: what is held in memory while rows stream by."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gyre_monitoring.parts import BATCH, local

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
