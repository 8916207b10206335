"""Does the rule that decides a retraining save money? Its total cost over that of an oracle that knew all losses.

Run in the monitoring environment, with the operators' sources on the path: `make bench-retraining`, or
`python -m tests.bench.retraining [--seeds 20] [--only worlds]`. The rule is the operator's own, called look by look.
Prints Markdown tables; exits 1 when a made world's cell lies above its bound.
"""

import argparse
import os
import sys
from collections.abc import Mapping

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from tests.bench.retraining_policies import POLICIES, oracle, run
from tests.bench.retraining_world import ALL, BATCHES, MORE_WORLDS, NEWEST, ROWS, WORLDS, Losses, World, losses

BOUND = 1.10
"""Largest total cost of ours over the oracle's, in the worlds that have a bound."""
COSTS = (0.05, 0.5)
"""Of a retraining, in units of the loss of one batch in which every row is wrong."""
HISTORIES = {f"the newest {NEWEST} labelled batches": NEWEST, "all labelled batches": ALL}
"""What a retraining trains on."""
_FIRST_SEED = 1000


def main() -> int:
    """Both tables; the exit code says whether every made cell held its bound."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--only", choices=["worlds", "streams"], help="one of the tables")
    options = parser.parse_args()
    held = [options.only == "streams" or made_worlds(options.seeds, told) for told in HISTORIES]
    if options.only != "worlds":
        for told in HISTORIES:
            real_streams(told)
    return 0 if all(held) else 1


def made_worlds(seeds: int, trained_on: str) -> bool:
    """Worlds whose truth is known: total cost of each policy over the oracle's, and retrainings."""
    print(
        f"\nMade worlds, {BATCHES} batches of {ROWS} rows, {seeds} seeds, trained on {trained_on}: "
        "total cost over the oracle's (retrainings)\n"
    )
    print(f"| world | cost | {' | '.join(POLICIES)} |\n|---|---|{'---|' * len(POLICIES)}")
    worst = 0.0
    for make in (*WORLDS, *MORE_WORLDS):
        worlds = [make(np.random.default_rng(_FIRST_SEED + seed)) for seed in range(seeds)]
        known = [losses(world, HISTORIES[trained_on]) for world in worlds]
        for cost in COSTS:
            cells = {name: ratio(name, worlds, known, cost) for name in POLICIES}
            worst = max(worst, cells["Gyre"][0]) if make in WORLDS else worst
            print(f"| {worlds[0].name} | {cost} | {_row(cells)} |", flush=True)
    print(f"\nGyre's worst cell of the first {len(WORLDS)} worlds: {worst:.3f} (bound {BOUND:.2f})", flush=True)
    return worst <= BOUND


def real_streams(trained_on: str) -> None:
    """Real labels in the order of time; the oracle knows the luck of the labels too, so nobody reaches it."""
    from tests.bench.retraining_streams import STREAMS  # noqa: PLC0415  made worlds need no download

    print(
        f"\nReal streams, {BATCHES} batches each, trained on {trained_on}: total cost over the oracle's (retrainings)\n"
    )
    print(f"| stream | rows a batch | cost | {' | '.join(POLICIES)} |\n|---|---|---|{'---|' * len(POLICIES)}")
    found: dict[float, list[list[float]]] = {cost: [] for cost in COSTS}
    for stream in STREAMS:
        world = stream()
        known = losses(world, HISTORIES[trained_on])
        for cost in COSTS:
            cells = {name: ratio(name, [world], [known], cost) for name in POLICIES}
            found[cost].append([cell[0] for cell in cells.values()])
            print(f"| {world.name} | {world.rows} | {cost} | {_row(cells)} |", flush=True)
    for cost, ratios in found.items():
        means = " | ".join(f"{mean:.3f}" for mean in np.mean(ratios, axis=0))
        print(f"| mean of all | | {cost} | {means} |", flush=True)


def ratio(name: str, worlds: list[World], known: list[Losses], cost: float) -> tuple[float, float, float]:
    """Mean total cost over the oracle's, its standard error over worlds, and the mean number of retrainings."""
    runs = [run(world, one, POLICIES[name], cost) for world, one in zip(worlds, known, strict=True)]
    ratios = np.array([total / oracle(one, cost) for (total, _), one in zip(runs, known, strict=True)])
    error = float(ratios.std(ddof=1) / np.sqrt(ratios.size)) if ratios.size > 1 else 0.0
    return float(ratios.mean()), error, float(np.mean([count for _, count in runs]))


def _row(cells: Mapping[str, tuple[float, float, float]]) -> str:
    return " | ".join(_cell(*cell) for cell in cells.values())


def _cell(mean: float, error: float, count: float) -> str:
    spread = f" ± {error:.3f}" if error else ""
    return f"{mean:.3f}{spread} ({count:.1f})"


if __name__ == "__main__":
    sys.exit(main())
