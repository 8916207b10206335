"""Markdown tables, written as they come: a long run that is cut off still leaves its rows."""

import statistics
import sys
from collections.abc import Sequence


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
