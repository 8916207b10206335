"""`gyre-pipelines prepare`: everything a training needs is on the shared volume, fetched, verified, divided."""

import io
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq

from gyre_crds.contracts.attempt import AttemptOrder, PreparedLineage, PrepareReport
from gyre_crds.contracts.attempt import Path as Place
from gyre_crds.contracts.store import job_prefix
from gyre_crds.reasons import Training
from gyre_crds.v1alpha1.common import Contract
from gyre_crds.v1alpha1.training import Resolved, ResolvedData
from gyre_pipelines import checkpoints, reference
from gyre_pipelines.bundle import build_wrapper
from gyre_pipelines.clock import now
from gyre_pipelines.digests import input_digest
from gyre_pipelines.failure import Failure
from gyre_pipelines.holdout import Held, divide, held_keys
from gyre_pipelines.layout import Layout
from gyre_pipelines.objects import Store
from gyre_pipelines.sources import Context, Fetched, fetch
from gyre_pipelines.tables import NotATableError, rfc3339

HOLDOUT_FILE = "holdout.parquet"
PREPARED_FILE = "prepared.json"


@dataclass
class Divided:
    """All sources after the split."""

    fetched: list[Fetched]
    held: list[Held] = field(default_factory=list)

    def rows(self, *, service: bool) -> list[pa.Table]:
        """Held-out rows of services, or of everything else."""
        pairs = zip(self.fetched, self.held, strict=True)
        return [table for one, held in pairs if one.latest == service for table in held.rows]


def run(order: AttemptOrder, environment: Mapping[str, str]) -> PrepareReport:
    """Fill the shared volume.

    Raises:
        Failure: the first thing that stands in the way.
    """
    layout = Layout.of(environment)
    store = Store.of(environment)
    _lay_out(layout, order)
    context = Context(order, layout, store, environment, now())
    divided = _divide(context)
    resolved = _resolve(order, divided)
    if order.champion_input is not None and resolved.input_digest == order.champion_input:
        raise Failure(
            Training.NO_NEW_DATA,
            f"the input is that of the champion {order.parent or ''}".rstrip() + ": training again would learn nothing",
        )
    lineage = _reference(context, divided, resolved)
    words = json.dumps(lineage.dump())
    layout.place(Place.LINEAGE).write_text(words)
    # A store that refuses or does not answer is found out now, not when hours of training want to be published.
    store.write(f"{job_prefix(order.uid)}/{PREPARED_FILE}", words.encode())
    if order.checkpoint_path is not None:
        checkpoints.restore(store, order.uid, layout.place(order.checkpoint_path))
    shutil.rmtree(layout.scratch, ignore_errors=True)
    return PrepareReport(resolved=resolved)


def _lay_out(layout: Layout, order: AttemptOrder) -> None:
    """Folders that the user's image may write to under any user id; the sticky bit keeps it off files of others."""
    layout.scratch.mkdir(parents=True, exist_ok=True)
    layout.scratch.chmod(0o700)
    for place in (Place.OUTPUT, Place.DATA):
        layout.place(place).mkdir(parents=True, exist_ok=True)
    layout.place(Place.OUTPUT).chmod(0o777)
    shared = layout.place(Place.ROWS).parent
    shared.mkdir(parents=True, exist_ok=True)
    shared.chmod(0o1777)
    lock = layout.place(Place.LOCK)
    lock.touch()
    lock.chmod(0o666)
    params = layout.place(Place.PARAMS)
    params.write_text(json.dumps(order.params, ensure_ascii=False))
    build_wrapper(layout.place(Place.WRAPPER))


def _divide(context: Context) -> Divided:
    divided = Divided([fetch(source, context) for source in context.order.data])
    contract = context.order.contract
    held: set[str] = set()
    for one in divided.fetched:
        with _named(one):
            held |= held_keys(one, contract)
    for one in divided.fetched:
        with _named(one):
            divided.held.append(divide(one, context.layout.data(one.source.name), contract, held))
    return divided


@contextmanager
def _named(one: Fetched) -> Iterator[None]:
    """Errors of a table as the failure of its source."""
    try:
        yield
    except NotATableError as error:
        raise Failure(Training.DATA_UNREADABLE, f"data[{one.source.name}]: {error}") from error


def _resolve(order: AttemptOrder, divided: Divided) -> Resolved:
    data = [
        ResolvedData(
            name=one.source.name,
            uri=one.uri,
            digest=one.digest,
            rows=held.train_rows,
            holdout_rows=held.count,
            as_of=rfc3339(one.as_of) if one.as_of else None,
        )
        for one, held in zip(divided.fetched, divided.held, strict=True)
    ]
    return Resolved(data=data, input_digest=input_digest(order, data))


def _reference(context: Context, divided: Divided, resolved: Resolved) -> PreparedLineage:
    latest = [held.latest for held in divided.held if held.latest is not None]
    cut_off = rfc3339(max(latest)) if latest else None
    contract = context.order.contract
    if contract is None:
        return PreparedLineage(resolved=resolved, cut_off=cut_off)
    folders = [context.layout.data(one.source.name) for one in divided.fetched]
    features = reference.features_of(contract, [path for folder in folders for path in sorted(folder.rglob("*"))])
    files = _shaped(divided.rows(service=False), contract, features)
    services = _shaped(divided.rows(service=True), contract, features)
    chosen = reference.choose(files, services, contract)
    if chosen is not None:
        reference.write(chosen, features, context.layout.place(Place.ROWS), context.layout.place(Place.TRUTH))
    return PreparedLineage(
        resolved=resolved,
        features=features,
        cut_off=cut_off,
        reference_rows=chosen.num_rows if chosen is not None else 0,
        holdout=_keep_holdout(context, services),
    )


def _shaped(rows: Sequence[pa.Table], contract: Contract, features: Sequence[str]) -> pa.Table | None:
    return reference.shaped(rows, contract, features) if features else None


def _keep_holdout(context: Context, services: pa.Table | None) -> str | None:
    if services is None:
        return None
    sink = io.BytesIO()
    pq.write_table(services, sink)
    return context.store.write(f"{job_prefix(context.order.uid)}/{HOLDOUT_FILE}", sink.getvalue())
