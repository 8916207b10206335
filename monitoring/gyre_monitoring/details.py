"""The parts of report.json beyond its `spec`: single columns, tests, segments and numbers, as the page shows them."""

import math
from typing import Any

from gyre_crds.contracts.payload import PayloadColumn
from gyre_monitoring import power
from gyre_monitoring.evidence import Evidence, Incident
from gyre_monitoring.histograms import histogram
from gyre_monitoring.shifts import Shift
from gyre_monitoring.uncertainty import NAME as ENTROPY
from gyre_monitoring.window import ColumnWindow


def feature(evidence: Evidence, name: str) -> dict[str, Any]:
    """One column: what is missing, how it lies beside the reference, and its test."""
    column = evidence.window.columns[name]
    test = next((one for one in evidence.inputs if one.name == name and one.segment is None), None)
    base: dict[str, Any] = {
        "name": name,
        "kind": column.profile.kind,
        "missing": share_missing(column),
        "missingBefore": round(column.profile.missing / column.profile.rows, 6),
        "newCategories": round(column.unseen / max(column.valid, 1), 6),
        "drifted": False,
        "histogram": histogram(column),
    }
    return base | (_test(test) | {"mde": _mde(evidence, test)} if test else {})


def _mde(evidence: Evidence, test: Shift) -> float | None:
    level = evidence.budget.inputs / max(len(evidence.inputs), 1)
    bins = max(test.measure.bins, 2)
    least = power.least_effect(test.method, test.rows, test.reference_rows, level, floor=test.floor, bins=bins)
    return None if least is None else round(least, 5)


def _test(shift: Shift) -> dict[str, Any]:
    return {
        "name": shift.name,
        "kind": shift.kind,
        "method": shift.method,
        "score": rounded(shift.measure.score),
        "effect": rounded(shift.measure.effect),
        "floor": rounded(shift.floor),
        "pValue": float(shift.measure.p_value),
        "pAdjusted": float(shift.p_adjusted),
        "excess": rounded(shift.excess) if math.isfinite(shift.excess) else None,
        "weight": shift.weight,
        "rows": shift.rows,
        "drifted": shift.drifted,
    }


def prediction(evidence: Evidence) -> dict[str, Any]:
    """What the model answered, and what its losses are estimated to be."""
    tests = [one for one in evidence.prediction if one.segment is None]
    result: dict[str, Any] = {"tests": [_test(one) for one in tests]}
    for name in (PayloadColumn.PREDICTION.value, PayloadColumn.SCORE.value):
        column = evidence.window.columns.get(name)
        if column is not None and column.valid:
            result[name] = {"histogram": histogram(column)}
    if evidence.window.uncertainty is not None and evidence.window.uncertainty.valid:
        result[ENTROPY] = {"histogram": histogram(evidence.window.uncertainty)}
    estimated = evidence.estimated
    if estimated is not None:
        result["estimate"] = {
            "metric": estimated.metric,
            "reference": rounded(estimated.reference),
            "value": rounded(estimated.value),
            "lower": rounded(estimated.lower),
            "floor": rounded(estimated.floor),
            "by": estimated.source,
        }
    return result


def segments(evidence: Evidence) -> list[dict[str, Any]]:
    """Every test within a segment."""
    tests = (one for one in (*evidence.inputs, *evidence.prediction) if one.segment is not None)
    return [_test(one) | {"segment": one.segment} for one in tests]


def incident(found: Incident) -> dict[str, Any]:
    """What a check of the data found in a column."""
    return {
        "column": found.column,
        "check": found.check,
        "share": round(found.share, 6),
        "words": found.words,
        "heavy": found.heavy,
    }


def powers(evidence: Evidence) -> dict[str, Any]:
    """What could not have been seen, and which rate holds."""
    rate, baseline = evidence.spec.false_alarm_rate, evidence.baseline
    return {
        **power.numbers(evidence),
        "declared": rate,
        "achievable": baseline.achievable if baseline else None,
        "baselineWindows": baseline.windows if baseline else len(evidence.past),
        "calibration": "history" if baseline else "theory",
        "season": baseline.season if baseline else None,
        "notes": list(evidence.notes),
        "unreadable": list(evidence.broken),
    }


def statistics(evidence: Evidence) -> dict[str, float]:
    """The numbers that later looks are calibrated on, by the test's key."""
    values = {one.key: float(one.measure.signed) for one in (*evidence.inputs, *evidence.prediction)}
    if evidence.estimated is not None:
        values["estimate"] = evidence.estimated.value
    return {name: value for name, value in values.items() if math.isfinite(value)}


def share_missing(column: ColumnWindow) -> float:
    """Share of the window's rows without a value."""
    return round(column.missing / max(column.rows - column.absent, 1), 6)


def rounded(value: float) -> float | None:
    """Six digits; None for what is no finite number."""
    return float(f"{value:.6g}") if math.isfinite(value) else None
