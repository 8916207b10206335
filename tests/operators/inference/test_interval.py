"""How often a rollout is looked at while requests come in all the time, on the engine itself."""

import asyncio
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest

from gyre_crds.v1alpha1 import InferenceService
from gyre_operators.engine.differ import APPLIED
from gyre_operators.engine.kinds import gyre
from gyre_operators.engine.metrics import Metrics
from gyre_operators.engine.runtime import Runtime, kinds_of
from gyre_operators.inference.controller import InferenceController
from gyre_operators.inference.observed import Fault, Router
from gyre_operators.settings import Settings
from tests.operators.builders import NOW, Fleet, model, service, services, version
from tests.operators.engine.fakes import FakeApi
from tests.operators.inference.conftest import V1, Scene

pytestmark = pytest.mark.looptime

SHADOW = {"strategy": "Shadow"}


class Busy:
    """Routers that answered more requests and copies whenever they are asked."""

    def __init__(self, fleet: Fleet, stable: str, candidate: str) -> None:
        self.fleet, self.revisions = fleet, (stable, candidate)
        self.looks = 0

    async def routers(self, pods: Iterable[Any], *, counters: bool) -> tuple[Router, ...]:
        """See `Asked.routers`."""
        self.looks += 1
        stable, candidate = self.revisions
        self.fleet.answered(stable, 9)
        self.fleet.answered(candidate, 1)
        self.fleet.compared(stable, candidate, agreed=1)
        return await self.fleet.routers(pods, counters=counters)

    async def readiness(self, pod: Any) -> Fault | None:
        """See `Asked.readiness`."""
        return await self.fleet.readiness(pod)


async def _under_way(rollout: dict[str, Any]) -> Scene:
    """v1 serves, v2 gets its first requests, or its first copies."""
    scene = Scene()
    spec = service({"rollout": rollout})
    scene.put(model(status=V1), version("v1", age=48), version("v2", age=1), spec)
    await scene.step()
    scene.make_ready()
    await scene.rest()
    scene.say_challenger("v2")
    await scene.rest()
    scene.make_ready()
    await scene.rest()
    return scene


@pytest.mark.parametrize(
    "rollout", [pytest.param({}, id="requests are counted"), pytest.param(SHADOW, id="copies are compared")]
)
async def test_evidence_is_read_and_written_once_an_interval(rollout: dict[str, Any]) -> None:
    """Counters that grow all the time: the write of them woke the next look, 18 times a second."""
    scene = await _under_way(rollout)
    candidate = scene.status["candidate"]
    assert (candidate.get("stepSince") or candidate["shadow"]) is not None
    api: Any = FakeApi()
    for held in scene.town._objects.values():
        held["metadata"].setdefault("annotations", {})[APPLIED] = "by the operator that ran before"
        for kind in {store.source.kind for store in scene.town._stores_of(held)}:
            api.put(kind, held)
    controller = InferenceController(services())
    controller.asked = busy = Busy(scene.fleet, scene.status["stable"]["revision"], candidate["revision"])
    loop, metrics = asyncio.get_running_loop(), Metrics()
    runtime = Runtime(
        settings=Settings(leader_election=False, namespace="gyre-system"),
        client=api,
        metrics=metrics,
        clock=lambda: NOW + timedelta(seconds=loop.time()),
        controllers=[controller],
        kinds=kinds_of([InferenceController]),
        identity="one",
        sweep=30.0,
    )
    await runtime.start()
    try:
        await asyncio.sleep(1)
        api.writes.clear()
        busy.looks = 0
        await asyncio.sleep(20)
    finally:
        await runtime.stop()
    assert 3 <= busy.looks <= 5
    assert 3 <= api.writes.count(("status", gyre(InferenceService).plural, "census")) <= 5
