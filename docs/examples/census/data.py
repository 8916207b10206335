"""The example's data: the US census employment table of Massachusetts that the wheel `nannyml` carries.

    python data.py training  census-2015.parquet               # 2015, ages 16 to 64, to train on
    python data.py replay 2016 2017 --ages 16-64 before.parquet
    python data.py replay 2018 --ages 16- after.parquet        # the age limit is dropped

Rows are in a fixed random order: inside a year the file's own order means something.
"""

import argparse
import os
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

WHEEL = "nannyml==0.13.1"
FOLDER = "nannyml/datasets/data"
FILES = ("employment_MA_reference.pq", "employment_MA_analysis.pq", "employment_MA_analysis_target.pq")
KEY, TIME, LABEL = "id", "time", "employed"
FEATURES = [
    "AGEP", "SCHL", "MAR", "RELP", "DIS", "ESP", "CIT", "MIG", "MIL", "ANC", "NATIVITY", "DEAR", "DEYE", "DREM", "SEX",
    "RAC1P",
]  # fmt: skip
ADULT, LIMIT = 16, 64
SEED = 2015


def cache_folder() -> Path:
    """Where downloads are kept: $GYRE_CACHE, else ~/.cache/gyre."""
    return Path(os.environ.get("GYRE_CACHE") or Path.home() / ".cache" / "gyre") / "census"


def fetch(cache: Path | None = None) -> Path:
    """The folder with the three files, downloaded once; the library itself is not installed."""
    folder = cache or cache_folder()
    if not all((folder / name).exists() for name in FILES):
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", WHEEL, "--no-deps", "--quiet", "--dest", str(folder)]
        if subprocess.run(command, check=False).returncode:
            raise SystemExit(f"pip could not fetch {WHEEL} (reason above): give pip its index, or fill {folder}.")
        wheel = next(folder.glob("nannyml-*.whl"))
        with zipfile.ZipFile(wheel) as archive:
            for name in FILES:
                (folder / f"{name}.partial").write_bytes(archive.read(f"{FOLDER}/{name}"))
                (folder / f"{name}.partial").replace(folder / name)
        wheel.unlink()
    return folder


def training(cache: Path | None = None) -> pa.Table:
    """2015, ages 16 to 64: key, time, features, label. The days of the year are dealt out in the random order."""
    table = _numbers(pq.read_table(fetch(cache) / FILES[0]))
    rows = _shuffled(_of_age(table, ADULT, LIMIT)).select([KEY, *FEATURES, LABEL])
    start = datetime(2015, 1, 1, tzinfo=UTC)
    step = timedelta(days=365) / rows.num_rows
    times = pa.array([start + index * step for index in range(rows.num_rows)], pa.timestamp("us", "UTC"))
    return rows.add_column(1, TIME, times)


def replay(years: Sequence[int], oldest: int | None = LIMIT, cache: Path | None = None) -> pa.Table:
    """Rows of later years, ages 16 to `oldest` (None: everyone from 16 on), with their labels: key, features, label."""
    folder = fetch(cache)
    table = _numbers(pq.read_table(folder / FILES[1]))
    target = pq.read_table(folder / FILES[2])
    joined = table.join(target, keys=KEY, join_type="inner")
    wanted = joined.filter(pc.is_in(joined.column("year"), pa.array(list(years), pa.int64())))
    return _shuffled(_of_age(wanted.sort_by(KEY), ADULT, oldest)).select([KEY, *FEATURES, LABEL])


def _numbers(table: pa.Table) -> pa.Table:
    """The codes are texts in a dictionary; trees take them as numbers."""
    for index, name in enumerate(table.column_names):
        if pa.types.is_dictionary(table.schema.field(name).type):
            table = table.set_column(index, name, table.column(name).cast(pa.string()).cast(pa.float64()))
    return table


def _of_age(table: pa.Table, youngest: int, oldest: int | None) -> pa.Table:
    ages = table.column("AGEP")
    keep = pc.greater_equal(ages, youngest)
    return table.filter(keep if oldest is None else pc.and_(keep, pc.less_equal(ages, oldest)))


def _shuffled(table: pa.Table) -> pa.Table:
    return table.take(pa.array(np.random.default_rng(SEED).permutation(table.num_rows)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    kinds.add_parser("training").add_argument("out", type=Path)
    later = kinds.add_parser("replay")
    later.add_argument("years", type=int, nargs="+", choices=[2016, 2017, 2018])
    later.add_argument("--ages", choices=["16-64", "16-"], default="16-64")
    later.add_argument("out", type=Path)
    chosen = parser.parse_args()
    table = training() if chosen.kind == "training" else replay(chosen.years, LIMIT if chosen.ages == "16-64" else None)
    pq.write_table(table, chosen.out)
    print(f"{table.num_rows} rows in {chosen.out}")


if __name__ == "__main__":
    main()
