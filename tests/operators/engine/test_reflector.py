"""A reflector keeps its store like the API server, whatever happens to the stream."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gyre_operators.engine.client import Change, Client
from gyre_operators.engine.errors import ApiError
from gyre_operators.engine.guard import UnavailableError
from gyre_operators.engine.kinds import JOB
from gyre_operators.engine.metrics import Metrics
from gyre_operators.engine.plan import Key
from gyre_operators.engine.reflector import Reflector
from gyre_operators.engine.store import Store
from gyre_operators.engine.watch import Source
from tests.operators.engine.fakes import FakeApi, away

pytestmark = pytest.mark.looptime


def job(name: str, **labels: str) -> dict[str, Any]:
    """A Job with labels."""
    return {"metadata": {"name": name, "namespace": "ns", "labels": labels}, "spec": {}}


@asynccontextmanager
async def reflecting(
    api: FakeApi, *, labels: str = "", optional: bool = False
) -> AsyncIterator[tuple[Store[Any], Reflector]]:
    """A running reflector over a fake API server; its pauses carry no jitter."""
    store: Store[Any] = Store(Source(JOB, dict, labels, ""))
    client: Any = api
    reflector = Reflector(client, store, Metrics(), optional=optional, jitter=lambda: 1.0)
    task = asyncio.create_task(reflector.run())
    try:
        yield store, reflector
    finally:
        task.cancel()


def names(store: Store[Any]) -> list[str]:
    """What the store holds."""
    return [key.name for key in store.keys("ns")]


async def test_what_is_there_and_what_comes_is_in_the_store() -> None:
    """LIST, then additions, changes and deletions as they happen."""
    api = FakeApi()
    api.put(JOB, job("a"))
    async with reflecting(api) as (store, _):
        await store.filled()
        assert names(store) == ["a"]
        api.put(JOB, job("b"))
        api.put(JOB, job("a", color="red"))
        await asyncio.sleep(1)
        assert names(store) == ["a", "b"]
        assert store.by_label("color", "red")
        api.drop(JOB, Key("ns", "a"))
        await asyncio.sleep(1)

        assert names(store) == ["b"]


async def test_a_cut_watch_resumes_without_listing_again() -> None:
    """What happened while the stream was cut comes with the next stream."""
    api = FakeApi()
    api.put(JOB, job("a"))
    async with reflecting(api) as (store, _):
        await store.filled()
        api.cut()
        api.put(JOB, job("b"))
        api.drop(JOB, Key("ns", "a"))
        await asyncio.sleep(5)

        assert names(store) == ["b"]
        assert api.lists == 1


async def test_deletions_missed_in_a_forgotten_gap_are_found() -> None:
    """After a 410 the new LIST is compared with what was held, and listeners hear of the dead."""
    api = FakeApi()
    for name in ("a", "b", "c"):
        api.put(JOB, job(name))
    async with reflecting(api) as (store, _):
        await store.filled()
        heard: list[tuple[str | None, str | None]] = []
        store.subscribe(lambda old, new: heard.append((old.key.name if old else None, new.key.name if new else None)))
        api.fault = away("watch")
        api.cut()
        await asyncio.sleep(1)
        api.drop(JOB, Key("ns", "a"))
        api.drop(JOB, Key("ns", "b"))
        api.put(JOB, job("d"))
        api.forget()
        api.fault = lambda _verb, _plural, _name: None
        await asyncio.sleep(60)

        assert names(store) == ["c", "d"]
        assert sorted(heard, key=str) == sorted([(None, "d"), ("a", None), ("b", None)], key=str)


async def test_an_object_that_leaves_the_selector_leaves_the_store() -> None:
    """A lost label that was changed in a forgotten gap counts as gone."""
    api = FakeApi()
    api.put(JOB, job("a", ours="1"))
    async with reflecting(api, labels="ours") as (store, _):
        await store.filled()
        assert names(store) == ["a"]
        api.put(JOB, job("a"))
        api.forget()
        await asyncio.sleep(5)

        assert names(store) == []


@pytest.mark.parametrize(
    "error",
    [
        UnavailableError("API server", "connection refused"),
        ApiError(403, "Forbidden", "not yet"),
        ApiError(500, "InternalError", "etcd"),
        ApiError(429, "TooManyRequests", "slow down", 7.0),
        RuntimeError("a bug"),
    ],
    ids=str,
)
async def test_no_error_ends_it(error: Exception) -> None:
    """Ten minutes of any error, and a minute later the store is right again."""
    api = FakeApi()
    async with reflecting(api) as (store, reflector):
        await store.filled()
        api.fault = lambda verb, _plural, _name: error if verb in ("watch", "list") else None
        api.cut()
        await asyncio.sleep(600)
        assert reflector.trouble
        api.put(JOB, job("late"))
        api.fault = lambda _verb, _plural, _name: None
        await asyncio.sleep(60)

        assert names(store) == ["late"]
        assert reflector.trouble == ""


async def test_a_server_that_is_away_is_not_hammered() -> None:
    """Ten minutes away cost at most two dozen requests."""
    api = FakeApi()
    tries = 0

    def refuse(_verb: str, _plural: str, _name: str) -> Exception:
        nonlocal tries
        tries += 1
        return UnavailableError("API server", "connection refused")

    api.fault = refuse
    async with reflecting(api):
        await asyncio.sleep(600)

    assert tries <= 24


async def test_a_server_that_forgets_at_every_turn_is_not_hammered() -> None:
    """LIST, 410, LIST, 410, ... backs off too."""
    api = FakeApi()
    api.fault = lambda verb, _plural, _name: ApiError(410, "Expired", "too old") if verb == "watch" else None
    async with reflecting(api):
        await asyncio.sleep(600)

    assert api.lists <= 26


class ClosingApi(FakeApi):
    """Every stream ends right after its headers, as behind a broken proxy."""

    tries = 0

    async def watch(self, *_: Any, **__: Any) -> AsyncIterator[Change]:
        """Nothing, at once."""
        self.tries += 1
        nothing: tuple[Change, ...] = ()
        for change in nothing:
            yield change


async def test_streams_that_are_closed_at_once_are_not_hammered() -> None:
    """Ten minutes behind such a proxy cost at most two dozen requests."""
    api = ClosingApi()
    async with reflecting(api):
        await asyncio.sleep(600)

    assert 5 <= api.tries <= 24


async def test_a_kind_that_may_be_absent_counts_as_empty() -> None:
    """An optional kind is synced and empty, and is found once its CRD is there."""
    api = FakeApi()
    absent = ApiError(404, "NotFound", "the server could not find the requested resource")
    api.fault = lambda verb, _plural, _name: absent if verb == "list" else None
    async with reflecting(api, optional=True) as (store, reflector):
        await asyncio.sleep(3600)
        assert store.synced
        # Absence is an answer: health must not take it for a frozen stream.
        assert asyncio.get_running_loop().time() - reflector.contact <= 120
        api.put(JOB, job("a"))
        api.fault = lambda _verb, _plural, _name: None
        await asyncio.sleep(120)

        assert names(store) == ["a"]


def test_the_fake_speaks_the_client_s_language() -> None:
    """Every method that the fake offers the engine exists on the real client."""
    for name in ("get", "create", "apply", "merge", "replace", "delete", "pages", "watch"):
        assert callable(getattr(Client, name))
