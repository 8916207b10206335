"""The serving plane beside its peers, ratios in the same run.

    python -m tests.bench.serving                     all rows, short rounds
    python -m tests.bench.serving router --rounds 3     one row, longer

CPU is read from /proc (user + system of a program's processes), so a busy machine changes latency but
hardly this; measured programs stand on one core, the client and what is behind them on another, and
rounds are interleaved. Peers come from Debian and PyPI into the cache; one that cannot be had is named.
"""

import argparse
import signal
import sys
from collections.abc import Callable, Mapping

from tests.bench.serving import burden, cold, grpc, latency, promises, routing, scikit, servers, swaps
from tests.bench.serving.options import Options

ROWS: Mapping[str, Callable[[Options], None]] = {
    "router": routing.cpu,
    "grpc": grpc.cpu,
    "latency": latency.added,
    "mirror": routing.mirror,
    "memory": burden.held,
    "split": promises.split,
    "server": servers.cpu,
    "scikit": scikit.cpu,
    "swaps": swaps.swapped,
    "swaps-triton": swaps.swapped_by_hand,
    "cold": cold.start,
}


def main() -> int:
    """Run the rows asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="row", help=f"of {', '.join(ROWS)}; all where none is named")
    parser.add_argument("--seconds", type=int, default=2, help="length of one round, whole seconds (2)")
    parser.add_argument("--rounds", type=int, default=1, help="rounds, of which the median counts (1)")
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 4, 32])
    parser.add_argument("--requests", type=int, default=100_000, help="requests of the split row (100000)")
    parser.add_argument("--swaps", type=int, default=100, help="version swaps of the swaps rows (100)")
    given = parser.parse_args()
    unknown = [row for row in given.rows if row not in ROWS]
    if unknown:
        parser.error(f"no row {unknown[0]!r}; there are {', '.join(ROWS)}")
    # What was started is ended on the way out, also when the bench is told to stop.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options = Options(given.seconds, given.rounds, tuple(given.connections), given.requests, given.swaps)
    for row in given.rows or ROWS:
        ROWS[row](options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
