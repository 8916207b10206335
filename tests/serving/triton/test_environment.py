"""A Triton whose own python3 has no onnxruntime: the environment that `fetch` was told runs the models."""

from pathlib import Path

import pytest

from gyre_serving.fetch.main import ENVIRONMENT_ENV
from tests.serving.support import pod, triton
from tests.serving.support.pod import call
from tests.serving.support.versions import Version, infer_body


@pytest.fixture
def bare(installation: triton.Installation, tmp_path: Path) -> triton.Installation:
    """The installation without its environment."""
    home = tmp_path / "bare"
    home.mkdir()
    (home / "server").symlink_to(installation.server)
    return triton.Installation(home / "server", home / "environment")


def test_models_run_in_the_environment_that_fetch_names(
    version: Version, installation: triton.Installation, bare: triton.Installation, root: Path
) -> None:
    """With it the golden rows come out; without it nothing on this Triton's PATH could run them."""
    order = version.order()
    assert not bare.environment.exists()
    assert pod.fetch(order, root, **{ENVIRONMENT_ENV: str(installation.environment)}).returncode == 0
    with (
        triton.running(bare, root) as server,
        pod.container("agent", order, root, GYRE_TRITON_ADDRESS=server.address) as agent,
    ):
        agent.until("Serving")
        status, said = call(server.port, "/v2/models/census/versions/1/infer", infer_body(version.rows[:50]))
    assert status == 200
    assert said["outputs"][0]["data"] == version.model.predict(version.rows[:50]).tolist()
