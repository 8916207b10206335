"""Model in the engine: what it watches, what it may write, and its four steps."""

from datetime import datetime

from gyre_crds.v1alpha1.model import Model
from gyre_crds.v1alpha1.training import TrainingJob
from gyre_crds.v1alpha1.version import ModelVersion
from gyre_operators.engine.controller import CREATE, DELETE, Controller, Grant, Services
from gyre_operators.engine.kinds import gyre
from gyre_operators.engine.plan import Key, Plan
from gyre_operators.engine.store import Stores
from gyre_operators.model import observe
from gyre_operators.model.metrics import Metrics
from gyre_operators.model.observed import Observed
from gyre_operators.model.plan import plan


class ModelController(Controller[Observed]):
    """Retraining, promotion and retention."""

    name = "model"
    kind = Model
    children = (observe.JOBS, observe.VERSIONS, observe.SERVICES, observe.MONITORS, observe.REPORTS)
    grants = (Grant(gyre(TrainingJob), CREATE), Grant(gyre(ModelVersion), DELETE))

    def __init__(self, services: Services) -> None:
        self._frozen = services.settings.freeze
        self._metrics = Metrics(services.metrics)

    async def observe(self, key: Key, stores: Stores) -> Observed | None:
        """See `Controller.observe`."""
        seen = observe.observe(key, stores, frozen=self._frozen)
        if seen is None:
            self._metrics.forget(key.namespace, key.name)
        else:
            self._metrics.show(seen.model)
        return seen

    def plan(self, observed: Observed, now: datetime) -> Plan:
        """See `Controller.plan`."""
        return plan(observed, now)
