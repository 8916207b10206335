"""GoldenRows: the served form must repeat what the native model said in the user's own image.

Exporters exist that write a graph which loads, runs and predicts something else.
"""

import numpy as np

from gyre_crds.contracts import golden
from gyre_crds.contracts.task import GateOrder, GateReport
from gyre_crds.reasons import Version
from gyre_pipelines.failure import Failure
from gyre_pipelines.gates.base import Bench, Loaded, NotAGraphError, refused
from gyre_pipelines.onnx_model import RowsFailError, failing_rows
from gyre_pipelines.tables import spelled


def evaluate(order: GateOrder, bench: Bench) -> GateReport:
    """Predict the golden rows with the graph and compare."""
    try:
        loaded = bench.load(order.candidate)
    except Failure as failure:
        return refused(failure)
    except NotAGraphError as error:
        # Nothing was exported, so nothing can differ; the model server still repeats the rows before it takes traffic.
        message = f"{error}; what is served is the native model itself, and its server repeats the golden rows at start"
        return GateReport(state="Passed", reason=Version.PASSED, message=message)
    if loaded.golden is None:
        message = (
            f"{order.candidate.name} has no golden rows: leave the native model (model.joblib, model.pkl or an MLflow "
            "model) beside model.onnx, and hold out rows (data[].holdout)"
        )
        return GateReport(state="Unknown", reason=Version.GATE_UNKNOWN, message=message)
    rows = len(loaded.golden.predictions.labels)
    try:
        found = loaded.model.predict(loaded.golden.rows, loaded.signature)
    except RowsFailError as error:
        return _raised(loaded, loaded.golden, str(error))
    numbers = compare(loaded.golden.predictions, found)
    differ, largest = int(numbers["labelsDiffer"]), numbers["largestDifference"]
    told = f"{differ} of {rows} golden rows have another label, scores differ by up to {largest:.2g}"
    passed = differ == 0 and largest <= loaded.golden.tolerance
    return GateReport(
        state="Passed" if passed else "Failed",
        reason=Version.PASSED if passed else Version.GOLDEN_ROWS_DIFFER,
        message=f"{told} (allowed: 0 and {loaded.golden.tolerance:g})"
        + ("" if passed else "; the exported graph is not the trained model, correct the export"),
        value=largest,
        bound=loaded.golden.tolerance,
        rows=rows,
        numbers=numbers,
    )


def compare(wanted: golden.Predictions, found: golden.Predictions) -> dict[str, float]:
    """`labelsDiffer` (rows) and `largestDifference` (of scores; of the values themselves for a regression)."""
    if wanted.scores and found.scores:
        differ = sum(spelled(one) != spelled(other) for one, other in zip(wanted.labels, found.labels, strict=True))
        one, other = np.asarray(wanted.scores), np.asarray(found.scores)
        largest = float(np.max(np.abs(one - other))) if one.shape == other.shape else float("inf")
        return {"labelsDiffer": float(differ), "largestDifference": largest}
    if wanted.classes or any(isinstance(label, str | bool) for label in wanted.labels):
        differ = sum(spelled(one) != spelled(other) for one, other in zip(wanted.labels, found.labels, strict=True))
        return {"labelsDiffer": float(differ), "largestDifference": 0.0}
    # Numbers without classes: a regression, whose values are judged on their own scale.
    one, other = np.asarray(wanted.labels, dtype=float), np.asarray(found.labels, dtype=float)
    largest = float(np.max(np.abs(one - other) / np.maximum(1.0, np.abs(one))))
    return {"labelsDiffer": 0.0, "largestDifference": largest}


def _raised(loaded: Loaded, rows: golden.GoldenRows, why: str) -> GateReport:
    failing = failing_rows(loaded.model, rows.rows, loaded.signature)
    count = len(rows.predictions.labels)
    message = f"model.onnx fails on {len(failing) or count} of {count} golden rows: {why}"
    return GateReport(
        state="Failed",
        reason=Version.GOLDEN_ROWS_DIFFER,
        message=message,
        rows=count,
        numbers={"rowsFailed": float(len(failing))},
    )
