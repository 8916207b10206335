"""Put a class into a store as a version: `python publish.py <store directory>` prints the ModelVersion to apply.

With a second word, `order`, it prints what `gyre-serving fetch` and `serve` read on a laptop. Needs gyre-crds alone.
For a bucket, copy the directory that it makes below the bucket's prefix, the manifest last.
"""

import json
import shutil
import sys
from pathlib import Path

from gyre_crds.contracts import artifact
from gyre_crds.contracts.golden import GoldenRows, Predictions, Rows
from gyre_crds.contracts.serving import FetchOrder
from gyre_crds.v1alpha1.version import ModelVersionSpec, Prediction, Signature, Tensor

HERE = Path(__file__).parent
RATES = {"Linz": 4100.0, "Wels": 3200.0}
SIGNATURE = Signature(
    inputs=[Tensor(name="town", datatype="BYTES", shape=[-1, 1]), Tensor(name="area", datatype="FP32", shape=[-1, 1])],
    outputs=[Tensor(name="price", datatype="FP32", shape=[-1])],
    prediction=Prediction(output="price", task="Regression"),
)
# What the server must answer before it takes a request.
GOLDEN = GoldenRows(
    rows=Rows(columns=["town", "area"], values=[["Linz", "Wels"], [50.0, 80.0]]),
    predictions=Predictions(labels=[205000.0, 256000.0]),
)


def publish(store: Path) -> dict[str, object]:
    """Write the tree `<store>/sha256/<2>/<62>`; returns the ModelVersion."""
    staging = store / "staging"
    (staging / "gyre").mkdir(parents=True)
    shutil.copy(HERE / "model.py", staging / artifact.PYTHON)
    (staging / "rates.json").write_text(json.dumps(RATES))
    (staging / artifact.SIGNATURE).write_text(SIGNATURE.model_dump_json(by_alias=True))
    (staging / artifact.GOLDEN).write_text(GOLDEN.model_dump_json(by_alias=True))
    manifest = artifact.scan(staging)
    digest = manifest.tree_digest.removeprefix("sha256:")
    tree = store / "sha256" / digest[:2] / digest[2:]
    tree.parent.mkdir(parents=True, exist_ok=True)
    (staging / artifact.MANIFEST).write_text(manifest.model_dump_json(by_alias=True))
    if tree.exists():
        shutil.rmtree(staging)  # the same bytes are the same version
    else:
        staging.rename(tree)
    return {
        "apiVersion": "gyre.dev/v1alpha1",
        "kind": "ModelVersion",
        "metadata": {"name": f"flats-{digest[:12]}"},
        "spec": {
            "model": "flats",
            "format": "Python",
            "digest": manifest.tree_digest,
            "source": {"uri": tree.resolve().as_uri()},
            "signature": SIGNATURE.model_dump(mode="json", by_alias=True, exclude_none=True),
        },
    }


def order(version: dict[str, object]) -> dict[str, object]:
    """The pod's order for the version, as the operator would give it in GYRE_FETCH."""
    spec = ModelVersionSpec.model_validate(version["spec"])
    told = FetchOrder(
        uri=spec.source.uri or "",
        digest=spec.digest or "",
        name="flats",
        version=f"flats-{(spec.digest or '')[7:19]}",
        runtime="Python",
        format="Python",
    )
    return told.dump()


if __name__ == "__main__":
    made = publish(Path(sys.argv[1]))
    print(json.dumps(order(made) if sys.argv[2:] == ["order"] else made))
