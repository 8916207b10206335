"""The whole engine without kopf, over an API server in memory: what users and operators rely on."""

import asyncio
from dataclasses import replace
from datetime import datetime

import pytest

from gyre_operators.engine.kinds import CONFIG_MAP, EVENT, JOB
from gyre_operators.engine.plan import Key, Plan
from gyre_operators.engine.project import entry_of
from gyre_operators.engine.store import Stores
from tests.operators.engine.example import OnceController, Seen, training_job
from tests.operators.engine.fakes import FakeApi
from tests.operators.engine.running import KEY, KIND, running

pytestmark = pytest.mark.looptime


async def test_a_job_s_life_takes_four_writes_and_then_none() -> None:
    """ConfigMap, status with the intent, Job, status with the uid; an hour of rest: nothing."""
    api = FakeApi()
    api.put(KIND, training_job("first"))
    async with running(api) as engine:
        await asyncio.sleep(10)
        first = [write for write in api.writes if write[1] != EVENT.plural]
        api.writes.clear()
        await asyncio.sleep(3600)

        assert sorted(first) == [
            ("apply", "configmaps", "first-params"),
            ("create", "jobs", "first-a1"),
            ("status", "trainingjobs", "first"),
            ("status", "trainingjobs", "first"),
        ]
        assert api.writes == []
        assert engine.ready()["reason"] == "Running"
        assert engine.events() == ["Pending", "Running"]


async def test_changes_of_a_child_that_come_together_cost_one_look() -> None:
    """Ten changes within a hold: one look; ten that the projection does not show: none."""
    api = FakeApi()
    api.put(KIND, training_job("first"))
    controller = OnceController()
    async with running(api, controller):
        await asyncio.sleep(10)
        job = api.objects[JOB.plural, Key("default", "first-a1")]
        before = controller.observed
        for number in range(10):
            api.put(JOB, {**job, "status": {"active": number}})
            await asyncio.sleep(0.001)
        await asyncio.sleep(1)
        assert controller.observed == before

        for number in range(10):
            api.put(JOB, {**job, "status": {"succeeded": number}})
            await asyncio.sleep(0.001)
        await asyncio.sleep(OnceController.hold)
        assert controller.observed == before + 1


async def test_a_controller_that_settles_is_not_looked_at_again_after_its_own_status() -> None:
    """With the promise the look that would find nothing is spared, time to converge is told, and others still wake."""

    class Telling(OnceController):
        """Writes a status from the size of the spec, and no more."""

        def plan(self, observed: Seen, now: datetime) -> Plan:
            return replace(super().plan(observed, now), apply=(), create=(), requeue=None)

    class Settling(Telling):
        """The same with the promise."""

        settles = True

    looks = {}
    for kind in (Telling, Settling):
        api = FakeApi()
        async with running(api, controller := kind()) as engine:
            await asyncio.sleep(1)
            own = engine.runtime.own_stores[0]
            own.upsert(entry_of(own.source, api.put(KIND, training_job("first"))))
            await asyncio.sleep(10)
            looks[kind] = controller.observed
            assert engine.ready()["reason"] == "Pending"
            assert engine.count("gyre_time_to_converge_seconds_count", kind="TrainingJob") == 1

            labelled = engine.subject()
            labelled = {**labelled, "metadata": {**labelled["metadata"], "labels": {"a": "b"}}}
            own.upsert(entry_of(own.source, api.put(KIND, labelled)))
            await asyncio.sleep(1)
            assert controller.observed == looks[kind] + 1
    assert looks == {Telling: 2, Settling: 1}


async def test_a_fresh_object_is_not_held() -> None:
    """The first reaction to what somebody applied or edited comes at once."""
    api = FakeApi()
    async with running(api) as engine:
        await asyncio.sleep(1)
        own = engine.runtime.own_stores[0]
        own.upsert(entry_of(own.source, api.put(KIND, training_job("first"))))
        await asyncio.sleep(OnceController.hold / 10)
        assert engine.jobs() == ["first-a1"]
        await asyncio.sleep(1)

        edited = {**engine.subject(), "spec": {**engine.subject()["spec"], "params": {"rate": 0.2}}}
        own.upsert(entry_of(own.source, api.put(KIND, edited)))
        await asyncio.sleep(OnceController.hold / 10)
        assert api.objects[CONFIG_MAP.plural, Key("default", "first-params")]["data"] == {"rate": "0.2"}


async def test_a_restart_writes_nothing() -> None:
    """A new process finds everything as it wants it."""
    api = FakeApi()
    api.put(KIND, training_job("first"))
    async with running(api):
        await asyncio.sleep(10)
    api.writes.clear()
    async with running(api):
        await asyncio.sleep(3600)

    assert api.writes == []


async def test_a_hand_edited_child_is_put_right() -> None:
    """Somebody changes the ConfigMap; it is applied again, once."""
    api = FakeApi()
    api.put(KIND, training_job("first"))
    async with running(api) as engine:
        await asyncio.sleep(10)
        live = api.objects["configmaps", Key("default", "first-params")]
        api.writes.clear()
        api.put(CONFIG_MAP, {**live, "data": {"rate": "9"}})
        await asyncio.sleep(10)

        assert api.objects["configmaps", Key("default", "first-params")]["data"] == {"rate": "0.1"}
        assert api.writes == [("apply", "configmaps", "first-params")]
        assert engine.ready()["reason"] == "Running"


async def test_a_deleted_object_s_children_are_not_made_anew() -> None:
    """While foreground deletion waits for the children, the engine keeps its hands off."""
    api = FakeApi()
    going = training_job("first")
    meta = {**going["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}
    api.put(KIND, {**going, "metadata": {**meta, "finalizers": ["foregroundDeletion"]}})
    async with running(api):
        await asyncio.sleep(60)

    assert api.writes == []


async def test_controller_hears_of_an_object_that_is_gone() -> None:
    """Observed once more, so that its metrics go with it: they stayed until the operator's restart."""
    gone = []

    class Keeper(OnceController):
        async def observe(self, key: Key, stores: Stores) -> Seen | None:
            seen = await super().observe(key, stores)
            gone.extend([key] if seen is None else [])
            return seen

    api = FakeApi()
    api.put(KIND, training_job("first"))
    async with running(api, Keeper()):
        await asyncio.sleep(10)
        api.drop(KIND, KEY)
        await asyncio.sleep(120)

    assert gone == [KEY]


async def test_freeze_writes_statuses_only() -> None:
    """In a frozen installation nothing is made, but the intent and its reason are said."""
    api = FakeApi()
    api.put(KIND, training_job("first"))
    async with running(api, freeze=True) as engine:
        await asyncio.sleep(600)

        assert engine.jobs() == []
        assert {write[1] for write in api.writes} <= {"trainingjobs", "events"}
        assert engine.ready()["reason"] == "Pending"
    async with running(api) as engine:
        await asyncio.sleep(10)
        assert engine.jobs() == ["first-a1"]


async def test_a_standby_ends_at_once() -> None:
    """It holds no key, so there is nothing to drain."""
    api = FakeApi()
    api.put(KIND, training_job("first"))
    loop = asyncio.get_running_loop()
    async with running(api, leader_election=True) as leader:
        await asyncio.sleep(10)
        assert leader.ready()["reason"] == "Running"
        async with running(api, leader_election=True, identity="two") as standby:
            await asyncio.sleep(30)
            assert not standby.runtime.leadership.held()
            began = loop.time()
        assert loop.time() - began <= 1
        assert leader.runtime.leadership.held()
