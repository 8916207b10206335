"""Runs in river's environment: prints each real series with its marked changes and what river says.

Given a file, a JSON list of series, it prints what river says of those.
"""

import importlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

NAMES = ("AirlinePassengers", "Apple", "Bitcoin", "BrentSpotPrice", "Occupancy", "RunLog", "UKCoalEmploy")
_SAMPLED = {"Apple": (1, 3), "BrentSpotPrice": (3200, 10)}
"""First row and step of what the annotators of the Turing Change Point Dataset saw; river ships all rows, and their
marks as they are."""
_KNOWN = 0.1
"""Share of a series that scales it: Page-Hinkley's threshold speaks of deviations."""


def main() -> None:
    """One JSON document on the last line."""
    drift = importlib.import_module("river.drift")
    found = _given(drift, Path(sys.argv[1])) if len(sys.argv) > 1 else _real(drift)
    sys.stdout.write("\n" + json.dumps(found) + "\n")


def _given(drift: Any, path: Path) -> list[dict[str, Any]]:
    """Detections, series by series."""
    series = [[_scaled(values)] for values in json.loads(path.read_text())]
    return [{"ADWIN": _detect(drift.ADWIN, one), "Page-Hinkley": _detect(drift.PageHinkley, one)} for one in series]


def _real(drift: Any) -> dict[str, Any]:
    """By series its columns, changes that annotators marked, the first row they saw, detections."""
    datasets = importlib.import_module("river.drift.datasets")
    found = {}
    for name in NAMES:
        data = getattr(datasets, name)()
        rows = [_numbers(row) for row in data]
        columns = [_scaled([row[k] for row in rows]) for k in range(len(rows[0]))]
        first, step = _SAMPLED.get(name, (0, 1))
        marked = sorted({first + step * int(point) for points in data.annotations.values() for point in points})
        found[name] = {
            "columns": columns,
            "marked": marked,
            "first": first,
            "ADWIN": _detect(drift.ADWIN, columns),
            "Page-Hinkley": _detect(drift.PageHinkley, columns),
        }
    return found


def _detect(kind: Any, columns: list[list[float]]) -> list[int]:
    rows: set[int] = set()
    for column in columns:
        detector = kind()
        for row, value in enumerate(column):
            detector.update(value)
            if detector.drift_detected:
                rows.add(row)
    return sorted(rows)


def _numbers(row: Any) -> list[float]:
    """The numeric values of a row, whether it comes with a target or without."""
    parts = row if isinstance(row, tuple) else (row,)
    found: list[float] = []
    for part in parts:
        values = part.values() if isinstance(part, Mapping) else [part]
        found += [float(value) for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    return found


def _scaled(values: list[float]) -> list[float]:
    known = values[: max(int(len(values) * _KNOWN), 20)]
    mean = sum(known) / len(known)
    spread = (sum((value - mean) ** 2 for value in known) / len(known)) ** 0.5 or 1.0
    return [(value - mean) / spread for value in values]


if __name__ == "__main__":
    main()
