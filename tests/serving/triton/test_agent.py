"""The agent beside a real Triton: ready means that the golden rows came out right."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gyre_crds.contracts import artifact
from gyre_crds.contracts.golden import GoldenRows, Predictions
from tests.serving.support import pod, triton
from tests.serving.support.versions import COLUMNS, Version, publish, sample, signature, train, write_tree


@contextmanager
def _pod(version: Version, installation: triton.Installation, root: Path, **more: Any) -> Iterator[pod.Container]:
    order = version.order()
    done = pod.fetch(order, root)
    assert done.returncode == 0, done.stderr
    with (
        triton.running(installation, root) as server,
        pod.container("agent", order, root, "--patience", "1", GYRE_TRITON_ADDRESS=server.address, **more) as agent,
    ):
        yield agent


def _wrong(labels: int = 0, score: float = 0.0) -> dict[str, Any]:
    """Golden predictions that the model does not give: row 3 has another label or score."""
    model, rows = train(), sample(64, 99)
    predicted, scores = model.predict(rows).tolist(), model.predict_proba(rows).tolist()
    predicted[3] = predicted[3] + labels
    scores[3] = [scores[3][0] + score, scores[3][1]]
    return {"predictions": Predictions(labels=predicted, scores=scores, classes=[0, 1])}


def test_other_labels_than_at_training_are_never_ready(
    installation: triton.Installation, tmp_path: Path, root: Path
) -> None:
    """Triton says READY, one golden label differs: /readyz stays 503 with the row, then the container ends."""
    version = publish(tmp_path / "store", golden=_wrong(labels=5))
    with _pod(version, installation, root) as agent:
        said = agent.until("GoldenRowsDiffer")
        assert agent.get("/readyz")[0] == 503
        assert "golden row 3: label is" in said["message"]
        assert agent.process.wait(10) == 64
    report = pod.failure(root)
    assert (report.reason, report.message) == ("GoldenRowsDiffer", said["message"])


def test_a_score_beyond_the_tolerance_is_told_with_its_number(
    installation: triton.Installation, tmp_path: Path, root: Path
) -> None:
    """A score that is 0.25 off is named with the difference and the allowed one."""
    version = publish(tmp_path / "store", golden=_wrong(score=0.25))
    with _pod(version, installation, root) as agent:
        said = agent.until("GoldenRowsDiffer")
    assert "golden row 3: probabilities differs by 0.25, allowed is 0.0001; 1 of 64 rows differ" in said["message"]


def test_a_score_within_the_tolerance_is_ready(installation: triton.Installation, tmp_path: Path, root: Path) -> None:
    """Half the tolerance off is the same prediction."""
    version = publish(tmp_path / "store", golden=_wrong(score=0.00005))
    with _pod(version, installation, root) as agent:
        agent.until("Serving")
        assert agent.stop() == 0


def test_a_file_that_is_no_model_tells_why(installation: triton.Installation, tmp_path: Path, root: Path) -> None:
    """The bytes have their digest but onnxruntime cannot read them: its own words reach /readyz and the pod's end."""
    golden = GoldenRows(
        rows={"columns": COLUMNS, "values": [[1.0]] * 4},
        predictions=Predictions(labels=[1]),
    )
    files = {
        artifact.ONNX: b"no model",
        artifact.SIGNATURE: signature().model_dump_json(by_alias=True).encode(),
        artifact.GOLDEN: golden.model_dump_json(by_alias=True).encode(),
    }
    tree, digest = write_tree(tmp_path / "store", files)
    with _pod(Version(tree, digest, None, sample(1)), installation, root) as agent:
        said = agent.until("ModelDoesNotLoad")
        assert "Protobuf parsing failed" in said["message"]
        assert agent.process.wait(10) == 64
    assert pod.failure(root).reason == "ModelDoesNotLoad"


def test_a_restarted_triton_gets_its_model_back(
    version: Version, installation: triton.Installation, root: Path
) -> None:
    """Triton's container restarts empty: the agent turns unready, loads and proves again, and never gives up."""
    order = version.order()
    assert pod.fetch(order, root).returncode == 0
    port = triton.free_port()
    with pod.container(
        "agent", order, root, "--patience", "1", "--check", "0.2", GYRE_TRITON_ADDRESS=f"127.0.0.1:{port}"
    ) as agent:
        with triton.running(installation, root, port=port):
            agent.until("Serving")
        agent.until("Starting")
        with triton.running(installation, root, port=port):
            agent.until("Serving")


def test_an_agent_without_its_volume_says_so(version: Version, root: Path) -> None:
    """Without the tree that fetch leaves there is nothing to prove."""
    with pod.container("agent", version.order(), root) as agent:
        assert agent.process.wait(15) == 64
    assert "neither gyre/signature.json nor model.onnx" in pod.failure(root).message
