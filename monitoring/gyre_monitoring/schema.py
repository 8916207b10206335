"""Columns that are missing, extra, of another type, or in another unit."""

from collections.abc import Iterator, Mapping

from gyre_crds.contracts.payload import PayloadColumn
from gyre_monitoring.evidence import Incident
from gyre_monitoring.units import UnitChange
from gyre_monitoring.window import ColumnWindow, WindowCounter

_HEAVY = 0.05
_OUTPUTS = frozenset({PayloadColumn.PREDICTION, PayloadColumn.SCORE})


def incidents(window: WindowCounter, units: Mapping[str, UnitChange]) -> tuple[Incident, ...]:
    """Every break of the schema, the heaviest first."""
    found = [
        *(incident for column in window.columns.values() for incident in _column(column)),
        *(_unit(name, change) for name, change in units.items()),
        *_extra(window),
    ]
    return tuple(sorted(found, key=lambda one: (not one.heavy, -one.share, one.column or "")))


def _column(column: ColumnWindow) -> Iterator[Incident]:
    if not column.rows:
        return
    name = column.profile.name
    if column.absent and name not in _OUTPUTS:
        share = column.absent / column.rows
        words = "is missing" if share == 1 else f"is missing from {share:.0%} of the rows"
        yield Incident(name, "absent", share, words, heavy=share >= _HEAVY)
    if column.retyped:
        share = column.retyped / column.rows
        vector = column.profile.vector if column.profile.kind == "Vector" else None
        had = f"a vector of {vector.dimension}" if vector else column.profile.type
        words = f"arrives as {column.found}, training had {had}"
        yield Incident(name, "retyped", share, words + _of_rows(share), heavy=share >= _HEAVY)


def _unit(name: str, change: UnitChange) -> Incident:
    words = f"arrives {change.words()}" + _of_rows(change.share)
    return Incident(name, "unit", change.share, words, heavy=True)


def _extra(window: WindowCounter) -> Iterator[Incident]:
    for name, rows in sorted(window.extra.items()):
        yield Incident(name, "extra", rows / window.rows, "is a column that training did not have")


def _of_rows(share: float) -> str:
    return f" in {share:.0%} of the rows" if round(share, 2) < 1 else ""
