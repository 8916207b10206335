"""`gyre-pipelines publish`: waits for the training, then makes a version of what it left."""

import contextlib
import io
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from gyre_crds.contracts import artifact as contract_artifact
from gyre_crds.contracts.attempt import (
    AttemptOrder,
    PreparedLineage,
    PublishReport,
    PublishResult,
    TrainReport,
)
from gyre_crds.contracts.attempt import (
    Path as Place,
)
from gyre_crds.contracts.store import evidence_prefix, job_prefix
from gyre_crds.reasons import Training
from gyre_crds.v1alpha1.version import Evidence, Signature
from gyre_pipelines import artifact, trees, waiting
from gyre_pipelines.checkpoints import Mirror
from gyre_pipelines.digests import environment_digest
from gyre_pipelines.failure import Failure
from gyre_pipelines.layout import Layout
from gyre_pipelines.objects import Store
from gyre_pipelines.predictions import Predicted, native_words, predicted_rows
from gyre_pipelines.signatures import signature_of
from gyre_pipelines.tracking import Run, log_run, warm_up

if TYPE_CHECKING:
    from gyre_crds.contracts.golden import GoldenRows

RESULT_FILE = "result.json"
REFERENCE_FILE = "reference.parquet"
TREE = "tree"


@dataclass(frozen=True)
class Version:
    """What becomes a ModelVersion."""

    artifact: artifact.Artifact
    signature: Signature | None
    predicted: Predicted | None
    metrics: dict[str, float] = field(default_factory=dict)


def run(order: AttemptOrder, environment: Mapping[str, str]) -> PublishReport:
    """Publish the result of the attempt.

    Raises:
        Failure: of the training, word for word, or of publishing.
    """
    layout = Layout.of(environment)
    store = Store.of(environment)
    warm_up(environment)
    train = _wait(order, layout, store)
    lineage = PreparedLineage.model_validate_json(layout.place(Place.LINEAGE).read_bytes())
    version = _examine(order, layout, lineage)
    tree = _tree(layout, lineage, version)
    uri = trees.copy(store, layout.scratch / TREE, tree)
    evidence = Evidence(reference=_keep_reference(store, tree.tree_digest, version), holdout=lineage.holdout)
    run_id = log_run(Run(order, version.metrics, tree, uri, lineage.resolved.input_digest, layout.runs), environment)
    result_path = f"{job_prefix(order.uid)}/{RESULT_FILE}"
    report = PublishReport(
        tree_digest=tree.tree_digest,
        payload_digest=tree.payload_digest,
        uri=uri,
        result=store.uri_of(result_path),
        size=tree.size,
        run_id=run_id,
    )
    result = _result(report, version, evidence, train, lineage)
    store.write(result_path, json.dumps(result.dump(), sort_keys=True).encode())
    return report


def _wait(order: AttemptOrder, layout: Layout, store: Store) -> TrainReport:
    waiting.stop_on_sigterm()
    mirror = None
    if order.checkpoint_path is not None:
        mirror = Mirror(store, order.uid, layout.place(order.checkpoint_path))

    def beat() -> None:
        # The store being away for a while costs a checkpoint, never the training.
        if mirror is not None:
            try:
                mirror.look()
            except Failure as failure:
                print(f"checkpoint not copied: {failure.message}", file=sys.stderr, flush=True)  # noqa: T201

    try:
        report = waiting.wait(layout, order.checkpoint_seconds, beat)
    except waiting.Stopped as stopped:
        _save_last(mirror)
        raise Failure(
            Training.DISRUPTED, "the pod was told to go before the training had ended", infra=True
        ) from stopped
    except Failure:
        _save_last(mirror)
        raise
    waiting.finish_calmly()
    return report


def _save_last(mirror: Mirror | None) -> None:
    if mirror is not None:
        with contextlib.suppress(Failure):
            mirror.look(final=True)


def _examine(order: AttemptOrder, layout: Layout, lineage: PreparedLineage) -> Version:
    """Everything that can be wrong with the model is found here, before a byte is copied."""
    found = artifact.find(layout.place(Place.OUTPUT), layout.runs)
    said = native_words(layout)
    signature = signature_of(found, lineage.features, order.contract, said)
    logged = artifact.logged_metrics(layout.place(Place.OUTPUT))
    predicted = predicted_rows(layout, order.contract, found, signature, said)
    measured = predicted.metrics if predicted is not None else {}
    # What was measured on held-out rows outranks what the training says of itself under the same name.
    return Version(found, signature, predicted, {**logged, **measured})


def _tree(layout: Layout, lineage: PreparedLineage, version: Version) -> contract_artifact.TreeManifest:
    contents: dict[str, Signature | GoldenRows] = {}
    if version.signature is not None:
        contents[contract_artifact.SIGNATURE] = version.signature
    rows = version.predicted.golden(lineage.features) if version.predicted is not None else None
    if rows is not None:
        contents[contract_artifact.GOLDEN] = rows
    return trees.build(layout.scratch / TREE, version.artifact.files, contents)


def _result(
    report: PublishReport, version: Version, evidence: Evidence, train: TrainReport, lineage: PreparedLineage
) -> PublishResult:
    return PublishResult(
        report=report,
        format=version.artifact.format,
        signature=version.signature,
        metrics=version.metrics,
        environment=environment_digest(train.packages),
        evidence=evidence,
        trained_at=train.ended_at,
        cut_off=lineage.cut_off,
    )


def _keep_reference(store: Store, tree_digest: str, version: Version) -> str | None:
    if version.predicted is None:
        return None
    return store.write(f"{evidence_prefix(tree_digest)}/{REFERENCE_FILE}", parquet(version.predicted.table))


def parquet(table: pa.Table) -> bytes:
    """A table as the bytes of a Parquet file."""
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()
