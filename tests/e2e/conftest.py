"""What the files of this folder share: one node for all of them, and the order in which they use it."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.e2e.story.__main__ import local_kubeconfig

_FIRST = ("test_story.py", "test_lifecycle.py")
"""The story tells of an installation from nothing; what follows finds one."""


def _cluster(*argv: str) -> None:
    subprocess.run([sys.executable, "-m", "tests.localcluster", *argv], check=True)


@pytest.fixture(scope="session", autouse=True)
def node() -> Iterator[None]:
    """A running node with the images; removed afterwards unless it was there before."""
    kubeconfig = local_kubeconfig()
    before = kubeconfig is None or kubeconfig.exists()
    _cluster("up")
    try:
        _cluster("images")
        yield
    finally:
        if not before:
            _cluster("down")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The story first; within a file the order stays."""
    items.sort(key=lambda item: _FIRST.index(item.path.name) if item.path.name in _FIRST else len(_FIRST))
