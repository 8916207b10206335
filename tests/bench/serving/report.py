"""Markdown tables, written as they come: a long run that is cut off still leaves its rows."""

import statistics
import sys
from collections.abc import Sequence

from tests.bench.serving.load import Round


def say(text: str) -> None:
    """One line on the terminal."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def head(title: str, columns: Sequence[str]) -> None:
    """A table's title and columns."""
    say(f"\n### {title}\n")
    say(f"| {' | '.join(columns)} |")
    say(f"|{'---|' * len(columns)}")


def row(*cells: str) -> None:
    """One row."""
    say(f"| {' | '.join(cells)} |")


def median(values: Sequence[float]) -> float:
    """The middle of several rounds."""
    return statistics.median(values)


def cell(rounds: Sequence[Round]) -> str:
    """CPU a request and median latency, each the median of the rounds."""
    return f"{median([one.cpu for one in rounds]):.0f} us ({median([one.p50 for one in rounds]):.2f} ms)"
