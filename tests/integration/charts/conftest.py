"""Rendering the charts, as in tests/charts."""

from tests.charts.conftest import render
from tests.integration.engine.conftest import pytest_configure

__all__ = ["pytest_configure", "render"]
