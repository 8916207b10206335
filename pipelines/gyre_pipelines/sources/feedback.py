"""Rows that a service answered, joined with the labels that came back.

The window moves, so the first attempt writes the joined rows below the job's prefix and every later
attempt reads exactly those. A service that nobody has asked yet gives no rows and an empty folder.
"""

import hashlib
import io

import pyarrow.parquet as pq

from gyre_crds.base import seconds
from gyre_crds.reasons import Training
from gyre_crds.v1alpha1.training import DataSource
from gyre_pipelines.failure import Failure
from gyre_pipelines.payloads import Window, labelled_rows
from gyre_pipelines.sources.base import LATEST, SPLIT, Context, Fetched, digest_of, listed, verify
from gyre_pipelines.tables import instant

FILE = "rows.parquet"
EMPTY = f"sha256:{hashlib.sha256(b'').hexdigest()}"


def fetch(source: DataSource, context: Context) -> Fetched:
    """The labelled rows of the service's window, as one Parquet file.

    Raises:
        Failure: DataNotFound with fewer than minRows, StoreDenied, StoreUnreachable.
    """
    pin = context.pin(source.name)
    folder = context.staging(source.name)
    path = context.pinned_path(source.name)
    if pin is None:
        _join(source, context, path)
    target = folder / FILE
    if pin is None or pin.digest != EMPTY:
        data = context.store.find(f"{path}/{FILE}")
        if data is not None:
            target.write_bytes(data)
    digest = digest_of(source.name, folder, single=True) if target.exists() else EMPTY
    verify(source, pin, digest)
    as_of = instant(pin.as_of) if pin and pin.as_of else context.now
    uri = context.store.uri_of(f"{path}/{FILE}")
    return Fetched(source, folder, listed(folder), uri, digest, as_of=as_of, latest=True)


def _join(source: DataSource, context: Context, path: str) -> None:
    feedback, contract = source.from_, context.order.contract
    if feedback is None or contract is None:
        raise Failure(
            Training.DATA_NOT_FOUND,
            f"data[{source.name}].from: Model {context.order.model} has no contract, so no column is its label",
        )
    excluded = tuple((instant(span.start), instant(span.end)) for span in context.order.excluded)
    window = Window(context.now, seconds(feedback.window), seconds(contract.label.maturity), excluded)
    rows = labelled_rows(context.store, feedback.inference_service, contract, window)
    if rows.num_rows < feedback.min_rows:
        raise Failure(
            Training.DATA_NOT_FOUND,
            f"data[{source.name}].from: InferenceService {feedback.inference_service} has {rows.num_rows} "
            f"labelled rows in the last {feedback.window}, minRows asks for {feedback.min_rows}; wait or lower it",
        )
    # An attempt that died between this write and its report left a file; the first one counts.
    if rows.num_rows:
        sink = io.BytesIO()
        pq.write_table(rows.replace_schema_metadata({SPLIT: LATEST}), sink)
        context.store.create(f"{path}/{FILE}", sink.getvalue())
