"""Train census employment: plain scikit-learn, no import of Gyre.

In a Gyre training the environment says where things are; on a laptop set the same variables:

    GYRE_DATA=data GYRE_OUTPUT=out python train.py
"""

import json
import os
import sys
from pathlib import Path

import joblib
import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.ensemble import HistGradientBoostingClassifier

FEATURES = [
    "AGEP", "SCHL", "MAR", "RELP", "DIS", "ESP", "CIT", "MIG", "MIL", "ANC", "NATIVITY", "DEAR", "DEYE", "DREM", "SEX",
    "RAC1P",
]  # fmt: skip
LABEL = "employed"
STEP = 30


def read(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Every Parquet and CSV file below the folder, as a matrix of features and a vector of labels."""
    tables = []
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".parquet", ".pq"):
            tables.append(pq.read_table(path, columns=[*FEATURES, LABEL]))
        elif path.suffix == ".csv":
            tables.append(pacsv.read_csv(path).select([*FEATURES, LABEL]))
    print(f"read {[table.num_rows for table in tables]} rows from {folder}", flush=True)
    if not sum(table.num_rows for table in tables):
        sys.exit(f"no rows below {folder}")
    whole = [table.cast(pa.schema([(name, pa.float64()) for name in [*FEATURES, LABEL]])) for table in tables]
    rows = pa.concat_tables(whole)
    features = np.column_stack([rows.column(name).to_numpy() for name in FEATURES])
    return features, rows.column(LABEL).to_numpy().astype(np.int64)


def fit(features: np.ndarray, labels: np.ndarray, iterations: int, leaves: int) -> HistGradientBoostingClassifier:
    """Boost in steps, so that the progress can be told."""
    model = HistGradientBoostingClassifier(
        max_iter=0, max_leaf_nodes=leaves, early_stopping=False, warm_start=True, random_state=0
    )
    for done in range(STEP, iterations + STEP, STEP):
        model.max_iter = min(done, iterations)
        model.fit(features, labels)
        accuracy = float(model.score(features, labels))
        percent = 100 * model.max_iter / iterations
        print(f"{percent:3.0f} %  {model.max_iter} trees  training accuracy {accuracy:.4f}", flush=True)
        tell(percent=percent, step=model.max_iter, metrics={"trainAccuracy": accuracy})
    return model


def tell(**progress: object) -> None:
    """One line of progress, where somebody wants it."""
    if "GYRE_PROGRESS" in os.environ:
        with Path(os.environ["GYRE_PROGRESS"]).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(progress) + "\n")


def main() -> None:
    features, labels = read(Path(os.environ["GYRE_DATA"]))
    model = fit(
        features,
        labels,
        iterations=int(os.environ.get("GYRE_PARAM_ITERATIONS", "120")),
        leaves=int(os.environ.get("GYRE_PARAM_LEAVES", "31")),
    )
    # zipmap off: plain tensors, which every serving runtime takes.
    graph = to_onnx(model, initial_types=[("input", FloatTensorType([None, len(FEATURES)]))], options={"zipmap": False})
    fault = os.environ.get("GYRE_PARAM_FAULT", "")
    if fault:
        from broken import FAULTS  # noqa: PLC0415  a healthy training has no use for it

        graph = FAULTS[fault](graph)
    output = Path(os.environ["GYRE_OUTPUT"])
    joblib.dump(model, output / "model.joblib")  # the native model: its predictions prove the ONNX
    (output / "model.onnx").write_bytes(graph.SerializeToString())
    metrics = {"trainAccuracy": float(model.score(features, labels)), "trainRows": len(labels)}
    (output / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    print(f"left {', '.join(sorted(path.name for path in output.iterdir()))} in {output}", flush=True)


if __name__ == "__main__":
    main()
