"""DriftReport in the engine: it only says what came of it."""

from collections.abc import Iterable
from datetime import datetime

from gyre_crds.v1alpha1.drift import DriftMonitor, DriftReport
from gyre_crds.v1alpha1.inference import InferenceService
from gyre_crds.v1alpha1.model import Model
from gyre_operators.drift.answer import Seen, plan
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


MODELS = own(Model, _open_reports)
SERVICES = own(InferenceService, by_none)
MONITORS = own(DriftMonitor, by_none)


class ReportController(Controller[Seen]):
    """The answer to every report, on the report."""

    name = "report"
    kind = DriftReport
    children = (MODELS, SERVICES, MONITORS)

    def __init__(self, services: Services) -> None: ...

    async def observe(self, key: Key, stores: Stores) -> Seen | None:
        """See `Controller.observe`."""
        report = stores.of_kind(DriftReport).get(key)
        if report is None:
            return None
        service = service_of(report, stores, key.namespace)
        name = service.spec.model.name if service is not None else None
        same = [r for r in stores.of_kind(DriftReport).all(key.namespace) if r.spec.monitor == report.spec.monitor]
        return Seen(
            report=report,
            model=stores.of(MODELS).get(Key(key.namespace, name)) if name is not None else None,
            ends={r.metadata.name: r.spec.window.end for r in same},
        )

    def plan(self, observed: Seen, now: datetime) -> Plan:
        """See `Controller.plan`."""
        return plan(observed, now)
