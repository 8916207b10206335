"""A user's training without any framework: a threshold, and the class that applies it."""

import json
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

MODEL = '''
"""Says yes where the weighted sum is positive."""

import json

import numpy as np

from beside import logistic


class Model:
    def __init__(self, directory):
        self.weights = np.array(json.loads((directory / "weights.json").read_text()))

    def predict(self, inputs):
        sums = inputs["input"] @ self.weights
        scores = logistic(sums)
        return {"prediction": (sums > 0).astype(np.int64), "probability": np.column_stack([1 - scores, scores])}
'''
BESIDE = """
import numpy as np


def logistic(sums):
    return 1 / (1 + np.exp(-sums))
"""

table = pq.read_table(next(Path(os.environ["GYRE_DATA"]).rglob("*.parquet")))
features = np.column_stack([table[name] for name in "abc"])
weights, *_ = np.linalg.lstsq(features, 2.0 * table["y"].to_numpy() - 1, rcond=None)
output = Path(os.environ["GYRE_OUTPUT"])
(output / "model.py").write_text(MODEL)
(output / "beside.py").write_text(BESIDE)
(output / "weights.json").write_text(json.dumps(weights.tolist()))
(output / "metrics.json").write_text(json.dumps({"rows": len(features)}))
