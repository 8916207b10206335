"""The page for people: one file, no script, no network."""

from collections.abc import Sequence

from gyre_crds.contracts.task import Report

from gyre_monitoring.history import Past


def page(report: Report, past: Sequence[Past]) -> str:
    """Placeholder."""
    return "<html></html>"
