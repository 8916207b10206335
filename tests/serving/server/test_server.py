"""The built-in server as a process: same answers as the native model, ready only when proven, refuses what is wrong."""

import http.client
import json
import signal
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput  # type: ignore[import-untyped]

from gyre_crds.contracts import artifact
from gyre_crds.contracts.golden import Predictions
from tests.serving.support import pod, triton
from tests.serving.support.pod import Container, call
from tests.serving.support.versions import Version, infer_body, publish, sample, signature, train, write_tree

INFER = "/v2/models/census/versions/1/infer"


@pytest.mark.parametrize("null", [pytest.param(True, id="as null"), pytest.param(False, id="as NaN")])
def test_ten_thousand_rows_equal_the_native_model(server: Container, version: Version, null: bool) -> None:  # noqa: FBT001
    """One request of 10,000 rows with missing values: every label equal, every score within 1e-6."""
    status, said = server.post(INFER, infer_body(version.rows, null=null))
    assert status == 200
    assert (np.array(said["outputs"][0]["data"]) == version.model.predict(version.rows)).all()
    found = np.array(said["outputs"][1]["data"]).reshape(-1, 2)
    assert np.abs(found - version.model.predict_proba(version.rows)).max() < 1e-6


def test_triton_s_own_client_speaks_to_it(server: Container, version: Version) -> None:
    """NVIDIA's client with binary tensors in and out gets the model's scores, version in the path or not."""
    client = InferenceServerClient(f"127.0.0.1:{server.port}")
    assert client.is_server_ready()
    assert client.is_model_ready("census", "1")
    assert client.get_model_metadata("census")["inputs"][0]["shape"] == [-1, 4]
    tensor = InferInput("X", [500, 4], "FP32")
    tensor.set_data_from_numpy(version.rows[:500], binary_data=True)
    for number in ("1", ""):
        answer = client.infer(
            "census", [tensor], model_version=number, outputs=[InferRequestedOutput("probabilities", binary_data=True)]
        )
        wanted = version.model.predict_proba(version.rows[:500])
        assert np.abs(answer.as_numpy("probabilities") - wanted).max() < 1e-6
        assert answer.as_numpy("label") is None
    client.close()


def test_both_runtimes_give_one_answer(
    server: Container, version: Version, installation: triton.Installation, root: Path
) -> None:
    """The same request to real Triton and to the built-in server: same names, types, shapes and values."""
    order = version.order()
    assert pod.fetch(order, root).returncode == 0
    body = infer_body(version.rows[:200])
    with (
        triton.running(installation, root) as other,
        pod.container("agent", order, root, GYRE_TRITON_ADDRESS=other.address) as agent,
    ):
        agent.until("Serving")
        status, triton_said = call(other.port, INFER, body)
    assert status == 200
    ours = server.post(INFER, body)[1]
    assert ours.keys() == triton_said.keys()
    for left, right in zip(ours["outputs"], triton_said["outputs"], strict=True):
        assert {key: left[key] for key in ("name", "datatype", "shape")} == {
            key: right[key] for key in ("name", "datatype", "shape")
        }
        np.testing.assert_array_equal(np.float32(left["data"]), np.float32(right["data"]))


@pytest.mark.parametrize(
    ("path", "status"),
    [
        pytest.param("/v2/models/other/infer", 404, id="an unknown model"),
        pytest.param("/v2/models/census/versions/2/infer", 404, id="an unknown version"),
        pytest.param("/v2/health/ready", 405, id="POST where GET belongs"),
    ],
)
def test_paths_that_are_not_there(server: Container, version: Version, path: str, status: int) -> None:
    """Unknown names are 404, a wrong method 405, each with a sentence."""
    code, said = server.post(path, infer_body(version.rows[:1]))
    assert code == status
    assert said["error"]


def test_a_bad_request_is_the_caller_s_and_costs_nobody_else(server: Container, version: Version) -> None:
    """400 with the sentence, counted as such, and the next request on the same server is answered."""
    status, said = server.post(INFER, infer_body(version.rows[:2, :3]))
    assert (status, said) == (400, {"error": "input X: shape [-1, 4] is wanted, got [2, 3]"})
    assert server.post(INFER, infer_body(version.rows[:1]))[0] == 200
    text = server.get("/metrics")[1].decode()
    assert 'gyre_server_requests_total{code="400",model="census"' in text
    assert 'gyre_server_ready{model="census"' in text


def _wrong_scores() -> dict[str, Predictions]:
    model, rows = train(), sample(64, 99)
    scores = model.predict_proba(rows)
    scores[5] = [0.9, 0.1] if scores[5][0] < 0.5 else [0.1, 0.9]
    return {"predictions": Predictions(labels=model.predict(rows).tolist(), scores=scores.tolist(), classes=[0, 1])}


def test_other_scores_than_at_training_are_never_ready(tmp_path: Path, root: Path) -> None:
    """A version whose ONNX differs from its model: 503 with row and number, no request answered, exit code 64."""
    version = publish(tmp_path / "store", golden=_wrong_scores())
    order = version.order(runtime="Python")
    assert pod.fetch(order, root).returncode == 0
    with pod.container("serve", order, root, "--patience", "1.5") as running:
        said = running.until("GoldenRowsDiffer")
        assert "golden row 5: probabilities differs by 0." in said["message"]
        assert running.get("/readyz")[0] == 503
        status, answer = running.post(INFER, infer_body(version.rows[:1]))
        assert status == 503
        assert "golden row 5" in answer["error"]
        assert running.process.wait(10) == 64
    assert pod.failure(root).reason == "GoldenRowsDiffer"


def test_a_tree_that_is_not_the_version_is_not_run(version: Version, root: Path) -> None:
    """A byte that flips on the volume after fetch: the file is named and nothing is loaded."""
    order = version.order(runtime="Python")
    assert pod.fetch(order, root).returncode == 0
    path = root / "tree" / "model.onnx"
    path.chmod(0o600)
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    with pod.container("serve", order, root, "--patience", "0.1") as running:
        assert running.process.wait(15) == 64
    said = pod.failure(root)
    assert said.reason == "DigestMismatch"
    assert said.message.startswith("model.onnx has sha256 ")


def test_a_file_that_is_no_model_tells_why(tmp_path: Path, root: Path) -> None:
    """The sentence of onnxruntime itself reaches the pod's end."""
    files = {artifact.ONNX: b"no model", artifact.SIGNATURE: signature().model_dump_json(by_alias=True).encode()}
    tree, digest = write_tree(tmp_path / "store", files)
    order = Version(tree, digest, None, sample(1)).order(runtime="Python")
    assert pod.fetch(order, root).returncode == 0
    with pod.container("serve", order, root, "--patience", "0.1") as running:
        assert running.process.wait(15) == 64
    assert pod.failure(root).reason == "ModelDoesNotLoad"
    assert "onnxruntime refuses model.onnx" in pod.failure(root).message


def test_termination_loses_no_request(version: Version, root: Path) -> None:
    """SIGTERM under eight clients: every request that was sent on an open connection is answered 200."""
    order = version.order(runtime="Python")
    assert pod.fetch(order, root).returncode == 0
    body, statuses, broken = infer_body(version.rows[:2]), Counter[int](), Counter[str]()

    def ask(port: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.connect()
        while True:
            try:
                connection.request("POST", INFER, body)
                answer = connection.getresponse()
                answer.read()
            except (http.client.RemoteDisconnected, ConnectionError) as error:
                broken[type(error).__name__] += 1
                return
            statuses[answer.status] += 1
            if answer.getheader("connection") == "close":
                return

    with pod.container("serve", order, root) as running:
        running.until("Serving")
        clients = [threading.Thread(target=ask, args=(running.port,)) for _ in range(8)]
        for client in clients:
            client.start()
        time.sleep(0.5)
        assert running.stop(signal.SIGTERM) == 0
        for client in clients:
            client.join()
    assert set(statuses) == {200}
    assert not broken


def test_an_adopted_version_without_signature_or_golden_rows_serves(tmp_path: Path, root: Path) -> None:
    """Signature from the ONNX itself; one row of zeros must be answered, and /readyz says that this was all."""
    version = publish(tmp_path / "store")
    tree, digest = write_tree(tmp_path / "bare", {artifact.ONNX: (version.tree / artifact.ONNX).read_bytes()})
    order = Version(tree, digest, version.model, version.rows).order(runtime="Python")
    assert pod.fetch(order, root).returncode == 0
    with pod.container("serve", order, root) as running:
        said = running.until("Serving")
        assert "no golden rows; one row of zeros was answered" in said["message"]
        status, answer = running.post(INFER, infer_body(version.rows[:50]))
    assert status == 200
    assert answer["outputs"][0]["data"] == version.model.predict(version.rows[:50]).tolist()
    assert json.dumps(answer["model_name"]) == '"census"'
