"""False alarms, power and cost of a look, beside peers in the same run.

Run in the monitoring environment: `python -m tests.bench.drift [--full] [--only speed]`. Peers are installed into
environments of their own below the cache. Prints Markdown tables; exits 1 when a rate or a ratio misses its bound.
"""

import argparse
import os
import sys
import warnings

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["DO_NOT_TRACK"] = "1"

from tests.bench import drift_battery, drift_series, drift_speed
from tests.bench.drift_battery import Repetitions

USUAL = Repetitions(ours=100, evidently=10, nannyml=60)
FULL = Repetitions(ours=300, evidently=100, nannyml=300)
"""300 where a window costs less than half a second, 100 where it costs more."""


def main() -> int:
    """Every table; the exit code says whether all bounds held."""
    options = _parser().parse_args()
    warnings.simplefilter("ignore")
    most = Repetitions(
        *(given if given is not None else usual
          for given, usual in zip(
              (options.repetitions, options.evidently, options.nannyml), FULL if options.full else USUAL, strict=True
          ))
    )  # fmt: skip
    tables = {
        "speed": lambda: [
            drift_speed.start(),
            *map(drift_speed.beside_peers, options.rows),
            drift_speed.growth(tuple(options.growth)),
        ],
        "series": lambda: [
            drift_series.dependent(options.lifetimes),
            drift_series.made_changes(20),
            drift_series.marked_changes(),
        ],
        "power": lambda: [drift_battery.power(most)],
        "null": lambda: [drift_battery.null_battery(most), drift_battery.labelled_battery(most.ours)],
    }
    held = [one for name in options.only or tables for one in tables[name]()]
    return 0 if all(held) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--full", action="store_true", help=f"windows a cell {tuple(FULL)} instead of {tuple(USUAL)}; takes an hour"
    )
    parser.add_argument("--repetitions", type=int, help="windows of ours in a cell")
    parser.add_argument("--evidently", type=int, help="windows of Evidently in a cell; 0 leaves it out")
    parser.add_argument("--nannyml", type=int, help="windows of NannyML in a cell; 0 leaves it out")
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument(
        "--growth", type=int, nargs="+", default=[10_000, 100_000, 1_000_000], help="rows of the table of growth"
    )
    parser.add_argument("--lifetimes", type=int, default=5, help="of monitors whose rows are not independent")
    parser.add_argument(
        "--only", choices=["speed", "series", "power", "null"], nargs="+", help="these tables; by default all"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
