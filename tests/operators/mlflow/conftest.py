"""One real MLflow for all tests of this folder."""

from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest

from gyre_operators.engine.guard import Guard
from gyre_operators.registry_client.mlflow import Mlflow
from tests.operators.mlflow.memory import MemoryRegistry
from tests.operators.mlflow.server import MlflowServer, Proxy


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """A running server."""
    running = MlflowServer(tmp_path_factory.mktemp("mlflow"))
    try:
        running.start()
        yield running
    finally:
        running.stop()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """A client session."""
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def proxy(server: MlflowServer) -> AsyncIterator[Proxy]:
    """A proxy in front of the server."""
    between = Proxy(server.url)
    await between.start()
    yield between
    await between.stop()


@pytest.fixture
def mlflow(http: aiohttp.ClientSession, proxy: Proxy) -> Mlflow:
    """The client, through the proxy; its breaker never opens, so that each test sees each answer."""
    return Mlflow(http, proxy.url, guard=Guard("MLflow", timeout=30, threshold=10_000))


@pytest.fixture(params=["a real server", "the registry in memory"])
def registry(request: pytest.FixtureRequest) -> Mlflow | MemoryRegistry:
    """The real thing and what stands in for it elsewhere: both keep the same contract."""
    if request.param == "the registry in memory":
        return MemoryRegistry()
    client: Mlflow = request.getfixturevalue("mlflow")
    return client
