"""Real versions: scikit-learn models exported to ONNX, with signature and golden rows, in a store directory."""

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skl2onnx import to_onnx  # type: ignore[import-untyped]
from sklearn.ensemble import HistGradientBoostingClassifier  # type: ignore[import-untyped]

from gyre_crds.contracts import artifact
from gyre_crds.contracts.golden import GoldenRows, Predictions, Rows
from gyre_crds.contracts.serving import FetchOrder
from gyre_crds.v1alpha1.version import Prediction, Signature, Tensor

COLUMNS = ["AGEP", "SCHL", "MAR", "RELP"]


@dataclass(frozen=True)
class Version:
    """A version in a store directory."""

    tree: Path
    digest: str
    model: Any
    rows: NDArray[np.float32]
    """Rows to ask it for."""

    def order(self, name: str = "census", **more: Any) -> FetchOrder:
        """The pod's order for it."""
        fields: dict[str, Any] = {"runtime": "Triton", "version": f"{name}-{self.digest[7:19]}"} | more
        return FetchOrder(uri=f"file://{self.tree}", digest=self.digest, name=name, **fields)


def sample(count: int, seed: int = 0) -> NDArray[np.float32]:
    """Rows that look like the census: ages and codes, three in a hundred values missing."""
    random = np.random.default_rng(seed)
    rows = random.integers(0, [95, 24, 5, 17], size=(count, 4)).astype(np.float32)
    rows[random.random(rows.shape) < 0.03] = np.nan
    return rows


def train(seed: int = 0, iterations: int = 30) -> HistGradientBoostingClassifier:
    """Gradient-boosted trees on numeric codes with missing values."""
    rows = sample(4000, seed + 1)
    labels = (np.nan_to_num(rows[:, 0]) > 40) ^ (np.nan_to_num(rows[:, 1]) > 15)
    return HistGradientBoostingClassifier(max_iter=iterations, random_state=seed).fit(rows, labels.astype(int))


def publish(root: Path, *, seed: int = 0, golden: dict[str, Any] | None = None) -> Version:
    """A version as training publishes it: ONNX, signature, golden rows, manifest last.

    Args:
        root: the store's directory.
        seed: another seed is another model.
        golden: fields of the golden rows to replace, to make a version whose ONNX differs from its model.
    """
    model, rows = train(seed), sample(64, 99)
    with warnings.catch_warnings():
        # skl2onnx hands booleans to integer fields; protobuf 6 warns, and 7 refuses.
        warnings.simplefilter("ignore")
        onnx = to_onnx(model, rows[:1], options={"zipmap": False}, target_opset=18).SerializeToString()
    recorded = GoldenRows(rows=Rows(columns=COLUMNS, values=_columns(rows)), predictions=_predict(model, rows))
    files = {
        artifact.ONNX: onnx,
        artifact.SIGNATURE: signature().model_dump_json(by_alias=True).encode(),
        artifact.GOLDEN: recorded.model_copy(update=golden or {}).model_dump_json(by_alias=True).encode(),
    }
    tree, digest = write_tree(root, files)
    return Version(tree, digest, model, sample(10_000, 7))


def write_tree(root: Path, files: dict[str, bytes]) -> tuple[Path, str]:
    """Put files into the store under their own digest; returns tree and digest."""
    staging = root / "staging"
    for name, content in files.items():
        (staging / name).parent.mkdir(parents=True, exist_ok=True)
        (staging / name).write_bytes(content)
    manifest = artifact.scan(staging)
    digest = manifest.tree_digest.removeprefix("sha256:")
    tree = root / "sha256" / digest[:2] / digest[2:]
    tree.parent.mkdir(parents=True, exist_ok=True)
    (staging / artifact.MANIFEST).write_text(manifest.model_dump_json(by_alias=True))
    staging.rename(tree)
    return tree, manifest.tree_digest


def signature() -> Signature:
    """What the exported classifier takes and gives."""
    return Signature(
        inputs=[Tensor(name="X", datatype="FP32", shape=[-1, 4], columns=COLUMNS)],
        outputs=[
            Tensor(name="label", datatype="INT64", shape=[-1]),
            Tensor(name="probabilities", datatype="FP32", shape=[-1, 2]),
        ],
        prediction=Prediction(output="label", score="probabilities", positive=1, task="Classification"),
    )


def infer_body(rows: NDArray[np.float32], *, null: bool = False) -> bytes:
    """A V2 request; missing values as NaN (what Triton reads) or as null (what JSON has)."""
    values = [None if null and value != value else value for value in rows.ravel().tolist()]  # noqa: PLR0124
    tensor = {"name": "X", "datatype": "FP32", "shape": list(rows.shape), "data": values}
    return json.dumps({"inputs": [tensor]}).encode()


def _columns(rows: NDArray[np.float32]) -> list[list[Any]]:
    return [[None if np.isnan(value) else float(value) for value in column] for column in rows.T]


def _predict(model: Any, rows: NDArray[np.float32]) -> Predictions:
    return Predictions(
        labels=model.predict(rows).tolist(),
        scores=model.predict_proba(rows).tolist(),
        classes=model.classes_.tolist(),
    )


__all__ = ["COLUMNS", "Version", "infer_body", "publish", "sample", "signature", "train", "write_tree"]
