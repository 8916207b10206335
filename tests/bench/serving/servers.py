"""Built-in model server beside Triton, MLServer, KServe's ModelServer and BentoML: the same ONNX file and rows."""

import contextlib
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from gyre_crds.contracts import artifact
from tests.bench.serving import report
from tests.bench.serving.load import (
    SERVER_CORE,
    Command,
    Round,
    Started,
    cpu_seconds,
    free_port,
    measure,
    running,
    wait,
    wrk_script,
)
from tests.bench.serving.options import Options
from tests.bench.serving.programs import Missing, environment
from tests.bench.serving.triton import server as triton_server
from tests.serving.support import pod
from tests.serving.support.versions import Version, publish, sample

KIND = {"Content-Type": "application/json"}
QUIET = 0.02
"""Seconds of CPU in half a second at most, once a server only waits for requests."""
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

MLSERVER = """
import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse

class Census(MLModel):
    async def load(self):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession("{onnx}", options)
        return True

    async def predict(self, payload):
        rows = NumpyCodec.decode_input(payload.inputs[0])
        label, probabilities = self.session.run(None, {{"X": rows}})
        outputs = [NumpyCodec.encode_output("label", label), NumpyCodec.encode_output("probabilities", probabilities)]
        return InferenceResponse(model_name=self.name, outputs=outputs)
"""
KSERVE = """
import numpy, onnxruntime
from kserve import InferOutput, InferResponse, Model, ModelServer

class Census(Model):
    def load(self):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession("{onnx}", options)
        self.ready = True

    def predict(self, payload, headers=None, response_headers=None):
        rows = payload.inputs[0].as_numpy()
        outputs = []
        for name, kind, values in zip(
            ("label", "probabilities"), ("INT64", "FP32"), self.session.run(None, {{"X": rows}})
        ):
            outputs.append(InferOutput(name, list(values.shape), kind, data=values.ravel().tolist()))
        return InferResponse(payload.id or "1", self.name, outputs)

if __name__ == "__main__":
    model = Census("census")
    model.load()
    ModelServer(http_port={port}, enable_grpc=False, workers=1).start([model])
"""
BENTOML = """
import bentoml, numpy, onnxruntime

@bentoml.service(workers=1)
class Census:
    def __init__(self):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession("{onnx}", options)

    @bentoml.api(route="/predict")
    def predict(self, rows: list[list[float]]) -> dict:
        label, probabilities = self.session.run(None, {{"X": numpy.asarray(rows, numpy.float32)}})
        return {{"label": label.tolist(), "probabilities": probabilities.tolist()}}
"""


@dataclass(frozen=True)
class Server:
    """A server's start, and the request it understands for some rows."""

    command: Command
    path: str
    body: Callable[[int], bytes]
    prepare: Callable[[], None] = lambda: None
    """What is done by hand once its port answers."""


def v2(rows: int) -> bytes:
    """A V2 request of so many rows without missing values."""
    values = [1.0 if math.isnan(value) else float(value) for value in sample(rows, 3).ravel()]
    return json.dumps({"inputs": [{"name": "X", "datatype": "FP32", "shape": [rows, 4], "data": values}]}).encode()


def _plain(rows: int) -> bytes:
    data = json.loads(v2(rows))["inputs"][0]["data"]
    return json.dumps({"rows": [data[at : at + 4] for at in range(0, len(data), 4)]}).encode()


def built_in(folder: Path, version: Version, *, batch: int, delay: float, **order: str) -> Server:
    """`gyre-serving serve` on a fetched version, checked by its golden rows as in a pod."""
    folder.mkdir()
    root = folder / "models"
    root.mkdir()
    fetch = version.order(runtime="Python", max_batch=batch, max_delay_ms=delay, **order)
    done = pod.fetch(fetch, root)
    if done.returncode:
        raise RuntimeError(done.stderr)
    port = free_port()
    argv = [sys.executable, "-m", "gyre_serving", "serve", "--host", "127.0.0.1", "--port", str(port)]
    return Server(Command(argv, port, pod.environment(fetch, root)), "/v2/models/census/infer", v2)


def triton(folder: Path, version: Version, *, batch: int) -> Server:
    """Real Triton with the shim on its Python backend, as a pod runs it."""
    command, load = triton_server(folder, version.order(max_batch=batch, max_delay_ms=2 if batch > 1 else 0))
    return Server(command, "/v2/models/census/infer", v2, load)


def mlserver(folder: Path, version: Version, *, batch: int = 0) -> Server:
    """MLServer, one process (parallel_workers 0, its quickest on one core)."""
    folder.mkdir()
    program = environment("mlserver")
    http, grpc, metrics = free_port(), free_port(), free_port()
    settings = {"debug": False, "host": "127.0.0.1", "http_port": http, "grpc_port": grpc, "metrics_port": metrics}
    (folder / "settings.json").write_text(json.dumps(settings | {"parallel_workers": 0}))
    model = {"name": "census", "implementation": "census_model.Census"}
    if batch:
        model |= {"max_batch_size": batch, "max_batch_time": 0.002}  # type: ignore[dict-item]
    (folder / "model-settings.json").write_text(json.dumps(model))
    (folder / "census_model.py").write_text(MLSERVER.format(onnx=version.tree / artifact.ONNX))
    path = {"PYTHONPATH": str(folder), "PATH": f"{program}:{os.environ['PATH']}"}
    command = Command([str(program / "mlserver"), "start", str(folder)], http, path)
    return Server(command, "/v2/models/census/infer", v2)


def kserve(folder: Path, version: Version) -> Server:
    """KServe's ModelServer with a model of our own, one worker, no gRPC."""
    folder.mkdir()
    program, port = environment("kserve"), free_port()
    (folder / "serve.py").write_text(KSERVE.format(onnx=version.tree / artifact.ONNX, port=port))
    argv = [str(program / "python"), str(folder / "serve.py"), "--enable_docs_url=false"]
    return Server(Command(argv, port), "/v2/models/census/infer", v2)


def bentoml(folder: Path, version: Version) -> Server:
    """BentoML, one worker; it has no V2 protocol, so it gets plain rows."""
    folder.mkdir()
    program, port = environment("bentoml"), free_port()
    (folder / "service.py").write_text(BENTOML.format(onnx=version.tree / artifact.ONNX))
    options = ["--port", str(port), "--host", "127.0.0.1", "--working-dir", str(folder)]
    quiet = {"BENTOML_DO_NOT_TRACK": "True", "BENTOML_HOME": str(folder / "home")}
    return Server(Command([str(program / "bentoml"), "serve", "service:Census", *options], port, quiet), "/predict",
                  _plain)  # fmt: skip


Maker = Callable[[Path, Version], Server]
MAKERS: Mapping[str, Maker] = {
    "built-in": lambda folder, version: built_in(folder, version, batch=1, delay=0),
    "built-in, batching": lambda folder, version: built_in(folder, version, batch=64, delay=2),
    "Triton": lambda folder, version: triton(folder, version, batch=1),
    "Triton, batching": lambda folder, version: triton(folder, version, batch=64),
    "MLServer": mlserver,
    "MLServer, batching": lambda folder, version: mlserver(folder, version, batch=64),
    "KServe ModelServer": kserve,
    "BentoML": bentoml,
}


@contextlib.contextmanager
def up(name: str, server: Server) -> Iterator[Started]:
    """The server, on one thread, once it answers."""
    command = replace(server.command, environment=ONE_THREAD | dict(server.command.environment))
    with running(command, SERVER_CORE) as pid:
        server.prepare()
        target = Started(name, server.command.port, pid, server.path)
        wait(target, server.body(1), KIND)
        _settle(pid)
        yield target


def _settle(pid: int, seconds: float = 20) -> None:
    """Wait while the program is still busy with its own start: that is no request's cost."""
    until = time.monotonic() + seconds
    before = -1.0
    while time.monotonic() < until and (now := cpu_seconds(pid)) - before > QUIET:
        before = now
        time.sleep(0.5)


def cpu(options: Options) -> None:
    """CPU a request of each server on an ONNX version of gradient-boosted trees; rounds interleaved."""
    compare("Model server, ONNX", options, publish, MAKERS)


def compare(title: str, options: Options, publisher: Callable[[Path], Version], makers: Mapping[str, Maker]) -> None:
    """A table of servers on the same version."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        version = publisher(folder / "store")
        found: list[tuple[Started, Server]] = []
        for name, maker in makers.items():
            try:
                server = maker(folder / name.replace(" ", "-").replace(",", ""), version)
                found.append((stack.enter_context(up(name, server)), server))
            except (Missing, RuntimeError, subprocess.CalledProcessError) as error:
                report.say(f"{name} is left out: {error}")
        report.head(f"{title}: CPU a request (and median latency)",
                    ["rows", "connections", *[one.name for one, _ in found]])  # fmt: skip
        for rows in (1, 100):
            for count in options.connections:
                rounds: dict[str, list[Round]] = {one.name: [] for one, _ in found}
                for _ in range(options.rounds):
                    for one, server in found:
                        script = wrk_script(folder, f"{one.name.replace(' ', '-')}-{rows}", server.body(rows), KIND)
                        rounds[one.name].append(measure(one, script, count, options.seconds))
                report.row(str(rows), str(count), *[report.cell(each) for each in rounds.values()])
