"""DriftReport in the engine: it only says what came of it."""

from collections.abc import Iterable
from datetime import datetime

from gyre_crds.v1alpha1.drift import DriftMonitor, DriftReport
from gyre_crds.v1alpha1.inference import InferenceService
from gyre_crds.v1alpha1.model import Model
from gyre_operators.drift.answer import Seen, plan
from gyre_operators.drift.metrics import metrics_of
from gyre_operators.drift.observe import is_own
from gyre_operators.drift.windows import is_closed, looked_until
from gyre_operators.engine.controller import Controller, Services
from gyre_operators.engine.plan import Key, Plan
from gyre_operators.engine.store import Entry, Stores
from gyre_operators.engine.watch import by_none, own
from gyre_operators.model.observe import service_of


def _open_reports(entry: Entry[Model], stores: Stores) -> Iterable[Key]:
    """Reports that wait for an answer of this Model."""
    for report in stores.of_kind(DriftReport).all(entry.key.namespace):
        if report.status is not None and report.status.decision:
            continue
        service = service_of(report, stores, entry.key.namespace)
        if service is not None and service.spec.model.name == entry.key.name:
            yield Key(entry.key.namespace, report.metadata.name)


def _others(entry: Entry[DriftReport], stores: Stores) -> Iterable[Key]:
    """The newest of the others made elsewhere: where this one is gone, that one is shown."""
    if entry.value is None:
        return
    service = _service_name(entry.value, stores)
    newest = _newest(service, entry.key.namespace, stores) if service is not None else None
    if newest is not None:
        yield Key(entry.key.namespace, newest.metadata.name)


def _service_name(report: DriftReport, stores: Stores) -> str | None:
    """The service that a report made elsewhere speaks of; None for what a monitor's own look made."""
    if report.spec.monitor is None:
        return report.spec.inference_service
    monitor = stores.of_kind(DriftMonitor).get(Key(report.metadata.namespace, report.spec.monitor))
    if monitor is None or is_own(report, monitor):
        return None
    return monitor.spec.target.inference_service


def _newest(service: str, namespace: str, stores: Stores) -> DriftReport | None:
    found = [r for r in stores.of_kind(DriftReport).all(namespace) if _service_name(r, stores) == service]
    return max(found, key=lambda report: (looked_until(report), report.metadata.name), default=None)


REPORTS = own(DriftReport, _others)
MODELS = own(Model, _open_reports)
SERVICES = own(InferenceService, by_none)
MONITORS = own(DriftMonitor, by_none)


class ReportController(Controller[Seen]):
    """The answer to every report, on the report."""

    name = "report"
    kind = DriftReport
    children = (MODELS, SERVICES, MONITORS, REPORTS)

    def __init__(self, services: Services) -> None:
        self._metrics = metrics_of(services.metrics)

    async def observe(self, key: Key, stores: Stores) -> Seen | None:
        """See `Controller.observe`."""
        report = stores.of_kind(DriftReport).get(key)
        if report is None:
            self._metrics.forget_report(key.namespace, key.name)
            return None
        self._show(report, stores)
        service = service_of(report, stores, key.namespace)
        name = service.spec.model.name if service is not None else None
        same = [r for r in stores.of_kind(DriftReport).all(key.namespace) if r.spec.monitor == report.spec.monitor]
        return Seen(
            report=report,
            model=stores.of(MODELS).get(Key(key.namespace, name)) if name is not None else None,
            ends={r.metadata.name: r.spec.window.end for r in same if is_closed(r)},
        )

    def _show(self, report: DriftReport, stores: Stores) -> None:
        namespace, service = report.metadata.namespace, _service_name(report, stores)
        newest = _newest(service, namespace, stores) if service is not None else None
        if service is not None and newest is not None:
            self._metrics.show_elsewhere(service, newest)

    def plan(self, observed: Seen, now: datetime) -> Plan:
        """See `Controller.plan`."""
        return plan(observed, now)
