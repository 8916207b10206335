"""A user's training that knows MLflow and nothing of Gyre: it logs parameters, metrics and one model."""

import os
from pathlib import Path

import mlflow
import numpy as np
import pyarrow.parquet as pq
from skl2onnx import to_onnx  # type: ignore[import-untyped]
from skl2onnx.common.data_types import FloatTensorType  # type: ignore[import-untyped]
from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]

table = pq.read_table(next(Path(os.environ["GYRE_DATA"]).rglob("*.parquet")))
model = LogisticRegression().fit(np.column_stack([table[name] for name in "abc"]), table["y"].to_numpy())
graph = to_onnx(model, initial_types=[("input", FloatTensorType([None, 3]))], options={"zipmap": False})
with mlflow.start_run():
    mlflow.log_param("kind", "logistic")
    mlflow.log_metric("rows", table.num_rows)
    mlflow.onnx.log_model(graph, name="model", pip_requirements=["onnxruntime"])
