"""A user's training: logistic regression, exported to ONNX."""

import json
import os
from pathlib import Path

import joblib  # type: ignore[import-untyped]
import numpy as np
import pyarrow.parquet as pq
from skl2onnx import to_onnx  # type: ignore[import-untyped]
from skl2onnx.common.data_types import FloatTensorType  # type: ignore[import-untyped]
from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]

rows = [pq.read_table(path) for path in sorted(Path(os.environ["GYRE_DATA"]).rglob("*.parquet"))]
features = np.concatenate([np.column_stack([table[name] for name in "abc"]) for table in rows])
labels = np.concatenate([table["y"].to_numpy() for table in rows])
model = LogisticRegression(C=float(os.environ["GYRE_PARAM_C"])).fit(features, labels)
output = Path(os.environ["GYRE_OUTPUT"])
joblib.dump(model, output / "model.joblib")
graph = to_onnx(model, initial_types=[("input", FloatTensorType([None, 3]))], options={"zipmap": False})
(output / "model.onnx").write_bytes(graph.SerializeToString())
(output / "metrics.json").write_text(json.dumps({"trained": len(labels)}))
with Path(os.environ["GYRE_PROGRESS"]).open("a") as stream:
    stream.write(json.dumps({"percent": 100, "step": 7, "metrics": {"loss": 0.5}}) + "\n")
print(f"trained on {len(labels)} rows")
