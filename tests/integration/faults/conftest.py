"""The whole operator on a real control plane, beside a real MLflow and a real S3 server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.faults.s3 import S3Server
from tests.integration.loop.conftest import cluster, plane, proxy, pytest_configure, street
from tests.operators.mlflow.server import MlflowServer

__all__ = ["cluster", "mlflow", "plane", "proxy", "pytest_configure", "s3", "street"]


@pytest.fixture
def mlflow(tmp_path: Path) -> Iterator[MlflowServer]:
    """A running MLflow; its database outlives its restarts."""
    server = MlflowServer(tmp_path)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def s3(tmp_path: Path) -> Iterator[S3Server]:
    """A running S3 server with the bucket `gyre`; its objects outlive its restarts."""
    server = S3Server(tmp_path / "s3")
    try:
        server.start()
        yield server
    finally:
        server.stop()
