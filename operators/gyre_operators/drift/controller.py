"""DriftMonitor in the engine: what it watches, what it may write, and its four steps."""

from datetime import datetime

from gyre_crds.v1alpha1.drift import DriftMonitor, DriftReport
from gyre_operators.drift import observe
from gyre_operators.drift.metrics import metrics_of
from gyre_operators.drift.observed import Ground, Observed
from gyre_operators.drift.plan import plan
from gyre_operators.engine.controller import CREATE, DELETE, Controller, Grant, Services
from gyre_operators.engine.kinds import JOB, gyre
from gyre_operators.engine.plan import Key, Plan
from gyre_operators.engine.store import Stores

ACT = ("act",)
"""What the chart's policy asks of whoever makes a report that may act."""


class DriftController(Controller[Observed]):
    """One look a window."""

    name = "drift"
    kind = DriftMonitor
    children = (
        observe.JOBS,
        observe.PODS,
        observe.SERVICES,
        observe.VERSIONS,
        observe.MODELS,
        observe.REPORTS,
    )
    grants = (Grant(JOB, CREATE), Grant(gyre(DriftReport), CREATE + DELETE + ACT))

    def __init__(self, services: Services) -> None:
        self._settings = services.settings
        self._base = services.objects.base
        self._metrics = metrics_of(services.metrics)
        self.documents: observe.Documents = services.objects

    async def observe(self, key: Key, stores: Stores) -> Observed | None:
        """See `Controller.observe`."""
        ground = Ground(
            image=self._settings.images.monitoring,
            store=self._base(key.namespace),
            pull_policy=self._settings.images.pull_policy,
            frozen=self._settings.freeze,
        )
        seen = await observe.observe(key, stores, ground, self.documents)
        if seen is None:
            self._metrics.forget(key.namespace, key.name)
        else:
            model = seen.service.spec.model.name if seen.service is not None else None
            self._metrics.show(seen.monitor, seen.reports[-1] if seen.reports else None, model)
        return seen

    def plan(self, observed: Observed, now: datetime) -> Plan:
        """See `Controller.plan`."""
        return plan(observed, now)
