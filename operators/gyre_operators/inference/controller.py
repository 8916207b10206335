"""InferenceService in the engine: what it watches, what it may write, and its four steps."""

from datetime import datetime

from gyre_crds.v1alpha1.inference import InferenceService
from gyre_operators.engine.controller import APPLY, DELETE, Controller, Grant, Services
from gyre_operators.engine.kinds import DEPLOYMENT, SERVICE
from gyre_operators.engine.plan import Key, Plan
from gyre_operators.engine.store import Stores
from gyre_operators.inference import observe
from gyre_operators.inference.metrics import Metrics
from gyre_operators.inference.observed import Observed
from gyre_operators.inference.plan import plan
from gyre_operators.inference.routers import Asked, PodClient


class InferenceController(Controller[Observed]):
    """Revisions and their rollout."""

    name = "inference"
    kind = InferenceService
    children = (
        observe.DEPLOYMENTS,
        observe.SERVICES,
        observe.PODS,
        observe.ROUTERS,
        observe.TABLES,
        observe.MODELS,
        observe.VERSIONS,
        observe.MONITORS,
        observe.REPORTS,
    )
    grants = (Grant(DEPLOYMENT, APPLY + DELETE), Grant(SERVICE, APPLY + DELETE))

    def __init__(self, services: Services) -> None:
        self._ground = observe.ground_of(services.settings)
        self._metrics = Metrics(services.metrics)
        self.asked: Asked = PodClient(services.http)

    async def observe(self, key: Key, stores: Stores) -> Observed | None:
        """See `Controller.observe`."""
        seen = await observe.observe(key, stores, self._ground, self.asked)
        if seen is None:
            self._metrics.forget(key.namespace, key.name)
        else:
            self._metrics.show(seen.service)
        return seen

    def plan(self, observed: Observed, now: datetime) -> Plan:
        """See `Controller.plan`."""
        return plan(observed, now)
