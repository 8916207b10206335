"""What tests of the ModelVersion controller share."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest

from tests.operators.version.cluster import Cluster

Make = Callable[..., Cluster]


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    """Makes clusters of the objects given."""
    async with aiohttp.ClientSession() as http:
        yield lambda *objects: Cluster(tmp_path, http, *objects)
