"""The controllers of the loop on a real control plane."""

from collections.abc import AsyncIterator

import pytest

from tests.integration.engine.conftest import cluster, plane, proxy, pytest_configure
from tests.integration.engine.harness import Cluster
from tests.integration.loop.street import Street, open_street

__all__ = ["cluster", "plane", "proxy", "pytest_configure", "street"]


@pytest.fixture
async def street(cluster: Cluster) -> AsyncIterator[Street]:
    """A namespace with a router that answers."""
    async with open_street(cluster) as made:
        yield made
