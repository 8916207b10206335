"""What a plan may do beside its children: effects, events, finalizers and parts of other objects."""

import asyncio
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import pytest

from gyre_crds.v1alpha1 import TrainingJob
from gyre_operators.engine.controller import APPLY, Grant
from gyre_operators.engine.guard import UnavailableError
from gyre_operators.engine.kinds import NODE, SECRET
from gyre_operators.engine.plan import Effect, Event, Key, Plan
from gyre_operators.engine.store import Stores
from gyre_operators.engine.watch import Watch, by_all
from tests.operators.engine.example import OnceController, Seen, training_job
from tests.operators.engine.fakes import FakeApi
from tests.operators.engine.running import KIND, running

pytestmark = pytest.mark.looptime
NODES: Watch[dict[str, Any]] = Watch(NODE, dict, by_all(TrainingJob))


async def test_what_is_not_declared_is_not_written() -> None:
    """A plan cannot reach beyond the rights that RBAC is generated from."""

    class Greedy(OnceController):
        def plan(self, observed: Seen, now: datetime) -> Plan:
            secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}}
            return replace(super().plan(observed, now), apply=(secret,))

    api = FakeApi()
    api.put(KIND, training_job("first"))
    async with running(api, Greedy()):
        await asyncio.sleep(10)

    assert not [write for write in api.writes if write[1] == SECRET.plural]


@dataclass(frozen=True, slots=True)
class Register(Effect):
    """Register something outside."""

    name: str


class Outside(OnceController):
    """Registers each TrainingJob in an outside system that may be away."""

    def __init__(self) -> None:
        super().__init__()
        self.registered: list[str] = []
        self.away = False

    def plan(self, observed: Seen, now: datetime) -> Plan:
        """What the example wants, and a registration where it is missing."""
        plan = super().plan(observed, now)
        name = observed.subject.metadata.name
        wanted = () if name in self.registered else (Register(name),)
        return replace(plan, effects=wanted, events=(*plan.events, Event("Seen", "It is seen")))

    async def perform(self, effect: Effect) -> None:
        """Register."""
        if self.away:
            raise UnavailableError("MLflow", "connection refused")
        assert isinstance(effect, Register)
        self.registered.append(effect.name)


async def test_an_effect_that_fails_is_repeated_and_does_not_hold_the_status_back() -> None:
    """An outside system is away for ten minutes: the status moves on, the effect comes after."""
    api = FakeApi()
    api.put(KIND, training_job("first"))
    controller = Outside()
    controller.away = True
    async with running(api, controller) as engine:
        await asyncio.sleep(600)

        assert engine.ready()["reason"] == "Running"
        assert controller.registered == []
        controller.away = False
        await asyncio.sleep(300)
        assert controller.registered == ["first"]


async def test_events_at_rest_are_not_told() -> None:
    """A plan that names an event in every round tells it only when something changed."""
    api = FakeApi()
    api.put(KIND, training_job("first"))
    async with running(api, Outside()) as engine:
        await asyncio.sleep(10)
        api.writes.clear()
        await asyncio.sleep(3600)

        assert api.writes == []
        assert engine.events().count("Seen") == 1


class Finalizing(OnceController):
    """Cleans up outside before an object goes."""

    def __init__(self) -> None:
        super().__init__()
        self.cleaned = False

    def plan(self, observed: Seen, now: datetime) -> Plan:
        """Hold the object until the outside is clean."""
        if observed.subject.metadata.deletion_timestamp:
            self.cleaned = True
            return Plan(finalizers=())
        return replace(super().plan(observed, now), finalizers=("gyre.dev/outside",))


async def test_finalizers_of_ours_come_and_go_and_those_of_others_stay() -> None:
    """Set while alive, taken off once cleaned up; a foreign one is never touched."""
    api = FakeApi()
    first = training_job("first")
    api.put(KIND, {**first, "metadata": {**first["metadata"], "finalizers": ["their.org/x"]}})
    controller = Finalizing()
    async with running(api, controller) as engine:
        await asyncio.sleep(5)
        held = engine.subject()["metadata"]["finalizers"]
        body = engine.subject()
        meta = {**body["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}
        api.put(KIND, {**body, "metadata": meta})
        await asyncio.sleep(60)

        assert held == ["their.org/x", "gyre.dev/outside"]
        assert controller.cleaned
        assert engine.subject()["metadata"]["finalizers"] == ["their.org/x"]


class Labelling(OnceController):
    """Puts a label on a Node that somebody else made."""

    grants = (*OnceController.grants, Grant(NODE, APPLY))
    children = (*OnceController.children, NODES)

    async def observe(self, key: Key, stores: Stores) -> Seen | None:
        """Keep the Node's uid beside what the example sees."""
        nodes = stores.of(NODES).all()
        self.uid = nodes[0]["metadata"]["uid"] if nodes else "uid-of-a-dead-node"
        return await super().observe(key, stores)

    def plan(self, observed: Seen, now: datetime) -> Plan:
        """What the example wants, and the label."""
        meta = {"name": "n1", "uid": self.uid, "labels": {"gyre.dev/ours": "yes"}}
        part = {"apiVersion": "v1", "kind": "Node", "metadata": meta}
        plan = super().plan(observed, now)
        return replace(plan, apply=(*plan.apply, part))


async def test_a_part_of_somebody_else_s_object_is_applied_under_a_name_of_its_own() -> None:
    """The label comes once, nothing else of the Node is touched, and no stamp is left on it."""
    api = FakeApi()
    api.put(NODE, {"metadata": {"name": "n1", "labels": {"theirs": "1"}}, "spec": {"x": 1}})
    api.put(KIND, training_job("first"))
    async with running(api, Labelling()):
        await asyncio.sleep(600)

    node = api.objects["nodes", Key("", "n1")]
    assert node["metadata"]["labels"] == {"theirs": "1", "gyre.dev/ours": "yes"}
    assert "annotations" not in node["metadata"]
    assert api.writes.count(("apply", "nodes", "n1")) == 1
    assert api.managers.count("gyre-once-part") == 1


async def test_a_part_of_an_object_that_is_gone_makes_nothing() -> None:
    """Labelling a Node that was deleted a moment ago must not create a Node."""
    api = FakeApi()
    api.put(KIND, training_job("first"))
    async with running(api, Labelling()) as engine:
        await asyncio.sleep(60)

        assert ("nodes", Key("", "n1")) not in api.objects
        assert engine.ready()["reason"] == "Running"
