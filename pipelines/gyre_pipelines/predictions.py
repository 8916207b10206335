"""Reference rows with what was said about them: the native model's words, or the graph's where there are none."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from gyre_crds.contracts import golden
from gyre_crds.contracts.artifact import ONNX
from gyre_crds.contracts.attempt import Path as Place
from gyre_crds.contracts.payload import PayloadColumn
from gyre_crds.reasons import Training
from gyre_crds.v1alpha1.common import Contract
from gyre_crds.v1alpha1.version import Signature
from gyre_pipelines import metrics
from gyre_pipelines.artifact import Artifact
from gyre_pipelines.failure import Failure
from gyre_pipelines.layout import Layout
from gyre_pipelines.onnx_model import OnnxModel, RowsFailError
from gyre_pipelines.signatures import REGRESSION

_BINARY = 2


@dataclass(frozen=True)
class Predicted:
    """Reference rows and what was said of them."""

    table: pa.Table
    """Features, key, time, label, `prediction`, `score`."""
    rows: golden.Rows
    said: golden.Predictions
    native: bool
    """Whether the native model said it, or the graph is all that was logged; only then the rows may become golden."""
    metrics: dict[str, float]

    def golden(self, features: Sequence[str]) -> golden.GoldenRows | None:
        """The first rows, as they travel inside the version."""
        if not self.native or list(features) != self.rows.columns:
            return None
        count = golden.ROWS
        return golden.GoldenRows(
            rows=golden.Rows(columns=self.rows.columns, values=[column[:count] for column in self.rows.values]),
            predictions=golden.Predictions(
                labels=self.said.labels[:count], scores=self.said.scores[:count], classes=self.said.classes
            ),
        )


def native_words(layout: Layout) -> golden.Predictions | None:
    """What the native model said to the reference rows, as the wrapper left it; None when it said nothing.

    Raises:
        Failure: PredictFailed, the file cannot be read.
    """
    path = layout.place(Place.PREDICTIONS)
    if not path.exists():
        return None
    try:
        return golden.Predictions.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise Failure(
            Training.PREDICT_FAILED, f"predictions.json cannot be read: {error.errors()[0]['msg']}"
        ) from error


def predicted_rows(
    layout: Layout,
    contract: Contract | None,
    found: Artifact,
    signature: Signature | None,
    native_said: golden.Predictions | None,
) -> Predicted | None:
    """The reference rows with predictions; None without rows, or when neither model can say anything.

    Raises:
        Failure: PredictFailed, the wrapper's file does not fit the rows.
    """
    rows_file = layout.place(Place.ROWS)
    if contract is None or not rows_file.exists():
        return None
    rows = golden.Rows.model_validate_json(rows_file.read_bytes())
    truth = pq.read_table(layout.place(Place.TRUTH))
    said = native_said if native_said is not None else _graph(found, signature, rows)
    if said is None:
        return None
    if len(said.labels) != truth.num_rows or len(said.scores) not in {0, truth.num_rows}:
        raise Failure(
            Training.PREDICT_FAILED,
            f"the native model gave {len(said.labels)} predictions for {truth.num_rows} reference rows",
        )
    said = said.model_copy(update={"classes": said.classes or guessed_classes(said)})
    given = metrics.answers(truth.column(contract.label.column).to_pylist(), said.labels, said.scores, said.classes)
    regression = contract.objective.metric in REGRESSION or (
        signature is not None and signature.prediction is not None and signature.prediction.task == "Regression"
    )
    return Predicted(
        table=_with_predictions(truth, said),
        rows=rows,
        said=said,
        native=native_said is not None or found.logged,
        metrics=metrics.fitting(given, classification=not regression),
    )


def guessed_classes(said: golden.Predictions) -> list[Any]:
    """Two columns of scores beside labels 0 and 1 are these two; anything else is not guessed."""
    two = bool(said.scores) and len(said.scores[0]) == _BINARY
    return [0, 1] if two and {str(label) for label in said.labels} <= {"0", "1"} else []


def _graph(found: Artifact, signature: Signature | None, rows: golden.Rows) -> golden.Predictions | None:
    if found.format != "ONNX" or signature is None or signature.prediction is None:
        return None
    try:
        return OnnxModel(found.files[ONNX]).predict(rows, signature)
    except RowsFailError as error:
        raise Failure(Training.PREDICT_FAILED, f"model.onnx cannot predict the reference rows: {error}") from error


def _with_predictions(truth: pa.Table, said: golden.Predictions) -> pa.Table:
    binary = bool(said.scores) and len(said.scores[0]) == _BINARY
    score = [pair[1] for pair in said.scores] if binary else [None] * truth.num_rows
    table = truth.append_column(PayloadColumn.PREDICTION.value, pa.array(said.labels))
    return table.append_column(PayloadColumn.SCORE.value, pa.array(score, pa.float64()))
