"""Built-in model server beside MLServer on a scikit-learn model: saved by MLflow for one, with joblib for the other."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import joblib  # type: ignore[import-untyped]
import numpy as np

from gyre_crds.contracts import artifact
from gyre_crds.contracts.golden import GoldenRows, Predictions, Rows
from gyre_crds.v1alpha1.version import Prediction, Signature, Tensor
from tests.bench.serving import servers
from tests.bench.serving.load import Command, free_port
from tests.bench.serving.options import Options
from tests.bench.serving.programs import environment
from tests.bench.serving.servers import Maker, Server, built_in, v2
from tests.serving.support.versions import COLUMNS, Version, sample, train, write_tree

MODEL = "model.joblib"
SAVE = """
import sys, joblib, mlflow.sklearn
model, to = joblib.load(sys.argv[1]), sys.argv[2]
mlflow.sklearn.save_model(model, to, serialization_format="cloudpickle", pip_requirements=[])
"""


def publish(store: Path) -> Version:
    """The trees of the ONNX table as a scikit-learn model in MLflow's format, with signature and golden rows."""
    store.mkdir()
    model, rows = train(), np.nan_to_num(sample(64, 99))
    joblib.dump(model, store / MODEL)
    saved = store / "saved"
    command = [sys.executable, "-c", SAVE, str(store / MODEL), str(saved)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    files = {f"{artifact.MLFLOW_DIR}/{p.relative_to(saved)}": p.read_bytes() for p in saved.rglob("*") if p.is_file()}
    signature = Signature(
        inputs=[Tensor(name="X", datatype="FP32", shape=[-1, 4], columns=COLUMNS)],
        outputs=[Tensor(name="label", datatype="INT64", shape=[-1])],
        prediction=Prediction(output="label", task="Classification"),
    )
    golden = GoldenRows(
        rows=Rows(columns=COLUMNS, values=[[float(one) for one in column] for column in rows.T]),
        predictions=Predictions(labels=model.predict(rows).tolist()),
    )
    files |= {
        artifact.SIGNATURE: signature.model_dump_json(by_alias=True).encode(),
        artifact.GOLDEN: golden.model_dump_json(by_alias=True).encode(),
    }
    tree, digest = write_tree(store, files)
    return Version(tree, digest, model, rows)


def mlserver(folder: Path, version: Version) -> Server:
    """MLServer's own scikit-learn runtime, one process."""
    folder.mkdir()
    program = environment("mlserver")
    http = free_port()
    settings = {"debug": False, "host": "127.0.0.1", "http_port": http, "grpc_port": free_port()}
    settings |= {"metrics_port": free_port(), "parallel_workers": 0}
    (folder / "settings.json").write_text(json.dumps(settings))
    joblib.dump(version.model, folder / MODEL)
    model = {"name": "census", "implementation": "mlserver_sklearn.SKLearnModel", "parameters": {"uri": f"./{MODEL}"}}
    (folder / "model-settings.json").write_text(json.dumps(model))
    return Server(Command([str(program / "mlserver"), "start", str(folder)], http), "/v2/models/census/infer", v2)


MAKERS: Mapping[str, Maker] = {
    "built-in": lambda folder, version: built_in(folder, version, batch=1, delay=0, format="MLflow"),
    "built-in, batching": lambda folder, version: built_in(folder, version, batch=64, delay=2, format="MLflow"),
    "MLServer": mlserver,
}


def cpu(options: Options) -> None:
    """CPU a request on a scikit-learn version; rounds interleaved."""
    servers.compare("Model server, scikit-learn", options, publish, MAKERS)
