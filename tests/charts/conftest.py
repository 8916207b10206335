"""Rendering the charts with the real helm."""

import subprocess
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from tests.localcluster.toolchain import program

Render = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="session")
def render() -> Render:
    """`render("--set", ...)` gives the objects of charts/gyre; an AssertionError holds what helm said."""

    def run(*options: str, chart: str = "charts/gyre") -> list[dict[str, Any]]:
        argv = [program("helm"), "template", "gyre", chart, "-n", "gyre-system", "--kube-version", "1.34.0", *options]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return [item for item in yaml.safe_load_all(done.stdout) if item]

    return run
