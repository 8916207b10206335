"""The same tests inside the values of a segment column: a shift of one group drowns in the whole."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gyre_crds.v1alpha1.common import Contract
from gyre_crds.v1alpha1.drift import DriftMonitorSpec
from gyre_monitoring.errors import InputError
from gyre_monitoring.profile import Tables, build
from gyre_monitoring.shifts import Shift, measured
from gyre_monitoring.values import texts
from gyre_monitoring.window import WindowCounter, adapted

LEAST_ROWS = 200
"""Rows below which a segment is not looked at, in the window and in the reference."""
MOST_VALUES = 12
"""Values of a segment column that are looked at, the most frequent first."""


class Group(NamedTuple):
    """The rows where a column has a value."""

    column: str
    value: str


def shifts(
    reference: Tables, current: Tables, spec: DriftMonitorSpec, contract: Contract,
) -> tuple[list[Shift], list[Shift], list[str]]:  # fmt: skip
    """Tests of inputs and of predictions in every segment, and what could not be looked at."""
    inputs: list[Shift] = []
    outputs: list[Shift] = []
    notes: list[str] = []
    for column in spec.segments:
        values = _values(reference(), column)
        if not values:
            notes.append(f"segment {column}: no value has {LEAST_ROWS} rows in the reference")
        for value in values:
            found = _segment(Group(column, value), reference, current, spec=spec, contract=contract)
            inputs += [one for one in found if one.name not in {"prediction", "score"}]
            outputs += [one for one in found if one.name in {"prediction", "score"}]
    return inputs, outputs, notes


def _segment(
    group: Group, reference: Tables, current: Tables, *, spec: DriftMonitorSpec, contract: Contract,
) -> list[Shift]:  # fmt: skip
    codes = frozenset(one.name for one in spec.features if one.categorical)
    try:
        profile = build(lambda: _where(reference(), group), contract, categorical=codes)
    except InputError:
        return []
    counter = WindowCounter(adapted(profile, spec), spec)
    for table in _where(current(), group):
        counter.add(table)
    if counter.rows < LEAST_ROWS:
        return []
    tests = (
        measured(one, f"{group.column}={group.value}") for name, one in counter.columns.items() if name != group.column
    )
    return [one for one in tests if one is not None]


def _values(tables: Iterable[pa.Table], column: str) -> list[str]:
    counts: dict[str, int] = {}
    for table in tables:
        if column in table.column_names:
            for entry in pc.value_counts(texts(table[column]).drop_null()).to_pylist():
                counts[entry["values"]] = counts.get(entry["values"], 0) + entry["counts"]
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [value for value, rows in ranked[:MOST_VALUES] if rows >= LEAST_ROWS]


def _where(tables: Iterable[pa.Table], group: Group) -> Iterator[pa.Table]:
    for table in tables:
        if group.column not in table.column_names:
            continue
        same = pc.fill_null(pc.equal(texts(table[group.column]), group.value), fill_value=False)
        yield table.take(pa.array(np.flatnonzero(np.asarray(same))))
