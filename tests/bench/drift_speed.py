"""Cost of a look: CPU seconds and peak memory beside peers, and how both grow with rows. Markdown tables."""

import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.bench.drift_peers import PEERS, ROOT, on_disk, python

NUMBERS, CODES = 15, 5
MEMORY = 250.0
"""MB that a look at 1,000,000 x 20 may take."""
START = 0.7
"""CPU seconds that the import of a look may take."""
_TIMES = {"Evidently default": 60.0, "NannyML": 5.0}
"""How many times our CPU seconds a peer needs at least, at 1,000,000 rows."""
_LARGE = 1_000_000
_COST = """
import os
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(sum(os.times()[:2]), int(peak) / 1024)
"""
"""The kernel's count for a child starts at its parent's size: the process reads its own."""


def table(rows: int, seed: int) -> pa.Table:
    """Fifteen numbers and five categories."""
    generator = np.random.default_rng(seed)
    letters = np.array(list("abcdefgh"))
    numbers = {f"x{k}": generator.normal(size=rows) for k in range(NUMBERS)}
    return pa.table(numbers | {f"x{k}": generator.choice(letters, rows) for k in range(NUMBERS, NUMBERS + CODES)})


def beside_peers(rows: int) -> bool:
    """One look with a stored profile, as a whole process from start to report, beside peers without their imports."""
    print(f"\nOne look at {rows:,} x {NUMBERS + CODES}\n\n| engine | CPU seconds | times ours | peak MB |")
    print("|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _prepare(folder, rows)
        cpu, peak = _look(folder)
        print(f"| Gyre, the whole process | {cpu:.2f} | 1 | {peak:.0f} |", flush=True)
        held = peak <= MEMORY
        for peer in PEERS:
            theirs = on_disk(peer, folder, 1)
            print(f"| {peer} | {theirs.cpu:.2f} | {theirs.cpu / cpu:.1f} | {theirs.peak:.0f} |", flush=True)
            held = held and (rows < _LARGE or theirs.cpu / cpu >= _TIMES.get(peer, 0.0))
    return held


def growth(sizes: tuple[int, ...] = (10_000, 100_000, 1_000_000)) -> bool:
    """Cost by rows; the cost of one more row must not grow with rows."""
    print(f"\nGrowth with rows, {NUMBERS + CODES} columns\n\n| rows | CPU seconds | peak MB |\n|---|---|---|")
    costs = []
    for rows in sizes:
        with tempfile.TemporaryDirectory() as name:
            _prepare(Path(name), rows)
            costs.append(_look(Path(name)))
        print(f"| {rows:,} | {costs[-1][0]:.2f} | {costs[-1][1]:.0f} |", flush=True)
    slopes = [(after[0] - before[0]) / (more - less) for before, after, less, more in
              zip(costs, costs[1:], sizes, sizes[1:], strict=False)]  # fmt: skip
    return slopes[-1] <= 2 * max(slopes[0], 1e-7)


def start() -> bool:
    """CPU seconds until a look could begin, best of three."""
    cpu = min(_run("import gyre_monitoring.look", [])[0] for _ in range(3))
    print(f"\nStart: import of a look {cpu:.2f} CPU seconds (bound {START})", flush=True)
    return cpu <= START


def _prepare(folder: Path, rows: int) -> None:
    for seed, side in enumerate(("reference", "window")):
        pq.write_table(table(rows, seed), folder / f"0-{side}.parquet")
    features = ", ".join(f"x{k}" for k in range(NUMBERS + CODES))
    contract = f"contract:\n  key: id\n  label: {{column: label}}\n  features: [{features}]\n"
    (folder / "monitor.yaml").write_text(contract, encoding="utf-8")
    _gyre(folder, "profile", "--data", "0-reference.parquet", "--out", "profile.json")


def _look(folder: Path) -> tuple[float, float]:
    arguments = ("--profile", "profile.json", "--current", "0-window.parquet", "--out", "report.json")
    return min(_gyre(folder, "look", *arguments) for _ in range(2))


def _gyre(folder: Path, *arguments: str) -> tuple[float, float]:
    program = "import sys; from gyre_monitoring.cli import main; assert main(sys.argv[1:]) == 0"
    return _run(program, [*arguments, "--config", "monitor.yaml"], folder)


def _run(program: str, arguments: list[str], folder: Path = ROOT) -> tuple[float, float]:
    """CPU seconds and peak MB of a program, its interpreter's start included, its bytecode already there."""
    command = [python("light"), "-c", program + _COST, *arguments]
    path = os.pathsep.join(str(ROOT / plane) for plane in ("crds", "monitoring"))
    cached = str(Path(python("light")).parent.parent / "bytecode")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    environment |= {"PYTHONPATH": path, "PYTHONPYCACHEPREFIX": cached, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[-1]} ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    cpu, peak = done.stdout.strip().splitlines()[-1].split()
    return float(cpu), float(peak)
