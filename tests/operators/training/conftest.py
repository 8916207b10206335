"""What tests of the TrainingJob controller share."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest

from tests.operators.training.cluster import Cluster

Make = Callable[..., Cluster]


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    """Makes clusters with one TrainingJob."""
    async with aiohttp.ClientSession() as http:
        yield lambda *objects, **spec: Cluster(tmp_path, http, *objects, **spec)
