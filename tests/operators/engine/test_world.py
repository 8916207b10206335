"""The in-memory world carries plans out as the engine does, so that plans can be property-tested."""

from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gyre_crds.v1alpha1 import TrainingJob
from gyre_operators.engine.kinds import CONFIG_MAP, JOB, gyre
from gyre_operators.engine.plan import Key, Plan, ref
from gyre_operators.engine.store import Stores
from gyre_operators.engine.testing import World
from tests.operators.engine.example import OnceController, Seen, training_job

KEY = Key("default", "first")
CHILD = Key("default", "first-a1")
NOW = datetime(2026, 1, 1, tzinfo=UTC)


async def test_a_plan_carried_out_twice_changes_nothing_the_second_time() -> None:
    """The law of every controller: plan(observe(execute(plan))) is empty."""
    world = World(OnceController(), training_job("first"))

    assert await world.settle(KEY, NOW) == 2
    assert not await world.round(KEY, NOW + timedelta(days=1))


@given(st.lists(st.sampled_from(["finish", "edit", "drop map", "round"]), max_size=8))
async def test_whatever_happens_it_comes_to_rest_with_one_job(steps: list[str]) -> None:
    """Any history of foreign changes ends in at most three rounds, with the same one Job."""
    world = World(OnceController(), training_job("first"))
    await world.settle(KEY, NOW)
    uid = world.all(JOB)[0]["metadata"]["uid"]
    for step in steps:
        if step == "finish":
            world.patch(JOB, CHILD, status={"succeeded": 1})
        elif step == "edit" and world.all(CONFIG_MAP):
            world.patch(CONFIG_MAP, Key("default", "first-params"), data={"rate": "9"})
        elif step == "drop map" and world.all(CONFIG_MAP):
            world.remove(ref(world.all(CONFIG_MAP)[0]))
        else:
            await world.round(KEY, NOW)

    assert await world.settle(KEY, NOW) <= 3
    assert [job["metadata"]["uid"] for job in world.all(JOB)] == [uid]
    assert [item["data"] for item in world.all(CONFIG_MAP)] == [{"rate": "0.1"}]


async def test_deleting_the_owner_deletes_its_children() -> None:
    """As the garbage collector would."""
    world = World(OnceController(), training_job("first"))
    await world.settle(KEY, NOW)
    subject = world.get(gyre(TrainingJob), KEY)
    assert subject is not None
    world.remove(ref(subject))

    assert world.all(JOB) == []
    assert not await world.round(KEY, NOW)


async def test_a_plan_that_never_rests_is_told() -> None:
    """A controller that changes its mind in every round fails its own property test."""

    class Restless(OnceController):
        def plan(self, observed: Seen, now: datetime) -> Plan:
            self.observed += 1
            plan = super().plan(observed, now)
            return Plan(status={**(plan.status or {}), "suspendedSeconds": self.observed})

    with pytest.raises(AssertionError, match="no rest after 10 rounds"):
        await World(Restless(), training_job("first")).settle(KEY, NOW)


async def test_a_plan_that_says_it_rests_and_does_not_is_told() -> None:
    """The engine does not look after its own write of such a status, so what is left would wait for the requeue."""

    class Hasty(OnceController):
        def plan(self, observed: Seen, now: datetime) -> Plan:
            self.observed += 1
            plan = super().plan(observed, now)
            return Plan(status={**(plan.status or {}), "suspendedSeconds": self.observed}, rests=True)

    world = World(Hasty(), training_job("first"))
    with pytest.raises(AssertionError, match="says that it settles, and did more"):
        await world.round(KEY, NOW)


async def test_a_right_that_was_not_declared_is_told() -> None:
    """What the executor would refuse fails in memory too."""

    class Greedy(OnceController):
        grants: ClassVar[Any] = ()

    with pytest.raises(AssertionError, match="no grant to patch v1 ConfigMap"):
        await World(Greedy(), training_job("first")).settle(KEY, NOW)


async def test_observing_what_is_not_declared_is_a_key_error() -> None:
    """A controller cannot read a stream that nobody opened."""
    with pytest.raises(KeyError):
        Stores().of_kind(TrainingJob)
