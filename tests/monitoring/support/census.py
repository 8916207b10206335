"""The US census employment table that the wheel of nannyml carries, and the age story made of it.

The wheel is downloaded once into the cache; its library is never installed.
"""

import io
import os
import subprocess
import sys
import zipfile
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from sklearn.ensemble import HistGradientBoostingClassifier  # type: ignore[import-untyped]

WHEEL = "nannyml-0.13.1-py3-none-any.whl"
FEATURES = ("AGEP", "SCHL", "MAR", "RELP", "DIS", "ESP", "CIT", "MIG", "MIL", "ANC", "NATIVITY", "DEAR", "DEYE",
            "DREM", "SEX", "RAC1P")  # fmt: skip
Column = npt.NDArray[np.float64]
Frame = dict[str, Column]


@cache
def people() -> tuple[Frame, Frame]:
    """People from 16 on: those of 2015, and those of 2016 to 2018; columns are the features, `y` and `id`."""
    with zipfile.ZipFile(wheel()) as files:
        early, late, truth = (
            pq.read_table(io.BytesIO(files.read(f"nannyml/datasets/data/employment_MA_{part}.pq")))
            for part in ("reference", "analysis", "analysis_target")
        )
    return _frame(early), _frame(late.append_column("employed", truth["employed"]))


def wheel() -> Path:
    """The wheel in the cache."""
    folder = Path(os.environ.get("GYRE_CACHE") or Path.home() / ".cache" / "gyre") / "wheels"
    path = folder / WHEEL
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), "nannyml==0.13.1"],
            check=True,
        )
    return path


@cache
def model() -> HistGradientBoostingClassifier:
    """Gradient-boosted trees trained on people of 16 to 64 in 2015, without the 5,000 held out."""
    rows = young(people()[0])
    train = taken(rows, _order(rows)[5000:])
    return HistGradientBoostingClassifier(max_iter=120, random_state=0).fit(matrix(train), train["y"])


@cache
def reference() -> pa.Table:
    """The held-out reference rows, with prediction, score, label and key."""
    rows = young(people()[0])
    held = taken(rows, _order(rows)[:5000])
    return scored(held).append_column("employed", pa.array(held["y"])).append_column("id", pa.array(held["id"]))


def scored(frame: Frame) -> pa.Table:
    """Features with what the model says."""
    score = model().predict_proba(matrix(frame))[:, 1]
    answer = {"prediction": (score >= 0.5).astype(np.float64), "score": score}
    return pa.table({name: frame[name] for name in FEATURES} | answer)


def young(frame: Frame) -> Frame:
    """People of at most 64."""
    return taken(frame, np.flatnonzero(frame["AGEP"] <= 64))


def draw(frame: Frame, rows: int, seed: int) -> Frame:
    """So many different people, in random order."""
    return taken(frame, np.random.default_rng(seed).choice(frame["y"].size, rows, replace=False))


def taken(frame: Frame, index: npt.NDArray[np.int64]) -> Frame:
    """The rows of an index."""
    return {name: column[index] for name, column in frame.items()}


def matrix(frame: Frame) -> npt.NDArray[np.float64]:
    """The features as the model takes them."""
    return np.column_stack([frame[name] for name in FEATURES])


def _frame(table: pa.Table) -> Frame:
    columns = {name: _codes(table[name]) for name in FEATURES} | {
        "y": _codes(table["employed"]),
        "id": _codes(table["id"]),
    }
    return taken(columns, np.flatnonzero(columns["AGEP"] >= 16))


def _codes(column: pa.ChunkedArray) -> Column:
    if pa.types.is_dictionary(column.type):
        column = pa.chunked_array([chunk.dictionary_decode() for chunk in column.chunks])
    return np.asarray(pc.cast(column, pa.float64()))


def _order(frame: Frame) -> npt.NDArray[np.int64]:
    return np.random.default_rng(1).permutation(frame["y"].size)
