"""What the TrainingJob controller costs, as a Markdown table with each row's peer or bound.

`python -m tests.bench.controller [--jobs 1000] [--lives 150] [--rest 60] [--crs 2000]`, in the operators'
environment. A row is left out with 0. Exits 1 when Gyre writes at rest.
"""

import argparse
import asyncio
import importlib.metadata
import math
import platform
import sys
import tempfile
from pathlib import Path

from tests.bench.controller import measures
from tests.bench.controller.site import Site, machine, site

CPU_GOAL, WRITES_GOAL = 6, 4
RESTART_CPU, RESTART_MB = 5, 200
PODS_PER_NODE = 110


def main() -> int:
    """Measure and print; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1000, help="TrainingJobs of the burst")
    parser.add_argument("--lives", type=int, default=150, help="job lives, begun 20 a second")
    parser.add_argument("--rest", type=float, default=60, help="seconds at rest after the lives")
    parser.add_argument("--crs", type=int, default=2000, help="TrainingJobs at the restart, with two pods each")
    options = parser.parse_args()
    if options.crs and not options.lives:
        parser.error("--crs takes its objects from a finished life: give --lives 1 or more")
    with tempfile.TemporaryDirectory(prefix="gyre-bench-") as folder:
        return asyncio.run(run(options, Path(folder)))


async def run(options: argparse.Namespace, folder: Path) -> int:
    """Every row that was asked for; 1 when Gyre wrote at rest."""
    nodes = math.ceil((2 * options.lives + 3 * options.jobs) / PODS_PER_NODE) + 3
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("kopf", "pydantic", "msgspec"))
    print(f"{machine()}; Python {platform.python_version()}, {versions}; {nodes} kwok nodes\n")
    print("| what | Gyre | peer or bound |\n|---|---|---|", flush=True)
    async with site(nodes) as ground:
        writes = await _lives(ground, folder, options) if options.lives else 0
        if options.jobs:
            await _burst(ground, folder, options.jobs)
        if options.crs:
            await _restart(ground, folder, options.crs)
    return 1 if writes else 0


async def _lives(ground: Site, folder: Path, options: argparse.Namespace) -> int:
    ours, writes, idle = await measures.gyre_life(
        ground, folder, await ground.namespace("life-gyre"), options.lives, options.rest
    )
    peer = await measures.naive_life(ground, folder, await ground.namespace("life-naive"), options.lives)
    _row(
        f"CPU of one job life, {options.lives} lives at 20/s",
        f"{ours.cpu:.1f} ms",
        f"naive kopf {peer.cpu:.1f} ms; goal {CPU_GOAL} ms",
    )
    _row(
        "API writes of one job life",
        f"{ours.writes:.2f} ({ours.kinds})",
        f"naive kopf {peer.writes:.2f} ({peer.kinds}); goal {WRITES_GOAL}",
    )
    _row(f"API writes in {options.rest:g} s at rest", str(writes), "goal 0")
    _row("CPU at rest", f"{idle:.1f} ms/s", "none")
    return writes


async def _burst(ground: Site, folder: Path, jobs: int) -> None:
    bare = await measures.bare_burst(ground, await ground.namespace("burst-bare"), jobs)
    ours = await measures.gyre_burst(ground, folder, await ground.namespace("burst-gyre"), jobs)
    peer = await measures.naive_burst(ground, folder, await ground.namespace("burst-naive"), jobs)
    _row(
        f"object to child Job, burst of {jobs}",
        f"{ours:.0f}/s",
        f"naive kopf {peer:.0f}/s; bare Jobs by a client {bare:.0f}/s",
    )


async def _restart(ground: Site, folder: Path, crs: int) -> None:
    cpu, peak, writes = await measures.restart(ground, folder, "life-gyre", await ground.namespace("restart"), crs)
    what = f"restart with {crs} TrainingJobs and {2 * crs} pods"
    _row(f"{what}: CPU until settled", f"{cpu:.1f} s", f"goal {RESTART_CPU} s")
    _row(f"{what}: peak memory", f"{peak:.0f} MB", f"goal {RESTART_MB} MB")
    _row(f"{what}: API writes", str(writes), "goal 0")


def _row(*cells: str) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
