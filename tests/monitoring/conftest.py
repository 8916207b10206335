"""What the monitoring tests share: settings of their process, and a store to look into."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.monitoring.support.world import World

# Threads of scikit-learn that wait for each other on a busy machine make a fit of one second take a minute.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture
def world(tmp_path: Path) -> "World":
    """An empty namespace with a reference."""
    from tests.monitoring.support.world import World  # noqa: PLC0415  it imports scikit-learn, after the line above

    (tmp_path / "store").mkdir()
    return World(tmp_path / "store", tmp_path / "termination-log")
