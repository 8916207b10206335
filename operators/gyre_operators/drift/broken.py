"""Windows that looks found broken: their rows teach nothing but the fault, and compare nothing but it."""

from collections.abc import Collection

from gyre_crds.contracts.attempt import Span
from gyre_crds.reasons import Drift
from gyre_crds.v1alpha1.drift import DriftMonitor, DriftReport
from gyre_operators.engine.store import Stores

_BROKEN = (Drift.SCHEMA_BREAK, Drift.QUALITY_INCIDENT)


def broken_windows(services: Collection[str], namespace: str, stores: Stores) -> tuple[Span, ...]:
    """Windows of these InferenceServices whose data was broken, by reports that may act, oldest first."""
    if not services:
        return ()
    monitors = {
        monitor.metadata.name
        for monitor in stores.of_kind(DriftMonitor).all(namespace)
        if monitor.spec.target.inference_service in services
    }
    found = [
        Span(start=report.spec.window.start, end=report.spec.window.end)
        for report in stores.of_kind(DriftReport).all(namespace)
        if report.spec.may_act
        and report.spec.verdict in _BROKEN
        and (report.spec.monitor in monitors or report.spec.inference_service in services)
    ]
    return tuple(sorted(found, key=lambda span: (span.start, span.end)))
