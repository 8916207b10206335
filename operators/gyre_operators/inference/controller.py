"""InferenceService in the engine: what it watches, what it may write, and its four steps."""

from dataclasses import replace
from datetime import datetime

from gyre_crds.v1alpha1.inference import InferenceService
from gyre_operators.engine.controller import APPLY, DELETE, Controller, Grant, Services
from gyre_operators.engine.kinds import DEPLOYMENT, SERVICE
from gyre_operators.engine.plan import Effect, Key, Plan
from gyre_operators.engine.store import Stores
from gyre_operators.inference import observe
from gyre_operators.inference.metrics import Metrics
from gyre_operators.inference.observed import Observed
from gyre_operators.inference.plan import plan
from gyre_operators.inference.routers import Asked, PodClient
from gyre_operators.inference.sweeping import Sweep, carry_out


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
        self._objects = services.objects
        self._swept: dict[str, str] = {}
        self.asked: Asked = PodClient(services.http)

    async def observe(self, key: Key, stores: Stores) -> Observed | None:
        """See `Controller.observe`."""
        ground = replace(self._ground, store=self._objects.base(key.namespace))
        seen = await observe.observe(key, stores, ground, self.asked)
        name = f"{key.namespace}/{key.name}"
        if seen is None:
            self._metrics.forget(key.namespace, key.name)
            self._swept.pop(name, None)
            return None
        self._metrics.show(seen.service)
        return replace(seen, swept=self._swept.get(name, ""))

    def plan(self, observed: Observed, now: datetime) -> Plan:
        """See `Controller.plan`."""
        return plan(observed, now)

    async def perform(self, effect: Effect) -> None:
        """See `Controller.perform`."""
        if not isinstance(effect, Sweep):
            raise TypeError(f"{effect!r} is no effect of {self.name}")
        await carry_out(effect, self._objects)
        self._swept[effect.service] = effect.hour
