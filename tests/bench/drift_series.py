"""Rows that are not independent, and real series with marked changes. Markdown tables."""

import json
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from gyre_crds.v1alpha1.common import Contract, LabelContract
from gyre_monitoring.profile import build
from gyre_monitoring.stream import Change, Stream
from gyre_monitoring.values import Counts, Floats
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
    print(f"\nReal series with marked changes: found within {_LATE:.0%} of the series / detections of nothing (all)\n")
    print(
        "| series | rows | marked | ours, streaming | ADWIN | Page-Hinkley | a clock |\n|---|---|---|---|---|---|---|"
    )
    totals, marks = np.zeros((4, 3), dtype=np.int64), 0
    for name, series in _river().items():
        rows, marked = len(series["columns"][0]), series["marked"]
        clock = range(int(_LATE * rows) - 1, rows, int(_LATE * rows))
        said = [_followed(series["columns"]), series["ADWIN"], series["Page-Hinkley"], clock]
        counts = np.array([_matched([row for row in one if row >= series["first"]], marked, rows) for one in said])
        totals, marks = totals + counts, marks + len(marked)
        print(f"| {name} | {rows} | {len(marked)} | {_cells(counts)} |", flush=True)
    print(f"| all | | {marks} | {_cells(totals)} |")
    (found, nothing, _), (theirs, false, _) = totals[0], totals[1]
    return bool(found >= theirs and nothing <= false)


def made_changes(series: int) -> bool:
    """Series with changes at known rows: told before the next one comes, and told beyond once a change.

    Seeds are of this table alone. The bound: a steady stream of independent rows is silent.
    """
    print(f"\nMade series, {series} a row: changes told before the next / lines beyond one a change\n")
    print("| what changes | changes | ours, streaming | ADWIN | Page-Hinkley |\n|---|---|---|---|---|")
    silent = True
    for name, make in _MADE.items():
        made = [make(np.random.default_rng(9000 + seed)) for seed in range(series)]
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump([values.tolist() for values, _ in made], file)
            file.flush()
            theirs = _river(file.name)
        said = [[_followed([values.tolist()]) for values, _ in made]]
        said += [[one[peer] for one in theirs] for peer in ("ADWIN", "Page-Hinkley")]
        counts = [np.sum([_first(rows, at) for rows, (_, at) in zip(one, made, strict=True)], axis=0) for one in said]
        changes = sum(len(at) for _, at in made)
        cells = " | ".join(f"{found / changes:.0%} / {more}" if changes else f"- / {more}" for found, more in counts)
        print(f"| {name} | {changes} | {cells} |", flush=True)
        silent = silent and bool(changes or "AR(1)" in name or not counts[0][1])
    return silent


def _first(rows: Sequence[int], at: Sequence[int]) -> tuple[int, int]:
    """Changes after which something is said before the next one, and what is said beyond that."""
    after = np.searchsorted(at, rows, side="right")
    found = np.unique(after[after > 0]).size
    return found, len(rows) - found


def _levels(
    generator: np.random.Generator, move: float, gap: tuple[int, int], slope: int = 0
) -> tuple[Floats, list[int]]:
    """Nine levels that differ by so many deviations, each for some rows, reached at once or over `slope` rows."""
    level, parts, at, rows = 0.0, [np.zeros(600)], [], 600
    for _ in range(8):
        then = level + move * generator.choice([-1, 1])
        at += [rows, rows + slope] if slope else [rows]
        rest = np.full(generator.integers(*gap), then)
        parts += [np.linspace(level, then, slope), rest]
        level, rows = then, rows + slope + rest.size
    return np.concatenate(parts), at


def _noisy(made: tuple[Floats, list[int]], noise: Callable[[int], Floats]) -> tuple[Floats, list[int]]:
    return made[0] + noise(made[0].size), made[1]


_MADE: dict[str, Callable[[np.random.Generator], tuple[Floats, list[int]]]] = {
    "nothing, 10,000 rows": lambda chance: (chance.normal(size=10_000), []),
    "nothing, 10,000 rows, Student's t of 3": lambda chance: (chance.standard_t(3, 10_000), []),
    "nothing, 10,000 rows, AR(1) of 0.5": lambda chance: (_correlated(chance, 10_000), []),
    "1 deviation, every 300 to 900 rows": lambda chance: _noisy(_levels(chance, 1, (300, 900)), chance.standard_normal),
    "2 deviations, every 100 to 400 rows": lambda chance: _noisy(
        _levels(chance, 2, (100, 400)), chance.standard_normal
    ),
    "the same, AR(1) of 0.5": lambda chance: _noisy(_levels(chance, 2, (100, 400)), partial(_correlated, chance)),
    "4 deviations over 300 rows, then 400 to 900 at rest: start and end": lambda chance: _noisy(
        _levels(chance, 4, (400, 900), slope=300), chance.standard_normal
    ),
}


def _correlated(chance: np.random.Generator, rows: int) -> Floats:
    drawn, before = chance.normal(0, np.sqrt(0.75), rows), 0.0
    for row in range(rows):
        drawn[row] = before = drawn[row] + 0.5 * before
    return drawn


def _river(*given: str) -> Any:
    """What the script prints in river's environment."""
    command = [python("river"), str(Path(__file__).with_name("drift_river.py")), *given]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"river failed: {done.stderr.strip()[-500:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


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
