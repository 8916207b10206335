"""The router of each namespace in the engine."""

from datetime import datetime

from gyre_operators.engine.controller import APPLY, CREATE, DELETE, GET, Controller, Grant, Services
from gyre_operators.engine.kinds import (
    CONFIG_MAP,
    DEPLOYMENT,
    DISRUPTION_BUDGET,
    ENDPOINT_SLICE,
    ROLE,
    ROLE_BINDING,
    SECRET,
    SERVICE,
    SERVICE_ACCOUNT,
)
from gyre_operators.engine.plan import Key, Plan
from gyre_operators.engine.store import Stores
from gyre_operators.router import observe
from gyre_operators.router.manifests import FEEDBACK_SECRET, Ground
from gyre_operators.router.plan import Observed, plan

_APPLIED = (CONFIG_MAP, DEPLOYMENT, DISRUPTION_BUDGET, ROLE, ROLE_BINDING, SERVICE, SERVICE_ACCOUNT)


class RouterController(Controller[Observed]):
    """One router for each namespace that has an InferenceService."""

    name = "router"
    kind = None
    children = (observe.SERVICES, observe.VERSIONS, observe.MONITORS, observe.PODS, *observe.OBJECTS)
    grants = (
        *(Grant(kind, APPLY + DELETE) for kind in _APPLIED),
        Grant(SECRET, GET + DELETE, names=(FEEDBACK_SECRET,)),
        Grant(SECRET, CREATE),
        # Nobody may hand out rights that they do not have: the router's Role holds these.
        Grant(CONFIG_MAP, ("get", "list", "watch")),
        Grant(ENDPOINT_SLICE, ("get", "list", "watch")),
    )

    def __init__(self, services: Services) -> None:
        images, routers = services.settings.images, services.settings.router
        self._ground = Ground(image=images.serving, pull_policy=images.pull_policy, replicas=routers.replicas)
        self._api = services.api
        self._base = services.objects.base

    async def observe(self, key: Key, stores: Stores) -> Observed | None:
        """See `Controller.observe`."""
        return await observe.observe(key.namespace, stores, self._ground, self._api, self._base(key.namespace))

    def plan(self, observed: Observed, now: datetime) -> Plan:
        """See `Controller.plan`."""
        return plan(observed, now)
