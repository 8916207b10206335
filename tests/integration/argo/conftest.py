"""The controllers of the loop on a real control plane, under an Application of Argo CD."""

from tests.integration.loop.conftest import cluster, plane, proxy, pytest_configure, street

__all__ = ["cluster", "plane", "proxy", "pytest_configure", "street"]
