"""Rows that are not independent, and real series with marked changes. Markdown tables."""

import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from gyre_crds.v1alpha1.common import Contract, LabelContract
from gyre_monitoring.profile import build
from gyre_monitoring.stream import Change, Stream
from gyre_monitoring.values import Counts
from tests.bench.drift_peers import python
from tests.monitoring.support.looks import monitor, normals
from tests.monitoring.test_history import alarms, autoregressive, lives

ALLOWED = 0.06
"""Share of windows that may alarm once a monitor has learned what is normal."""
_LEARNING = 72
_WINDOWS = 240
_LATE = 0.1
"""Part of a series after a marked change in which a detection still counts as its."""


def dependent(lifetimes: int) -> bool:
    """Hourly windows of 500 rows, three columns: share that alarms while learning, and after."""
    print(f"\nRows that are not independent, {lifetimes} lifetimes of {_WINDOWS} windows; bound {ALLOWED:.0%}\n")
    print(f"| rows | first 20 windows | after {_LEARNING} windows |\n|---|---|---|")
    kinds: dict[str, Callable[[int], Callable[[int], pa.Table]]] = {
        "AR(1), rho 0.9": autoregressive,
        "mean swings by 0.8 deviations over the day": _daily,
    }
    held = True
    for name, kind in kinds.items():
        lived = [lives(kind(seed), _WINDOWS) for seed in range(lifetimes)]
        first, later = (np.mean([alarms(one[part]) for one in lived])
                        for part in (slice(20), slice(_LEARNING, None)))  # fmt: skip
        print(f"| {name} | {first:.0%} | {later:.1%} |", flush=True)
        held = held and bool(later <= ALLOWED)
    return held


def marked_changes() -> bool:
    """The seven series of river with changes that people marked: found, and detections that belong to none.

    The bound: at least as many found as by ADWIN, with no more of the latter. A clock that says "change" each tenth
    of a series shows what the counting is worth.
    """
    script = Path(__file__).with_name("drift_river.py")
    done = subprocess.run([python("river"), str(script)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"river failed: {done.stderr.strip()[-500:]}")
    print(f"\nReal series with marked changes: found within {_LATE:.0%} of the series / detections of nothing (all)\n")
    print(
        "| series | rows | marked | ours, streaming | ADWIN | Page-Hinkley | a clock |\n|---|---|---|---|---|---|---|"
    )
    totals, marks = np.zeros((4, 3), dtype=np.int64), 0
    for name, series in json.loads(done.stdout.strip().splitlines()[-1]).items():
        rows, marked = len(series["columns"][0]), series["marked"]
        clock = range(int(_LATE * rows) - 1, rows, int(_LATE * rows))
        said = [_followed(series["columns"]), series["ADWIN"], series["Page-Hinkley"], clock]
        counts = np.array([_matched([row for row in one if row >= series["first"]], marked, rows) for one in said])
        totals, marks = totals + counts, marks + len(marked)
        print(f"| {name} | {rows} | {len(marked)} | {_cells(counts)} |", flush=True)
    print(f"| all | | {marks} | {_cells(totals)} |")
    (found, nothing, _), (theirs, false, _) = totals[0], totals[1]
    return bool(found >= theirs and nothing <= false)


def _cells(counts: Counts) -> str:
    return " | ".join(f"{found} / {nothing} ({told})" for found, nothing, told in counts)


def _followed(columns: Sequence[Sequence[float]]) -> list[int]:
    """Rows at which ours tells a change; the first tenth of the series is its reference."""
    names = [f"x{k}" for k in range(len(columns))]
    table = pa.table(dict(zip(names, (pa.array(column) for column in columns), strict=True)))
    contract = Contract(key="id", label=LabelContract(column="label"), features=names)
    known = table.slice(0, max(table.num_rows // 10, 20))
    stream = Stream(build(lambda: [known], contract), monitor(features=[]))
    return sorted({one.row - 1 for one in stream.add(table, "series") if isinstance(one, Change)})


def _matched(said: Sequence[int], marked: Sequence[int], rows: int) -> tuple[int, int, int]:
    """Marks found, detections that belong to none, and all detections."""
    late = _LATE * rows
    found = sum(any(0 <= row - point <= late for row in said) for point in marked)
    nothing = sum(not any(0 <= row - point <= late for point in marked) for row in said)
    return found, nothing, len(said)


def _daily(seed: int) -> Callable[[int], pa.Table]:
    generator = np.random.default_rng(seed)
    return lambda hour: normals(3, 500, int(generator.integers(1 << 30)), shift=0.8 * np.sin(2 * np.pi * hour / 24))
