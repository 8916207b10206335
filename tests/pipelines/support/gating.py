"""Stored versions, held-out rows, and the gates that are asked about them."""

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from skl2onnx import to_onnx  # type: ignore[import-untyped]
from skl2onnx.common.data_types import FloatTensorType  # type: ignore[import-untyped]
from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]

from gyre_crds.contracts import artifact as contract_artifact
from gyre_crds.contracts.golden import GoldenRows, Predictions, Rows
from gyre_crds.contracts.task import GateOrder, GateReport
from gyre_pipelines import gates, trees
from gyre_pipelines.objects import Store
from gyre_pipelines.onnx_model import OnnxModel
from gyre_pipelines.tables import TIME_TYPE
from tests.pipelines.support.attempts import CONTRACT, table

FEATURES = ["a", "b", "c"]
LATER = datetime(2026, 1, 1, tzinfo=UTC)


def fitted(noise: float = 0.0, seed: int = 0) -> Any:
    """A logistic regression; noise spoils its labels."""
    rows = table(1500, seed=seed)
    x = np.column_stack([rows[name] for name in FEATURES])
    flip = np.random.default_rng(seed).random(1500) < noise
    return LogisticRegression().fit(x, rows["y"].to_numpy() ^ flip)


def graph_of(model: Any) -> Any:
    """Its ONNX."""
    return to_onnx(model, initial_types=[("input", FloatTensorType([None, 3]))], options={"zipmap": False})


def version(store: Store, folder: Path, name: str, model: Any, graph: Any = None, *, rows: int = 64) -> dict[str, Any]:
    """A stored version of a native model and a graph; the graph is the model's own unless given."""
    place = folder / name
    place.mkdir()
    (place / "model.onnx").write_bytes((graph or graph_of(model)).SerializeToString())
    signature = OnnxModel(place / "model.onnx").signature(FEATURES)
    x = np.column_stack([table(64, seed=5)[column] for column in FEATURES])
    contents: dict[str, Any] = {contract_artifact.SIGNATURE: signature}
    if rows:
        said = Predictions(labels=model.predict(x).tolist(), scores=model.predict_proba(x).tolist(), classes=[0, 1])
        contents[contract_artifact.GOLDEN] = GoldenRows(
            rows=Rows(columns=FEATURES, values=x.T.tolist()), predictions=said
        )
    tree = trees.build(place / "tree", {"model.onnx": place / "model.onnx"}, contents)
    return {"name": name, "uri": trees.copy(store, place / "tree", tree), "digest": tree.tree_digest,
            "cutOff": "2020-01-01T00:00:00Z"}  # fmt: skip


def ask(environment: dict[str, str], **order: Any) -> GateReport:
    """Run a gate."""
    return gates.run(GateOrder.model_validate({"gate": "g", "contract": CONTRACT, **order}), environment)


def holdout(store: Store, name: str, count: int, start: datetime = LATER, seed: int = 9) -> str:
    """Labelled rows, one a minute from `start`."""
    rows = table(count, seed=seed)
    times = pa.array([start + timedelta(minutes=index) for index in range(count)], TIME_TYPE)
    sink = io.BytesIO()
    pq.write_table(rows.set_column(rows.column_names.index("time"), "time", times), sink)
    return store.write(f"{name}.parquet", sink.getvalue())
