"""Labels joined to the predictions they judge: first labels only, mature ones only."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gyre_crds.base import seconds
from gyre_crds.contracts.payload import FeedbackColumn, PayloadColumn
from gyre_crds.v1alpha1.common import Contract
from gyre_crds.v1alpha1.drift import DriftMonitorSpec
from gyre_monitoring.errors import InputError
from gyre_monitoring.parts import Parts, Span, within
from gyre_monitoring.values import Bools, Floats, numbers, texts

LABEL = FeedbackColumn.LABEL.value
_JOIN = "gyre_join"
_LOTS = (PayloadColumn.PROPENSITY.value, PayloadColumn.LABEL_SAMPLE.value)
_STAMP = pa.timestamp("us", "UTC")


@dataclass(frozen=True)
class Labelled:
    """Predictions with their truth in column `label`, and what they are a sample of."""

    table: pa.Table
    eligible: int
    """Predictions of the cohort, labelled or not."""
    eligible_times: Floats | None = None
    """Their arrival, Unix seconds; None where rows carry none."""
    eligible_scores: Floats | None = None
    """Their scores: a labelled part that differs from them is a biased sample."""
    eligible_lots: Floats | None = None
    """Their propensities and marks for labelling, (2, eligible); None where rows carry none."""

    @property
    def since(self) -> datetime | None:
        """Arrival of the oldest labelled row."""
        if PayloadColumn.TIME not in self.table.column_names or not self.table.num_rows:
            return None
        oldest: datetime | None = pc.min(self.table[PayloadColumn.TIME]).as_py()
        return oldest

    def without(self, spans: Sequence[Span]) -> "Labelled":
        """The rows that arrived outside of the spans."""
        return self._kept(lambda at: ~_in_any(at, spans)) if spans else self

    def from_instant(self, start: datetime) -> "Labelled":
        """The rows that arrived at or after an instant."""
        return self._kept(lambda at: at >= start.timestamp())

    def _kept(self, choose: "Callable[[Floats], Bools]") -> "Labelled":
        if PayloadColumn.TIME not in self.table.column_names or self.eligible_times is None:
            return self
        rows = np.flatnonzero(choose(numbers(self.table[PayloadColumn.TIME])))
        cohort = choose(self.eligible_times)
        scores = None if self.eligible_scores is None else self.eligible_scores[cohort]
        lots = None if self.eligible_lots is None else self.eligible_lots[:, cohort]
        table = self.table.take(pa.array(rows))
        return Labelled(table, int(cohort.sum()), self.eligible_times[cohort], scores, lots)


def cohort(spec: DriftMonitorSpec, contract: Contract, end: datetime) -> Span:
    """Arrival times of the predictions whose labels count at `end`.

    They arrived at most `window.labelsBack` ago and at least `label.maturity` ago, so every row had
    the same time to receive its label: counting younger rows would count only fast labels.
    """
    start = end - timedelta(seconds=seconds(spec.window.labels_back))
    return Span(start, max(start, end - timedelta(seconds=seconds(contract.label.maturity))))


def truths(feedback: Parts, known_before: datetime) -> pa.Table:
    """First label of each prediction known before an instant, with its join key; read from feedback parts."""
    tables = []
    for name, table in feedback.tables():
        lacking = {FeedbackColumn.REQUEST_ID, FeedbackColumn.ROW, LABEL, FeedbackColumn.TIME} - set(table.column_names)
        if lacking:
            feedback.broken.parts.append(f"{name}: lacks {', '.join(sorted(lacking))}, so its labels cannot be joined")
            continue
        if FeedbackColumn.FIRST in table.column_names:
            table = table.filter(pc.fill_null(table[FeedbackColumn.FIRST], fill_value=False))  # noqa: PLW2901
        when = pc.cast(table[FeedbackColumn.TIME], _STAMP)
        part = pa.table({_JOIN: _request_key(table), LABEL: table[LABEL], "at": when})
        tables.append(part.filter(pc.less(when, pa.scalar(known_before, _STAMP))))
    if not tables:
        return pa.table({_JOIN: pa.array([], pa.string()), LABEL: pa.array([], pa.float64())})
    try:
        merged = pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException:  # a caller that sends "1" beside one that sends 1
        merged = pa.concat_tables([table.set_column(1, LABEL, texts(table[LABEL])) for table in tables])
    return merged.sort_by("at").drop_columns("at")


def joined(rows: Iterable[pa.Table], truth: pa.Table, key: str | None = None) -> Labelled:
    """Rows with a truth, each once, and the size of the cohort.

    Args:
        rows: predictions of the cohort.
        truth: columns `gyre_join` and `label`; the first of equal keys wins.
        key: the column to join on; by default request id and row.
    """
    matched: list[pa.Table] = []
    scores: list[Floats] = []
    times: list[Floats] = []
    lots: list[Floats] = []
    eligible = 0
    wanted = truth[_JOIN].combine_chunks()
    for table in rows:
        eligible += table.num_rows
        if PayloadColumn.SCORE in table.column_names:
            scores.append(numbers(table[PayloadColumn.SCORE]))
        if PayloadColumn.TIME in table.column_names:
            times.append(numbers(table[PayloadColumn.TIME]))
        if set(_LOTS) <= set(table.column_names):
            lots.append(np.stack([numbers(table[name]) for name in _LOTS]))
        keys = _request_key(table) if key is None else texts(table[key])
        at = pc.index_in(keys, wanted, skip_nulls=True)
        found = pa.array(np.flatnonzero(at.is_valid()))
        part = table.take(found)
        if LABEL in part.column_names:
            part = part.drop_columns(LABEL)
        part = part.append_column(LABEL, truth[LABEL].take(at.drop_null()))
        matched.append(part.append_column(_JOIN, keys.take(found)))
    if not matched:
        return Labelled(pa.table({}), 0)
    merged = _once(pa.concat_tables(matched, promote_options="permissive"))
    drawn = np.concatenate(lots, axis=1) if lots else np.empty((2, 0))
    return Labelled(
        merged,
        eligible,
        _whole(times, eligible),
        _whole(scores, eligible),
        drawn if drawn.shape[1] == eligible else None,
    )


def from_store(
    payload: Parts,
    feedback: Parts,
    span: Span,
    *,
    end: datetime,
    revisions: Sequence[str],
    features: Sequence[str],
) -> Labelled | None:
    """The labelled cohort of a service; None when there is no feedback at all."""
    truth = truths(feedback, end)
    if not truth.num_rows:
        return None
    ours = [PayloadColumn.REQUEST_ID, PayloadColumn.ROW, PayloadColumn.TIME, PayloadColumn.REVISION]
    columns = [*ours, *_LOTS, PayloadColumn.PREDICTION, PayloadColumn.SCORE, *features]
    return joined(_joinable(payload, span, revisions, columns), truth)


def from_table(current: Iterable[pa.Table], labels: pa.Table, contract: Contract) -> Labelled:
    """Labels of a Parquet of one's own, joined by request id and row, or by the contract's key.

    Raises:
        InputError: neither is in the labels, or the label column is not.
    """
    names = set(labels.column_names)
    column = contract.label.column if contract.label.column in names else LABEL
    if column not in names:
        raise InputError(f"the labels lack column {contract.label.column}: name it in contract.label.column")
    by_request = {FeedbackColumn.REQUEST_ID.value, FeedbackColumn.ROW.value} <= names
    if not by_request and contract.key not in names:
        raise InputError(f"the labels lack the key column {contract.key}: name it in contract.key")
    keys = _request_key(labels) if by_request else texts(labels[contract.key])
    truth = pa.table({_JOIN: keys, LABEL: labels[column]}).filter(pc.is_valid(keys))
    tables = list(current)
    if not by_request and any(contract.key not in table.column_names for table in tables):
        raise InputError(f"the current rows lack the key column {contract.key}: labels cannot be joined")
    return joined(tables, truth, None if by_request else contract.key)


def _joinable(payload: Parts, span: Span, revisions: Sequence[str], columns: Sequence[str]) -> Iterable[pa.Table]:
    for _, table in payload.tables(columns):
        if {PayloadColumn.REQUEST_ID, PayloadColumn.ROW, PayloadColumn.TIME} <= set(table.column_names):
            yield within(table, span, revisions)


def _request_key(table: pa.Table) -> pa.Array:
    parts = (texts(table[PayloadColumn.REQUEST_ID]), texts(table[PayloadColumn.ROW]))
    return pc.binary_join_element_wise(*parts, "/")


def _whole(parts: Sequence[Floats], rows: int) -> Floats | None:
    """The parts as one array; None unless every row has a value."""
    merged = np.concatenate(parts) if parts else np.empty(0)
    return merged if merged.size == rows else None


def _in_any(at: Floats, spans: Sequence[Span]) -> Bools:
    inside = np.zeros(at.size, dtype=bool)
    for span in spans:
        inside |= (at >= span.start.timestamp()) & (at < span.end.timestamp())
    return inside


def _once(table: pa.Table) -> pa.Table:
    """Each key once, its first row."""
    codes = table[_JOIN].combine_chunks().dictionary_encode().indices
    first = np.unique(np.asarray(codes), return_index=True)[1]
    return table.take(pa.array(np.sort(first))).drop_columns(_JOIN)
