"""Model, service and router together: what one writes moves the others, and all come to rest."""

import json
from datetime import datetime
from typing import Any

import pytest

from gyre_crds.v1alpha1 import InferenceService, Model, TrainingJob
from gyre_operators.engine.kinds import gyre
from gyre_operators.engine.plan import Key
from gyre_operators.model.controller import ModelController
from gyre_operators.router.controller import RouterController
from tests.operators.builders import NAMESPACE, NOW, FakeApi, Town, after, key, model, service, services, version
from tests.operators.inference.conftest import Scene


class Loop(Scene):
    """The three controllers in one town, and a training that ends when told."""

    def __init__(self) -> None:
        super().__init__()
        api = FakeApi()
        self.town = Town(self.inference, RouterController(services(api=api)), ModelController(services()))
        api.world = self.town

    async def settle(self, now: datetime = NOW, *, pods: bool = True) -> None:
        """Everybody works until nothing changes."""
        for _ in range(30):
            before = self.town._version
            await self.town.once("model", key("census"), now)
            await self.town.once("inference", key("census"), now)
            await self.town.turn("router", Key(NAMESPACE, ""), now)
            self.take_over()
            if pods:
                self.make_ready()
            if self.town._version == before:
                return
        raise AssertionError(f"no rest: {self.status}")

    def trained(self, name: str, *, age: int) -> None:
        """The newest training ends with a version that passes its gates."""
        jobs = self.town.all(gyre(TrainingJob))
        ended = {"finishedAt": "2026-11-21T12:00:00Z", "version": name}
        for job in jobs:
            self.town.patch(gyre(TrainingJob), key(job["metadata"]["name"]), status=ended)
        self.put(version(name, age=age))

    def answered(self, requests: int, errors: int = 0) -> None:
        """Requests by the weights under way; the candidate fails so many."""
        candidate, stable = self.status["candidate"], self.status["stable"]
        weight = candidate["strata"][-1]["weight"]
        self.fleet.answered(candidate["revision"], requests * weight // 100, errors)
        self.fleet.answered(stable["revision"], requests * (100 - weight) // 100)

    @property
    def model(self) -> dict[str, Any]:
        """The Model's status."""
        found: dict[str, Any] = self.town.object(Model, "census")["status"]
        return found

    def model_ready(self) -> dict[str, Any]:
        """The Model's Ready condition."""
        return next(c for c in self.model["conditions"] if c["type"] == "Ready")


@pytest.fixture
async def loop() -> Loop:
    """Two manifests were applied, the first version was trained and serves."""
    made = Loop()
    made.put(model(), service())
    await made.settle()
    made.trained("v1", age=9)
    await made.settle()
    return made


async def test_first_version_is_trained_proven_and_champion(loop: Loop) -> None:
    """From two manifests to a champion that serves."""
    assert loop.model["champion"]["name"] == "v1"
    assert loop.weights() == {"v1": 100}
    assert loop.condition()["reason"] == "Serving"
    assert loop.model_ready()["reason"] == "ChampionStands"


async def test_next_version_takes_over_and_the_champion_follows_the_traffic(loop: Loop) -> None:
    """The champion moves when the rollout is finished, not before."""
    loop.trained("v2", age=1)
    await loop.settle(after(1))
    assert (loop.model["champion"]["name"], loop.model["challenger"]["name"]) == ("v1", "v2")
    loop.answered(4000)
    await loop.settle(after(10))
    assert loop.weights() == {"v1": 50, "v2": 50}
    assert loop.model["champion"]["name"] == "v1"
    loop.answered(1000)
    await loop.settle(after(20))
    assert loop.weights() == {"v2": 100}
    assert loop.model["champion"]["name"] == "v2"
    assert loop.servers() == ["v2"]


async def test_failing_version_is_refused_everywhere(loop: Loop) -> None:
    """Rolled back by the service, no challenger of the Model any more, both say why, and it is not tried again."""
    loop.trained("v2", age=1)
    await loop.settle(after(1))
    loop.answered(1000, 12)
    await loop.settle(after(10))
    assert loop.weights() == {"v1": 100}
    assert "challenger" not in loop.model
    assert "v2 was refused" in loop.condition()["message"]
    assert "v2 was refused by its rollout" in loop.model_ready()["message"]
    await loop.settle(after(10000))
    assert loop.servers() == ["v1"]


async def test_version_after_a_refused_one_is_tried(loop: Loop) -> None:
    """A refusal is about one version; the next one goes its own way."""
    loop.trained("v2", age=2)
    await loop.settle(after(1))
    loop.answered(1000, 12)
    await loop.settle(after(10))
    loop.trained("v3", age=1)
    await loop.settle(after(20))
    assert loop.model["challenger"]["name"] == "v3"
    assert loop.weights() == {"v1": 90, "v3": 10}


async def test_first_version_that_the_runtime_cannot_load_is_said_on_both_objects() -> None:
    """The sentence of the pod stands on Ready of service and Model also after the Model took the challenger back."""
    loop = Loop()
    loop.put(model(), service())
    await loop.settle(pods=False)
    loop.trained("v1", age=9)
    await loop.settle(pods=False)
    revision = loop.status["candidate"]["revision"]
    report = {"schema": "gyre.failure.v1", "reason": "CannotLoad", "message": "opset 99 is not known"}
    ended = {"terminated": {"exitCode": 64, "message": json.dumps(report)}}
    labels = {"gyre.dev/role": "server", "gyre.dev/inference-service": "census", "gyre.dev/revision": revision}
    loop.put(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "census-x", "namespace": NAMESPACE, "labels": labels},
            "status": {"phase": "Running", "containerStatuses": [{"name": "agent", "state": ended}]},
        }
    )
    await loop.settle(after(5), pods=False)
    for said in (loop.condition(), loop.model_ready()):
        assert said["status"] == "False"
        assert "opset 99" in said["message"]
    assert loop.condition()["reason"] == "ModelDoesNotLoad"
    assert loop.town.get(gyre(InferenceService), key("census")) is not None
