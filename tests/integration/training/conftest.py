"""The training controllers on a real control plane."""

from tests.integration.engine.conftest import cluster, plane, proxy, pytest_configure

__all__ = ["cluster", "plane", "proxy", "pytest_configure"]
