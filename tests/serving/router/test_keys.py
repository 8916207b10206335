"""One outcome for each sticky key."""

from typing import Any

import pytest

from gyre_serving.router import keys
from gyre_serving.router.keys import Keys


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys count from the first request."""
    monkeypatch.setattr(keys, "GRACE", 0.0)


async def _counts(router: Any) -> dict[str, tuple[int, int, int]]:
    found = (await router.get_control("/v1/counters"))["services"]["m"]
    return {name: (one["requests"], one["keys"], one["failedKeys"]) for name, one in found.items()}


async def _ask(router: Any, kit: Any, key: str | None = None, **more: Any) -> None:
    headers = {"x-user": key} if key is not None else {}
    await router.infer(kit.rows([1, 1, 1]), headers=headers, **more)


async def test_first_request_is_the_outcome_of_its_key(start: Any, models: Any, kit: Any) -> None:
    """Ten requests of a key are one outcome, the first one's; a request without a key is a key of its own."""
    model = await models()
    router = await start(kit.table(kit.route(model), stickyHeader="x-user"))
    for _ in range(10):
        await _ask(router, kit, "a")
    model.status = 500
    await _ask(router, kit, "a")
    await _ask(router, kit, "b")
    model.status = 200
    await _ask(router, kit, "b")
    await _ask(router, kit)
    await _ask(router, kit)
    assert await _counts(router) == {"r1": (15, 4, 1)}


async def test_what_the_split_did_not_assign_is_no_outcome(start: Any, models: Any, kit: Any) -> None:
    """Neither a path nor a refused body uses up a key; without a sticky header nothing is counted by key."""
    model = await models()
    router = await start(kit.table(kit.route(model), stickyHeader="x-user"))
    await _ask(router, kit, "a", path="/v2/models/m/versions/v-r1/infer")
    await router.infer({"inputs": []}, headers={"x-user": "a"})
    assert await _counts(router) == {"r1": (1, 0, 0)}
    await _ask(router, kit, "a")
    assert await _counts(router) == {"r1": (2, 1, 0)}
    assert router.offer(kit.route(model))
    await _ask(router, kit, "c")
    assert await _counts(router) == {"r1": (3, 1, 0)}


@pytest.mark.parametrize("key", [b"a", None], ids=["a key", "a request without a key"])
def test_keys_count_once_the_operator_has_seen_the_new_weights(monkeypatch: pytest.MonkeyPatch, key: Any) -> None:
    """Of three busy keys each had its only outcome before the operator began to count: a canary saw none of them."""
    monkeypatch.setattr(keys, "GRACE", 5.0)
    now = 100.0
    known = Keys(clock=lambda: now)
    for weight in (10, 50):
        known.follow({"r1": 100 - weight, "r2": weight})
        assert not known.first(key, "1")
        now += 4.9
        assert not known.first(key, "2")
        now += 0.1
        known.follow({"r1": 100 - weight, "r2": weight})
        assert known.first(key, "3")
        assert known.first(key, "4") is (key is None)


async def test_other_weights_count_keys_anew(start: Any, models: Any, kit: Any) -> None:
    """A table with other weights judges each key again; one with the same weights does not."""
    one, two = await models(), await models()
    router = await start(kit.table(kit.route(one), kit.route(two, "r2", 0), stickyHeader="x-user"))
    await _ask(router, kit, "a")
    assert router.offer(kit.route(one), kit.route(two, "r2", 0), stickyHeader="x-user", accessSample=0.5)
    await _ask(router, kit, "a")
    assert (await _counts(router))["r1"][1] == 1
    assert router.offer(kit.route(one, "r1", 0), kit.route(two, "r2", 100), stickyHeader="x-user")
    await _ask(router, kit, "a")
    counts = await _counts(router)
    assert (counts["r1"][1], counts["r2"][1]) == (1, 1)


async def test_unreachable_revision_fails_its_key_and_the_fallback_has_none(start: Any, models: Any, kit: Any) -> None:
    """The key's outcome is that of the revision which the split chose."""
    stable, candidate = await models(), await models()
    rules = {"stickyHeader": "x-user", "fallback": {"revisions": ["r1"]}}
    router = await start(kit.table(kit.route(stable, "r1", 0), kit.route(candidate, "r2"), **rules))
    candidate.kill()
    await _ask(router, kit, "a")
    assert await _counts(router) == {"r1": (1, 0, 0), "r2": (1, 1, 1)}


def test_memory_is_bounded_and_no_key_counts_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 5,000 keys with room for 100 a share is looked at, and none of them is ever first again."""
    monkeypatch.setattr(keys, "MOST", 100)
    known = Keys()
    names = [f"user-{number}".encode() for number in range(5000)]
    first = [name for name in names if known.first(name, "")]
    assert 100 <= len(first) < 1000
    assert len(known._met) <= 100
    assert not any(known.first(name, "") for name in first)
    shares = sum(known.first(None, f"id-{number}") for number in range(5000))
    assert shares < 5000 / 16
