"""False alarms, power and cost of a look, beside Evidently's default preset in the same run.

Run in the monitoring environment: `python -m tests.bench.drift [--repetitions 300] [--rows 100000]`.
Prints Markdown tables; exits 1 when a rate or a ratio misses its bound.
"""

import argparse
import importlib
import math
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["DO_NOT_TRACK"] = "1"

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gyre_crds.contracts.profile import Profile
from gyre_crds.v1alpha1.common import Contract, LabelContract
from gyre_monitoring.parts import local
from gyre_monitoring.profile import build
from tests.monitoring.support import census
from tests.monitoring.support.looks import CONTRACT, labels, look, monitor, normals, window

RATE = 0.01


def main() -> int:
    """Every table; the exit code says whether all bounds held."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=300)
    parser.add_argument("--peer-repetitions", type=int, default=10, help="Evidently takes seconds for a window")
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000])
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # Evidently divides by zero on constant columns
    held = [
        null_battery(options.repetitions, options.peer_repetitions),
        power(options.repetitions // 3),
        *(speed(rows) for rows in options.rows),
    ]
    return 0 if all(held) else 1


def null_battery(repetitions: int, peer: int) -> bool:
    """Windows of the reference's own population: share with any alarm, ours with and without labels."""
    people = census.young(census.people()[1])
    bound = RATE + 3 * math.sqrt(RATE * (1 - RATE) / repetitions)
    print(f"\nFalse alarms on random splits of the census, declared {RATE:.0%}, bound {bound:.1%}\n")
    print("| rows | ours | ours, all labelled | Evidently default: any column |\n|---|---|---|---|")
    held = True
    for rows in (500, 1000, 2000, 5000):
        ours = [_split(people, rows, seed, labelled=False) for seed in range(repetitions)]
        proven = [_split(people, rows, seed, labelled=True) for seed in range(repetitions)]
        theirs = [_peer_split(people, rows, seed) for seed in range(peer)]
        held = held and max(float(np.mean(ours)), float(np.mean(proven))) <= bound
        print(f"| {rows} | {np.mean(ours):.1%} | {np.mean(proven):.1%} | {np.mean(theirs):.0%} of {peer} |", flush=True)
    return held


def power(repetitions: int) -> bool:
    """Planted changes: share of windows in which the moved column is named."""
    profile = build(lambda: [normals(10, 5000, 1)], _normal_contract(10))
    people = census.young(census.people()[1])
    print("\nPower: share of windows in which the moved column counts as drifted\n")
    print("| change | rows | found |\n|---|---|---|")
    shares = {}
    for shift in (0.1, 0.2, 0.3, 0.4):
        for rows in (500, 1000, 5000):
            found = [_finds(normals(10, rows, seed + 9, shift), profile) for seed in range(repetitions)]
            shares[shift, rows] = float(np.mean(found))
            print(f"| one of 10 columns, {shift} deviations | {rows} | {shares[shift, rows]:.0%} |", flush=True)
    for part in (0.1, 0.2):
        found = [_finds_age(people, part, seed) for seed in range(repetitions)]
        shares[part, 0] = float(np.mean(found))
        print(f"| age + 15 in {part:.0%} of the rows | 5000 | {shares[part, 0]:.0%} |", flush=True)
    return shares[0.3, 1000] >= 0.95 and shares[0.2, 0] >= 0.95


def speed(rows: int) -> bool:
    """One look at 15 numbers and 5 categories against a stored profile, read from Parquet, in CPU seconds."""
    tables = [_wide(rows, seed) for seed in (1, 2)]
    contract = _normal_contract(20)
    profile = build(lambda: [tables[0]], contract)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "window.parquet"
        pq.write_table(tables[1], path, row_group_size=65_536)
        ours = _cpu(lambda: look([t for _, t in local([path]).tables()], profile=profile, contract=contract,
                                 spec=monitor(features=[])))  # fmt: skip
    frames = [table.to_pandas() for table in tables]
    theirs = _cpu(lambda: _evidently(frames[1], frames[0]))
    print(f"\nOne look at {rows:,} x 20, CPU seconds\n\n| ours | Evidently default | ratio |\n|---|---|---|")
    print(f"| {ours:.2f} | {theirs:.1f} | {theirs / ours:.0f} |", flush=True)
    return theirs / ours >= 30


def _split(people: census.Frame, rows: int, seed: int, *, labelled: bool) -> bool:
    reference, frame = _two(people, rows, seed)
    profile = build(lambda: [_labelled(reference)], CONTRACT)
    current = window(frame)
    truth = labels(current, frame, rows) if labelled else None
    return look(current, profile=profile, labelled=truth)[1].verdict != "Healthy"


def _peer_split(people: census.Frame, rows: int, seed: int) -> bool:
    reference, frame = _two(people, rows, seed)
    features = list(census.FEATURES)
    return _evidently(window(frame).select(features).to_pandas(), _labelled(reference).select(features).to_pandas()) > 0


def _two(people: census.Frame, rows: int, seed: int) -> tuple[census.Frame, census.Frame]:
    order = np.random.default_rng(seed).permutation(people["y"].size)
    return census.taken(people, order[:5000]), census.taken(people, order[5000 : 5000 + rows])


def _labelled(frame: census.Frame) -> pa.Table:
    return window(frame).append_column("employed", pa.array(frame["y"]))


def _finds(table: pa.Table, profile: Profile) -> bool:
    evidence, _ = look(table, profile=profile, contract=_normal_contract(10), spec=monitor(features=[]))
    return any(one.name == "x0" for one in evidence.drifted)


def _finds_age(people: census.Frame, part: float, seed: int) -> bool:
    frame = census.draw(people, 5000, seed)
    frame["AGEP"] = frame["AGEP"] + 15 * (np.random.default_rng(seed).random(5000) < part)
    return any(one.name == "AGEP" for one in look(window(frame))[0].drifted)


def _normal_contract(columns: int) -> Contract:
    return Contract(key="id", label=LabelContract(column="label"), features=[f"x{k}" for k in range(columns)])


def _wide(rows: int, seed: int) -> pa.Table:
    generator = np.random.default_rng(seed)
    numbers = {f"x{k}": generator.normal(size=rows) for k in range(15)}
    codes = {f"x{k}": generator.choice(np.array(list("abcdefgh")), rows) for k in range(15, 20)}
    return pa.table(numbers | codes)


def _evidently(current: Any, reference: Any) -> int:
    """How many columns Evidently's default preset calls drifted."""
    evidently, presets = (importlib.import_module(name) for name in ("evidently", "evidently.presets"))
    numeric = [name for name in current if current[name].dtype.kind in "fi"]
    definition = evidently.DataDefinition(
        numerical_columns=numeric, categorical_columns=[name for name in current if name not in numeric]
    )
    data = [evidently.Dataset.from_pandas(one, data_definition=definition) for one in (current, reference)]
    snapshot = evidently.Report([presets.DataDriftPreset()]).run(data[0], data[1])
    metrics = snapshot.dict()["metrics"]
    return int(next(one["value"]["count"] for one in metrics if one["config"]["type"].endswith("DriftedColumnsCount")))


def _cpu(action: Callable[[], Any]) -> float:
    """CPU seconds of the better of two runs, imports not counted."""
    times = []
    for _ in range(2):
        start = time.process_time()
        action()
        times.append(time.process_time() - start)
    return min(times)


if __name__ == "__main__":
    sys.exit(main())
