"""The whole operator on a real control plane, beside a real MLflow and a real S3 server."""

from collections.abc import Iterator

import pytest

from tests.integration.faults.s3 import S3Server
from tests.integration.loop.conftest import cluster, plane, proxy, pytest_configure, street
from tests.operators.mlflow.server import MlflowServer

__all__ = ["cluster", "mlflow", "plane", "proxy", "pytest_configure", "s3", "street"]


@pytest.fixture(scope="session")
def standing_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """One MLflow for all tests, each of which has a namespace, and so models, of its own: it takes long to start."""
    server = MlflowServer(tmp_path_factory.mktemp("mlflow"))
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def mlflow(standing_mlflow: MlflowServer) -> MlflowServer:
    """A running MLflow; its database outlives its restarts."""
    if not standing_mlflow.runs:
        standing_mlflow.start()
    return standing_mlflow


@pytest.fixture(scope="session")
def standing_s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One S3 server for all tests."""
    server = S3Server(tmp_path_factory.mktemp("s3"))
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def s3(standing_s3: S3Server) -> S3Server:
    """A running S3 server with the bucket `gyre`; its objects outlive its restarts."""
    if not standing_s3.runs:
        standing_s3.start()
    return standing_s3
