"""A service in a town with its router's controller."""

import json
from datetime import datetime
from typing import Any

import pytest

from gyre_crds.contracts.routing import CONFIG_KEY, RoutingTable
from gyre_crds.v1alpha1 import InferenceService
from gyre_operators.engine.kinds import CONFIG_MAP, DEPLOYMENT
from gyre_operators.engine.plan import Key
from gyre_operators.inference.controller import InferenceController
from gyre_operators.router.controller import RouterController
from tests.operators.builders import NAMESPACE, NOW, FakeApi, Fleet, Town, key, model, service, services, version

V1 = {"champion": {"name": "v1"}}


class Scene:
    """One service, its versions, a fleet of routers that takes tables over at once."""

    def __init__(self, *, routers: int = 1) -> None:
        api = FakeApi()
        self.inference = InferenceController(services(api=api))
        self.fleet = Fleet(count=routers)
        self.inference.asked = self.fleet
        self.town = Town(self.inference, RouterController(services(api=api)))
        api.world = self.town
        self.follows = True
        """Whether routers take over new tables."""

    def put(self, *objects: dict[str, Any]) -> None:
        """Make or replace objects."""
        for made in objects:
            self.town.put(made)

    async def step(self, now: datetime = NOW) -> None:
        """One reconcile of the service and all that follows of it by itself."""
        await self.town.once("inference", key("census"), now)
        await self.town.turn("router", Key(NAMESPACE, ""), now)
        self.take_over()

    async def rest(self, now: datetime = NOW, *, rounds: int = 12) -> None:
        """Reconcile until the service changes no more."""
        for _ in range(rounds):
            before = self.town._version
            await self.step(now)
            if self.town._version == before:
                return
        raise AssertionError(f"no rest: {self.status}")

    def take_over(self) -> None:
        """The routers run the newest table."""
        config_map = self.town.get(CONFIG_MAP, key("gyre-router"))
        if self.follows and config_map is not None:
            self.fleet.table = RoutingTable.model_validate_json(config_map["data"][CONFIG_KEY])

    def make_ready(self, revision: str | None = None) -> None:
        """Pods of the Deployments (or of one) answer the golden rows."""
        for deployment in self.town.all(DEPLOYMENT):
            labels = deployment["metadata"]["labels"]
            if labels.get("gyre.dev/role") == "server" and revision in (None, labels["gyre.dev/revision"]):
                replicas = deployment["spec"]["replicas"]
                made = {"observedGeneration": 99, "replicas": replicas, "readyReplicas": replicas}
                if deployment.get("status") != made:
                    self.town.patch(DEPLOYMENT, key(deployment["metadata"]["name"]), status=made)

    @property
    def status(self) -> dict[str, Any]:
        """The service's status."""
        status: dict[str, Any] = self.town.object(InferenceService, "census").get("status", {})
        return status

    @property
    def table(self) -> RoutingTable:
        """The table as written."""
        config_map = self.town.get(CONFIG_MAP, key("gyre-router"))
        assert config_map is not None
        return RoutingTable.model_validate(json.loads(config_map["data"][CONFIG_KEY]))

    def weights(self) -> dict[str, int]:
        """Weights in the table, by version."""
        return {route.version: route.weight for one in self.table.services for route in one.revisions}

    def servers(self) -> list[str]:
        """Versions that have a Deployment."""
        return sorted(
            deployment["spec"]["template"]["metadata"]["labels"]["gyre.dev/model-version"]
            for deployment in self.town.all(DEPLOYMENT)
            if deployment["metadata"]["labels"].get("gyre.dev/role") == "server"
        )

    def condition(self, kind: str = "Ready") -> dict[str, Any]:
        """One condition of the service."""
        return next(c for c in self.status["conditions"] if c["type"] == kind)

    def say_challenger(self, name: str) -> None:
        """The Model has a challenger now."""
        status = {**V1, "challenger": {"name": name}}
        self.put(model(status=status))


@pytest.fixture
def scene() -> Scene:
    """A scene before the first reconcile: the champion is v1, the service proves challengers."""
    made = Scene()
    made.put(model(status=V1), version("v1", age=48), version("v2", age=1), service())
    return made


@pytest.fixture
async def serving(scene: Scene) -> Scene:
    """v1 serves all traffic."""
    await scene.step()
    scene.make_ready()
    await scene.rest()
    return scene


async def candidate_at_first_step(scene: Scene) -> tuple[str, str]:
    """A rollout of v2 at its first step; names of the stable revision and of the candidate."""
    scene.say_challenger("v2")
    await scene.rest()
    assert scene.weights() == {"v1": 100, "v2": 0}
    scene.make_ready()
    await scene.rest()
    assert scene.weights() == {"v1": 90, "v2": 10}
    return scene.status["stable"]["revision"], scene.status["candidate"]["revision"]
