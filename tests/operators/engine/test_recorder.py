"""Events are told once per transition and never stand in the way."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from gyre_operators.engine.kinds import EVENT
from gyre_operators.engine.metrics import Metrics
from gyre_operators.engine.plan import Event, Ref
from gyre_operators.engine.recorder import Recorder
from tests.operators.engine.fakes import FakeApi, away

pytestmark = pytest.mark.looptime

ABOUT = Ref("gyre.dev/v1alpha1", "TrainingJob", "ns", "job", "uid-1")
NEWS = Event("Running", "The job runs; wait for it")


def recorder(api: FakeApi) -> Recorder:
    """A recorder over the fake."""
    client: Any = api
    return Recorder(client, Metrics(), lambda: datetime(2026, 1, 1, tzinfo=UTC))


def posted(api: FakeApi) -> list[dict[str, Any]]:
    """The Events on the server."""
    return [body for (plural, _), body in api.objects.items() if plural == EVENT.plural]


async def test_the_same_sentence_is_posted_once() -> None:
    """A hundred reconciles that say the same are one Event."""
    api = FakeApi()
    events = recorder(api)
    said = [events.record(ABOUT, NEWS, "once") for _ in range(100)]
    await events.flush()

    assert said == [True] + [False] * 99
    assert [event["message"] for event in posted(api)] == [NEWS.message]
    assert posted(api)[0]["involvedObject"]["uid"] == "uid-1"


async def test_a_repetition_after_a_while_counts_up() -> None:
    """One line in `kubectl describe` that says `x2 over 20m`."""
    api = FakeApi()
    events = recorder(api)
    events.record(ABOUT, NEWS, "once")
    await events.flush()
    await asyncio.sleep(1200)
    events.record(ABOUT, NEWS, "once")
    await events.flush()

    assert [event["count"] for event in posted(api)] == [2]


async def test_a_restarted_operator_counts_on() -> None:
    """The Event's name follows from what it says, so a new process finds the old one."""
    api = FakeApi()
    for _ in range(2):
        events = recorder(api)
        events.record(ABOUT, NEWS, "once")
        await events.flush()

    assert [event["count"] for event in posted(api)] == [2]


async def test_an_absent_server_costs_the_event_and_nothing_else() -> None:
    """Posting fails silently; later events go through."""
    api = FakeApi()
    events = recorder(api)
    api.fault = away("create")
    events.record(ABOUT, NEWS, "once")
    await events.flush()
    api.fault = lambda _verb, _plural, _name: None
    events.record(ABOUT, Event("Succeeded", "Done"), "once")
    await events.flush()

    assert [event["reason"] for event in posted(api)] == ["Succeeded"]


async def test_a_flood_is_slowed_and_cut() -> None:
    """Five thousand different events: the newest thousand survive, at ten per second."""
    api = FakeApi()
    events = recorder(api)
    for number in range(5000):
        events.record(ABOUT, Event("Flood", f"number {number}"), "once")
    began = asyncio.get_running_loop().time()
    await events.flush()
    took = asyncio.get_running_loop().time() - began

    assert len(posted(api)) == 1000
    assert 90 <= took <= 110
    assert "number 4999" in [event["message"] for event in posted(api)]
