"""Looks in memory: tables in, evidence and verdict out."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa

from gyre_crds.contracts.profile import Profile
from gyre_crds.contracts.task import Report
from gyre_crds.v1alpha1.common import Contract, LabelContract
from gyre_crds.v1alpha1.drift import DriftMonitorSpec, Feature, Target
from gyre_monitoring import report, rules
from gyre_monitoring.evidence import Evidence, Finding
from gyre_monitoring.history import Past
from gyre_monitoring.labels import Labelled, from_table
from gyre_monitoring.look import Inputs, observe
from gyre_monitoring.parts import Broken, Span
from gyre_monitoring.profile import build, digest
from tests.monitoring.support import census

START = datetime(2026, 1, 1, 6, tzinfo=UTC)
HOUR = timedelta(hours=1)
CONTRACT = Contract(key="id", label=LabelContract(column="employed"), features=list(census.FEATURES))
AGES = Feature(name="AGEP", min=0, max=120)


def monitor(**fields: Any) -> DriftMonitorSpec:
    """A monitor's spec that declares the range of ages."""
    return DriftMonitorSpec(target=Target(inference_service="census"), **{"features": [AGES], **fields})


@cache
def census_profile() -> Profile:
    """The profile of the census reference."""
    return build(lambda: [census.reference()], CONTRACT)


def look(
    current: pa.Table | Sequence[pa.Table],
    *,
    profile: Profile | None = None,
    contract: Contract = CONTRACT,
    spec: DriftMonitorSpec | None = None,
    labelled: Labelled | None = None,
    past: Sequence[Past] = (),
    consecutive: int = 0,
    reference: pa.Table | None = None,
    broken: Sequence[str] = (),
    start: datetime = START,
) -> tuple[Evidence, Finding]:
    """One look at one window."""
    tables = [current] if isinstance(current, pa.Table) else list(current)
    profile = profile or census_profile()
    evidence = observe(
        Inputs(
            spec=spec or monitor(),
            contract=contract,
            profile=profile,
            digest=digest(profile),
            span=Span(start, start + HOUR),
            current=lambda: tables,
            broken=Broken(list(broken)),
            labelled=labelled,
            reference=None if reference is None else lambda: [reference],
            past=past,
            consecutive=consecutive,
        )
    )
    return evidence, rules.verdict(evidence)


def reported(evidence: Evidence, finding: Finding) -> Report:
    """The report of a look."""
    return report.report(evidence, finding, "census")


def window(frame: census.Frame) -> pa.Table:
    """Scored people with a key each."""
    return census.scored(frame).append_column("id", pa.array(frame["id"]))


def labels(current: pa.Table, frame: census.Frame, count: int) -> Labelled:
    """The truth of the first people of a window."""
    truth = pa.table({"id": frame["id"][:count], "employed": frame["y"][:count]})
    return from_table([current], truth, CONTRACT)


def changed(table: pa.Table, name: str, values: Any) -> pa.Table:
    """The table with a column's values replaced."""
    column = values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(np.asarray(values))
    return table.set_column(table.column_names.index(name), name, column)


def normal_profile(columns: int = 3, rows: int = 5000, seed: int = 0) -> tuple[Profile, Contract]:
    """A profile of independent standard normal columns x0, x1, ... and no label."""
    contract = Contract(key="id", label=LabelContract(column="label"), features=[f"x{k}" for k in range(columns)])
    return build(lambda: [normals(columns, rows, seed)], contract), contract


def normals(columns: int, rows: int, seed: int, shift: float = 0.0) -> pa.Table:
    """Independent normal columns; the first one moved."""
    values = np.random.default_rng(seed).normal(size=(columns, rows))
    values[0] += shift
    return pa.table({f"x{k}": values[k] for k in range(columns)})
