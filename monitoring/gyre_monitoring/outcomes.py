"""From columns of predictions, scores and labels to outcomes."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gyre_crds.contracts.payload import PayloadColumn
from gyre_monitoring.counting import LARGEST
from gyre_monitoring.metrics import REGRESSION, Outcomes
from gyre_monitoring.values import Bools, column_type, numbers, texts

_THRESHOLD = 0.5  # where nobody says what was predicted, the likelier class was


def outcomes(table: pa.Table, label: str, metric: str, positive: str | None) -> tuple[Outcomes, Bools]:
    """Outcomes of the rows that have both prediction and label, and which rows these are.

    `positive` is the canonical text of the class that the score speaks of.
    """
    names = set(table.column_names)
    if label not in names or not names & {PayloadColumn.PREDICTION, PayloadColumn.SCORE}:
        return Outcomes(), np.zeros(table.num_rows, dtype=bool)
    if metric in REGRESSION:
        return _regression(table, label)
    truth = texts(table[label])
    keep = np.asarray(truth.is_valid())
    score = numbers(table[PayloadColumn.SCORE]) if _has_numbers(table, PayloadColumn.SCORE) else None
    predicted = _predicted(table, score, positive)
    if predicted is None:
        return Outcomes(), np.zeros(table.num_rows, dtype=bool)
    keep &= np.asarray(predicted.is_valid())
    if score is not None:
        keep &= np.isfinite(score)
    rows = pa.array(np.flatnonzero(keep))
    truth, predicted = truth.take(rows), predicted.take(rows)
    return Outcomes(
        correct=_equal(predicted, truth),
        positive=None if positive is None else _equal(truth, positive),
        predicted_positive=None if positive is None else _equal(predicted, positive),
        score=None if score is None else score[keep],
    ), keep


def positive_class(table: pa.Table) -> str | None:
    """The predicted class that goes with high scores; None without a score."""
    if not _has_numbers(table, PayloadColumn.SCORE) or PayloadColumn.PREDICTION not in table.column_names:
        return None
    score, predicted = numbers(table[PayloadColumn.SCORE]), texts(table[PayloadColumn.PREDICTION])
    means = {
        name: float(score[_equal(predicted, name) & np.isfinite(score)].mean())
        for name in pc.unique(predicted.drop_null()).to_pylist()
        if (_equal(predicted, name) & np.isfinite(score)).any()
    }
    return max(means, key=lambda name: (means[name], name)) if means else None


def _predicted(table: pa.Table, score: npt.NDArray[np.float64] | None, positive: str | None) -> pa.Array | None:
    if PayloadColumn.PREDICTION in table.column_names:
        return texts(table[PayloadColumn.PREDICTION])
    if score is None or positive is None:
        return None
    return pa.array(np.where(score >= _THRESHOLD, positive, f"not {positive}"), mask=np.isnan(score))


def _regression(table: pa.Table, label: str) -> tuple[Outcomes, Bools]:
    if not (_has_numbers(table, PayloadColumn.PREDICTION) and _has_numbers(table, label)):
        return Outcomes(), np.zeros(table.num_rows, dtype=bool)
    error = numbers(table[PayloadColumn.PREDICTION]) - numbers(table[label])
    keep = np.abs(error) < LARGEST  # false for NaN too
    return Outcomes(error=error[keep]), keep


def _has_numbers(table: pa.Table, name: str) -> bool:
    return name in table.column_names and column_type(table.schema.field(name).type) == "number"


def _equal(left: pa.Array, right: pa.Array | str) -> Bools:
    same = pc.fill_null(pc.equal(left, right), fill_value=False)
    return np.asarray(same.to_numpy(zero_copy_only=False), dtype=bool)
