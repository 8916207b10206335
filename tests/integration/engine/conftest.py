"""One control plane for all tests of the engine, one namespace and one proxy for each."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import yaml

from tests.integration.engine.harness import Cluster
from tests.integration.engine.proxy import Proxy
from tests.localcluster import ControlPlane, control_plane
from tests.localcluster.errors import ClusterError

_CRDS = Path(__file__).parents[3] / "crds"
_numbers = itertools.count(1)


def pytest_configure() -> None:
    """See tests/operators/conftest.py."""
    asyncio.set_event_loop(None)


@pytest.fixture(scope="session")
def plane() -> Iterator[ControlPlane]:
    """A control plane with Gyre's CRDs."""
    with control_plane(audit=True) as running:
        for file in sorted(_CRDS.glob("*.gyre.dev.yaml")):
            body = yaml.safe_load(file.read_text())
            running.api.apply("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", body)
        _wait_for_kinds(running)
        yield running


@pytest.fixture
def cluster(plane: ControlPlane) -> Cluster:
    """A namespace of its own."""
    return Cluster(plane, f"engine-{next(_numbers)}")


@pytest.fixture
async def proxy(plane: ControlPlane) -> AsyncIterator[Proxy]:
    """A proxy in front of the control plane."""
    async with Proxy(plane) as running:
        yield running


def _wait_for_kinds(running: ControlPlane) -> None:
    path = "/apis/gyre.dev/v1alpha1/trainingjobs"
    for _ in range(100):
        if running.api.answers(path):
            return
        time.sleep(0.1)
    raise ClusterError("the CRDs were not served within 10 s")
