"""Polls MLflow for each Model: what a person registered is adopted, what is gone is tagged so.

Webhooks of MLflow's are lost when it restarts, so polling is the truth.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from gyre_crds.v1alpha1.model import Model
from gyre_crds.v1alpha1.version import ModelVersion
from gyre_operators.engine.clock import Clock
from gyre_operators.engine.controller import CREATE, Controller, Grant, Services
from gyre_operators.engine.guard import UnavailableError
from gyre_operators.engine.kinds import gyre
from gyre_operators.engine.plan import Effect, Key, Plan
from gyre_operators.engine.store import Stores
from gyre_operators.engine.watch import by_itself, by_none, own
from gyre_operators.registry_client.mlflow import Mlflow
from gyre_operators.registry_client.types import RegistryRefusedError
from gyre_operators.version.adoption import Poll, Retire, adoptions, poll, retire, retirements

EVERY = timedelta(seconds=60)
"""How often MLflow is asked for each Model."""


VERSIONS = own(ModelVersion, by_none)


@dataclass(frozen=True, slots=True)
class Observed:
    """One Model and what MLflow holds of it."""

    namespace: str
    model: str
    installation: str
    found: Poll | None
    """None while MLflow is away."""
    existing: frozenset[str]
    """Names of the namespace's versions."""
    wait: timedelta
    """Until MLflow is asked again."""


def plan(seen: Observed) -> Plan:
    """Adopt and retire; the entries that were adopted last time are tagged by their own controller meanwhile."""
    if seen.found is None:
        return Plan(requeue=seen.wait)
    return Plan(
        create=tuple(
            manifest
            for manifest in adoptions(seen.found, seen.namespace, seen.model)
            if manifest["metadata"]["name"] not in seen.existing
        ),
        effects=retirements(seen.found, seen.installation, seen.existing),
        requeue=seen.wait,
    )


class _Polled(NamedTuple):
    at: datetime
    found: Poll | None


class Polls:
    """The last poll of each Model: a Model is reconciled more often than MLflow should be asked."""

    def __init__(self, mlflow: Mlflow, clock: Clock) -> None:
        self._mlflow = mlflow
        self._clock = clock
        self._last: dict[Key, _Polled] = {}

    async def of(self, key: Key) -> tuple[Poll | None, timedelta]:
        """What MLflow holds of a Model, and how long that will be good enough."""
        now = self._clock()
        last = self._last.get(key)
        if last is None or now - last.at >= EVERY:
            last = self._last[key] = _Polled(now, await self._ask(key))
        return last.found, last.at + EVERY - now

    async def _ask(self, key: Key) -> Poll | None:
        try:
            return await poll(self._mlflow, key.namespace, key.name)
        except (UnavailableError, RegistryRefusedError):
            # Versions say so where it matters; here the next poll is soon enough.
            return None

    def forget(self, key: Key) -> None:
        """Ask anew: the Model is gone, or something was changed."""
        self._last.pop(key, None)


class AdoptionController(Controller[Observed]):
    """Versions that came into MLflow by hand."""

    name = "adoption"
    kind = None
    children = (own(Model, by_itself), VERSIONS)
    grants = (Grant(gyre(ModelVersion), CREATE),)
    workers = 2

    def __init__(self, services: Services) -> None:
        settings = services.settings
        self._installation = settings.installation
        self._freeze = settings.freeze
        self._clock = services.clock
        self._mlflow = Mlflow(services.http, settings.mlflow.url)
        self._polls = Polls(self._mlflow, services.clock)

    async def observe(self, key: Key, stores: Stores) -> Observed | None:
        """See `Controller.observe`; a Model that is paused, or adopts nothing, is left alone."""
        model = stores.of_kind(Model).get(key)
        if model is None:
            self._polls.forget(key)
            return None
        if model.spec.paused or self._freeze or not model.spec.adopt:
            return None
        found, wait = await self._polls.of(key)
        return Observed(
            namespace=key.namespace,
            model=key.name,
            installation=self._installation,
            found=found,
            # Also those that do not parse, of which nobody knows whose they are.
            existing=frozenset(each.name for each in stores.of(VERSIONS).keys(key.namespace)),
            wait=wait,
        )

    def plan(self, observed: Observed, now: datetime) -> Plan:
        """See `plan`."""
        del now
        return plan(observed)

    async def perform(self, effect: Effect) -> None:
        """Tag an entry whose ModelVersion is gone."""
        if not isinstance(effect, Retire):
            raise TypeError(f"{effect!r} is no effect of adoption")
        self._polls.forget(Key(*effect.name.split(".", 1)))
        await retire(self._mlflow, effect, self._clock())
