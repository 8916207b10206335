"""A user's training: logistic regression, exported to ONNX; GYRE_PARAM_FLAW spoils what it leaves."""

import json
import os
from pathlib import Path

import joblib
import numpy as np
import pyarrow.parquet as pq
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.linear_model import LogisticRegression

rows = [pq.read_table(path) for path in sorted(Path(os.environ["GYRE_DATA"]).rglob("*.parquet"))]
features = np.concatenate([np.column_stack([table[name] for name in "abc"]) for table in rows])
labels = np.concatenate([table["y"].to_numpy() for table in rows])
model = LogisticRegression(C=float(os.environ["GYRE_PARAM_C"])).fit(features, labels)
flaw = os.environ.get("GYRE_PARAM_FLAW", "")
exported = LogisticRegression().fit(-features, labels) if flaw == "other-graph" else model
output = Path(os.environ["GYRE_OUTPUT"])
graph = to_onnx(
    exported, initial_types=[("input", FloatTensorType([None, 3]))], options={"zipmap": flaw == "zipmap"}
).SerializeToString()
joblib.dump(model, output / "model.joblib")
if flaw != "no-graph":
    (output / "model.onnx").write_bytes(graph[: len(graph) // 2] if flaw == "half-graph" else graph)
if flaw == "two-graphs":
    (output / "model.onnx").rename(output / "one.onnx")
    (output / "two.onnx").write_bytes(graph)
(output / "metrics.json").write_text("[1, 2]" if flaw == "bad-metrics" else json.dumps({"trained": len(labels)}))
with Path(os.environ["GYRE_PROGRESS"]).open("a") as stream:
    stream.write(json.dumps({"percent": 100, "step": 7, "metrics": {"loss": 0.5}}) + "\n")
print(f"trained on {len(labels)} rows")
