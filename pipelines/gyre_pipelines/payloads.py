"""The payload log of a service joined with its feedback: what was asked, and what turned out to be true."""

import io
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gyre_crds.contracts.payload import FeedbackColumn, PayloadColumn
from gyre_crds.contracts.store import feedback_prefix, payload_prefix
from gyre_crds.reasons import Training
from gyre_crds.v1alpha1.common import Contract
from gyre_pipelines.failure import Failure
from gyre_pipelines.objects import Entry, Store
from gyre_pipelines.tables import TIME_TYPE, utc

_PART = re.compile(r"^(\d+)-(\d+)-.+\.parquet$")
_OWN = frozenset(column.value for column in PayloadColumn)
_JOIN = [PayloadColumn.REQUEST_ID.value, PayloadColumn.ROW.value]


@dataclass(frozen=True)
class Window:
    """Rows that arrived in the last `length` seconds, but for the last `maturity` seconds: their labels are young.

    Rows of `excluded` spans (start, end excluded) count neither; with `drawn` only those that a lot marked for
    labelling do.
    """

    now: datetime
    length: float
    maturity: float = 0.0
    excluded: tuple[tuple[datetime, datetime], ...] = ()
    drawn: bool = False

    @property
    def start(self) -> datetime:
        """First instant that counts."""
        return self.now - timedelta(seconds=self.length)

    @property
    def end(self) -> datetime:
        """Last instant that counts."""
        return self.now - timedelta(seconds=self.maturity)


def time_column(contract: Contract) -> str:
    """The column of the event time: the contract's, or the arrival's."""
    return contract.time or PayloadColumn.TIME.value


def labelled_rows(store: Store, service: str, contract: Contract, window: Window) -> pa.Table:
    """Features, key, time and label of the rows whose truth is known, oldest first; no column at all without a row.

    Only the first label of a row counts. A row without a business key gets `<request id>/<row>` as key.

    Raises:
        Failure: the log lacks a column of the contract, or the store does not answer.
    """
    payload = _read(store, payload_prefix(service), window)
    feedback = _read(store, feedback_prefix(service), window)
    if payload is None or feedback is None:
        return pa.table({})
    payload = _sound(_between(payload, PayloadColumn.TIME, window.start, window.end), window)
    payload = _first(payload, PayloadColumn.TIME)
    labels = _first(_counting(feedback, window), FeedbackColumn.TIME).select([*_JOIN, FeedbackColumn.LABEL.value])
    joined = _join(payload, labels)
    return _shape(joined, service, contract) if joined.num_rows else pa.table({})


def _join(payload: pa.Table, labels: pa.Table) -> pa.Table:
    """Only keys and row numbers are joined: Arrow's join refuses some types that a feature may have."""
    numbered = payload.select(_JOIN).append_column("n", pa.array(range(payload.num_rows), pa.int64()))
    met = numbered.join(labels, keys=_JOIN, join_type="inner")
    label = FeedbackColumn.LABEL.value
    return payload.take(met.column("n")).append_column(label, met.column(label))


def _read(store: Store, prefix: str, window: Window) -> pa.Table | None:
    parts = [
        pq.read_table(io.BytesIO(store.read(entry.path))) for entry in store.list(prefix) if _within(entry, window)
    ]
    return pa.concat_tables(_one_label_type(parts), promote_options="permissive") if parts else None


def _within(entry: Entry, window: Window) -> bool:
    named = _PART.match(PurePosixPath(entry.path).name)
    return named is not None and datetime.fromtimestamp(int(named.group(2)) / 1000, UTC) >= window.start


def _one_label_type(parts: list[pa.Table]) -> list[pa.Table]:
    label = FeedbackColumn.LABEL.value
    types = {part.schema.field(label).type for part in parts if label in part.column_names}
    if len(types) <= 1:
        return parts
    return [
        part.set_column(part.column_names.index(label), label, part.column(label).cast(pa.string())) for part in parts
    ]


def _between(table: pa.Table, column: str, start: datetime, end: datetime) -> pa.Table:
    times = table.column(column).cast(TIME_TYPE)
    low, high = pa.scalar(start, TIME_TYPE), pa.scalar(end, TIME_TYPE)
    return table.filter(pc.and_(pc.greater_equal(times, low), pc.less_equal(times, high)))


def _sound(payload: pa.Table, window: Window) -> pa.Table:
    for start, end in window.excluded:
        times = payload.column(PayloadColumn.TIME).cast(TIME_TYPE)
        inside = pc.and_(
            pc.greater_equal(times, pa.scalar(start, TIME_TYPE)), pc.less(times, pa.scalar(end, TIME_TYPE))
        )
        payload = payload.filter(pc.invert(inside))
    if window.drawn and PayloadColumn.LABEL_SAMPLE in payload.column_names:
        return payload.filter(pc.fill_null(payload.column(PayloadColumn.LABEL_SAMPLE), fill_value=False))
    return payload.slice(0, 0) if window.drawn else payload


def _counting(feedback: pa.Table, window: Window) -> pa.Table:
    first = pc.fill_null(feedback.column(FeedbackColumn.FIRST), fill_value=True)
    known = pc.is_valid(feedback.column(FeedbackColumn.LABEL))
    return _between(feedback.filter(pc.and_(first, known)), FeedbackColumn.TIME, window.start, window.now)


def _first(table: pa.Table, column: str) -> pa.Table:
    """The earliest row of each request row: a part that was written twice counts once."""
    ordered = table.sort_by([(column, "ascending")])
    numbered = ordered.select(_JOIN).append_column("n", pa.array(range(ordered.num_rows), pa.int64()))
    keep = numbered.group_by(_JOIN, use_threads=False).aggregate([("n", "min")]).column("n_min")
    return ordered.take(keep)


def _shape(joined: pa.Table, service: str, contract: Contract) -> pa.Table:
    names = set(joined.column_names)
    label = FeedbackColumn.LABEL.value
    apart = {*_OWN, label, contract.key, contract.label.column, contract.time}
    features = list(contract.features) or [name for name in joined.column_names if name not in apart]
    missing = [name for name in features if name not in names]
    if missing:
        raise Failure(
            Training.DATA_UNREADABLE,
            f"the payload log of InferenceService {service} lacks column {', '.join(missing)}; "
            "take it out of payloads.redact or out of contract.features",
        )
    event = contract.time if contract.time in names else PayloadColumn.TIME.value
    table = pa.table({
        **{name: joined.column(name) for name in features},
        contract.key: _keys(joined),
        time_column(contract): utc(joined.column(event)),
        contract.label.column: _labels(joined.column(label)),
    })  # fmt: skip
    return table.sort_by([(time_column(contract), "ascending"), (contract.key, "ascending")])


def _keys(joined: pa.Table) -> pa.Array:
    triples = zip(
        joined.column(PayloadColumn.KEY).to_pylist(),
        joined.column(PayloadColumn.REQUEST_ID).to_pylist(),
        joined.column(PayloadColumn.ROW).to_pylist(),
        strict=True,
    )
    keys = [key if key is not None else f"{request}/{row}" for key, request, row in triples]
    whole = all(str(key).isdecimal() and str(int(key)) == str(key) and len(str(key)) < 19 for key in keys)  # noqa: PLR2004
    return pa.array([int(key) for key in keys], pa.int64()) if whole else pa.array([str(key) for key in keys])


def _labels(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Class labels travel as float64; whole numbers become integers again, as files of the past have them."""
    if pa.types.is_floating(column.type) and pc.all(pc.equal(pc.floor(column), column)).as_py():
        return column.cast(pa.int64())
    return column
