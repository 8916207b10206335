"""A fetched version on a real Triton with its agent, as in a pod."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.serving.support import pod, triton
from tests.serving.support.versions import Version


class Pod(NamedTuple):
    """Server and agent of one pod."""

    server: triton.Server
    agent: pod.Container
    root: Path


@pytest.fixture(scope="module")
def serving(
    version: Version, installation: triton.Installation, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pod]:
    """A pod that is ready."""
    root = tmp_path_factory.mktemp("pod") / "models"
    root.mkdir()
    order = version.order()
    done = pod.fetch(order, root)
    assert done.returncode == 0, done.stderr
    with (
        triton.running(installation, root) as server,
        pod.container("agent", order, root, GYRE_TRITON_ADDRESS=server.address) as agent,
    ):
        agent.until("Serving")
        yield Pod(server, agent, root)
