"""What kopf does not hand over is found by listing metadata."""

import asyncio
from typing import Any

import pytest

from gyre_crds.v1alpha1 import TrainingJob
from gyre_operators.engine.host import _feed
from gyre_operators.engine.kinds import gyre
from gyre_operators.engine.metrics import Metrics
from gyre_operators.engine.plan import Key
from gyre_operators.engine.store import Store
from gyre_operators.engine.sweep import Sweeper
from gyre_operators.engine.watch import by_itself, own
from tests.operators.engine.example import training_job
from tests.operators.engine.fakes import FakeApi, away

pytestmark = pytest.mark.looptime

KIND = gyre(TrainingJob)


def sweeper(api: FakeApi) -> tuple[Sweeper, Store[Any]]:
    """A sweeper over the store of TrainingJobs."""
    store: Store[Any] = Store(own(TrainingJob, by_itself).source)
    client: Any = api
    return Sweeper(client, store, Metrics(), jitter=lambda: 0.5), store


async def test_the_first_list_fills_the_store_with_typed_objects() -> None:
    """A controller starts with every object there is."""
    api = FakeApi()
    api.put(KIND, training_job("a"))
    sweep, store = sweeper(api)
    await sweep.fill()

    found = store.get(Key("default", "a"))
    assert store.synced
    assert isinstance(found, TrainingJob)


async def test_swallowed_deletions_additions_and_changes_are_found() -> None:
    """One comparison repairs all three, and counts them."""
    api = FakeApi()
    for name in ("gone", "changed", "same"):
        api.put(KIND, training_job(name))
    sweep, store = sweeper(api)
    await sweep.fill()
    api.drop(KIND, Key("default", "gone"))
    api.put(KIND, training_job("changed", image="example/train:2"))
    api.put(KIND, training_job("new"))
    await sweep.compare()

    changed = store.get(Key("default", "changed"))
    assert [key.name for key in store.keys("default")] == ["changed", "new", "same"]
    assert changed is not None
    assert changed.spec.image == "example/train:2"


async def test_a_large_gap_is_closed_by_one_list() -> None:
    """Hundreds of missing objects are not fetched one by one."""
    api = FakeApi()
    sweep, store = sweeper(api)
    await sweep.fill()
    for number in range(100):
        api.put(KIND, training_job(f"job-{number}"))
    api.fault = away("get")
    await sweep.compare()

    assert len(store) == 100


async def test_the_sweep_survives_an_absent_server() -> None:
    """After ten minutes away it fills the store within seconds."""
    api = FakeApi()
    api.fault = away("list")
    sweep, store = sweeper(api)
    task = asyncio.create_task(sweep.run())
    await asyncio.sleep(600)
    assert sweep.trouble
    api.put(KIND, training_job("a"))
    api.fault = lambda _verb, _plural, _name: None
    await asyncio.sleep(10)
    task.cancel()

    assert store.synced
    assert len(store) == 1
    assert sweep.trouble == ""


async def test_duplicate_and_stale_events_from_kopf_change_nothing() -> None:
    """Kopf hands its whole LIST over again after each gap; old versions must not win."""
    api = FakeApi()
    _, store = sweeper(api)
    heard: list[Any] = []
    store.subscribe(lambda _old, new: heard.append(new))
    feed = _feed(store)
    old = api.put(KIND, training_job("a"))
    new = api.put(KIND, training_job("a", image="example/train:2"))
    for event_type, body in (("ADDED", old), (None, new), ("MODIFIED", old), (None, new)):
        await feed(event={"type": event_type, "object": body})
    await feed(event={"type": "DELETED", "object": {**new, "metadata": {**new["metadata"], "resourceVersion": "9"}}})
    await feed(event={"type": "MODIFIED", "object": new})

    assert [entry.version if entry else None for entry in heard] == [1, 2, None]
    assert len(store) == 0
