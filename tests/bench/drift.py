"""False alarms, power and cost of a look, beside peers in the same run.

Run in the monitoring environment: `python -m tests.bench.drift [--repetitions 100] [--only speed]`. Peers are
installed into environments of their own below the cache. Prints Markdown tables; exits 1 when a rate or a ratio
misses its bound.
"""

import argparse
import math
import os
import sys
import warnings
from collections.abc import Sequence

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["DO_NOT_TRACK"] = "1"

import numpy as np
import pyarrow as pa

from gyre_crds.contracts.profile import Profile
from gyre_crds.v1alpha1.common import Contract, LabelContract
from gyre_crds.v1alpha1.drift import Window
from gyre_monitoring.profile import build
from tests.bench import drift_series, drift_speed
from tests.bench.drift_peers import judged
from tests.bench.drift_tables import split, tables
from tests.monitoring.support import census
from tests.monitoring.support.looks import CONTRACT, labels, look, monitor, normals, window

RATE = 0.01
ROWS = (50, 200, 500, 1000, 5000)
BESIDE = ("Evidently default", "NannyML")


def main() -> int:
    """Every table; the exit code says whether all bounds held."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=100)
    parser.add_argument(
        "--peer-repetitions", type=int, default=5, help="peers take seconds for a window; 0 leaves them out"
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument(
        "--growth", type=int, nargs="+", default=[10_000, 100_000, 1_000_000], help="rows of the table of growth"
    )
    parser.add_argument("--lifetimes", type=int, default=5, help="of monitors whose rows are not independent")
    parser.add_argument("--only", choices=["speed", "statistics"], help="half of the tables")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    held = []
    if options.only != "statistics":
        held += [
            drift_speed.start(),
            *map(drift_speed.beside_peers, options.rows),
            drift_speed.growth(tuple(options.growth)),
        ]
    if options.only != "speed":
        held.append(drift_series.dependent(options.lifetimes))
        drift_series.marked_changes()
        held.append(power(options.repetitions, options.peer_repetitions))
        held.append(null_battery(options.repetitions, options.peer_repetitions))
        held.append(labelled_battery(options.repetitions))
    return 0 if all(held) else 1


def null_battery(repetitions: int, peer: int) -> bool:
    """Windows of the reference's own population, not scored and not labelled: share with any alarm."""
    bound = RATE + 3 * math.sqrt(RATE * (1 - RATE) / repetitions)
    print(f"\nFalse alarms on random splits, declared {RATE:.0%}, bound {bound:.1%} at {repetitions} repetitions; ")
    print(f"peers: any column, {peer} repetitions\n")
    print("| table | rows | ours | Evidently default | NannyML |\n|---|---|---|---|---|")
    held = True
    for name, table in tables().items():
        for rows in ROWS:
            if split(table, rows, 0) is None:
                continue
            ours = float(np.mean([_alarms(*_pair(table, rows, seed)) for seed in range(repetitions)]))
            pairs = [_pair(table, rows, seed) for seed in range(peer)]
            theirs = _beside(pairs)
            print(f"| {name} | {rows} | {ours:.1%} | {theirs} |", flush=True)
            held = held and ours <= bound
    return held


def labelled_battery(repetitions: int) -> bool:
    """The same for the census with a model, its scores and all labels."""
    people = census.young(census.people()[1])
    bound = RATE + 3 * math.sqrt(RATE * (1 - RATE) / repetitions)
    print(f"\nFalse alarms on the census with scores and labels, bound {bound:.1%}\n\n| rows | ours |\n|---|---|")
    shares = []
    for rows in (500, 2000, 5000):
        shares.append(float(np.mean([_split(people, rows, seed) for seed in range(repetitions)])))
        print(f"| {rows} | {shares[-1]:.1%} |", flush=True)
    return max(shares) <= bound


def power(repetitions: int, peer: int) -> bool:
    """Planted changes: share of windows in which the moved column is named; peers: any column."""
    reference = normals(10, 5000, 1)
    profile = build(lambda: [reference], _normal_contract(10))
    people = census.young(census.people()[1])
    print(f"\nPower: share of windows in which the moved column counts as drifted; peers: any column, {peer} windows\n")
    print("| change | rows | ours | Evidently default | NannyML |\n|---|---|---|---|---|")
    shares = {}
    for shift in (0.1, 0.2, 0.3, 0.4):
        for rows in (500, 1000, 5000):
            moved = [normals(10, rows, seed + 9, shift) for seed in range(repetitions)]
            shares[shift, rows] = float(np.mean([_finds(one, profile) for one in moved]))
            theirs = _beside([(reference, one) for one in moved[:peer]])
            print(
                f"| one of 10 columns, {shift} deviations | {rows} | {shares[shift, rows]:.0%} | {theirs} |", flush=True
            )
    before = census.reference().select(list(census.FEATURES))
    for part in (0.1, 0.2):
        moved = [_aged(people, part, seed) for seed in range(repetitions)]
        shares[part, 0] = float(np.mean([any(d.name == "AGEP" for d in look(one)[0].drifted) for one in moved]))
        theirs = _beside([(before, one.select(list(census.FEATURES))) for one in moved[:peer]])
        print(f"| age + 15 in {part:.0%} of the rows | 5000 | {shares[part, 0]:.0%} | {theirs} |", flush=True)
    return shares[0.3, 1000] >= 0.95 and shares[0.2, 0] >= 0.95


def _split(people: census.Frame, rows: int, seed: int) -> bool:
    reference, frame = _two(people, rows, seed)
    profile = build(lambda: [_labelled(reference)], CONTRACT)
    current = window(frame)
    return look(current, profile=profile, labelled=labels(current, frame, rows))[1].verdict != "Healthy"


def _alarms(reference: pa.Table, current: pa.Table) -> bool:
    contract = Contract(key="id", label=LabelContract(column="label"), features=reference.column_names)
    spec = monitor(features=[], window=Window(min_rows=1))
    profile = build(lambda: [reference], contract)
    return look(current, profile=profile, contract=contract, spec=spec)[1].verdict != "Healthy"


def _pair(table: pa.Table, rows: int, seed: int) -> tuple[pa.Table, pa.Table]:
    found = split(table, rows, seed)
    if found is None:
        raise ValueError(f"the table holds too few rows for a window of {rows}")
    return found


def _beside(pairs: Sequence[tuple[pa.Table, pa.Table]]) -> str:
    """Share of windows in which each peer calls any column drifted."""
    if not pairs:
        return " | ".join("not run" for _ in BESIDE)
    return " | ".join(_share([one > 0 for one in judged(who, pairs).drifted]) for who in BESIDE)


def _share(found: Sequence[bool]) -> str:
    return f"{np.mean(found):.0%}"


def _two(people: census.Frame, rows: int, seed: int) -> tuple[census.Frame, census.Frame]:
    order = np.random.default_rng(seed).permutation(people["y"].size)
    return census.taken(people, order[:5000]), census.taken(people, order[5000 : 5000 + rows])


def _labelled(frame: census.Frame) -> pa.Table:
    return window(frame).append_column("employed", pa.array(frame["y"]))


def _finds(table: pa.Table, profile: Profile) -> bool:
    evidence, _ = look(table, profile=profile, contract=_normal_contract(10), spec=monitor(features=[]))
    return any(one.name == "x0" for one in evidence.drifted)


def _aged(people: census.Frame, part: float, seed: int) -> pa.Table:
    frame = census.draw(people, 5000, seed)
    frame["AGEP"] = frame["AGEP"] + 15 * (np.random.default_rng(seed).random(5000) < part)
    return window(frame)


def _normal_contract(columns: int) -> Contract:
    return Contract(key="id", label=LabelContract(column="label"), features=[f"x{k}" for k in range(columns)])


if __name__ == "__main__":
    sys.exit(main())
