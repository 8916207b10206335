"""Stores hold the newest, whatever order and how often news come in."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gyre_operators.engine import store as stores
from gyre_operators.engine.kinds import CONFIG_MAP, POD
from gyre_operators.engine.plan import Key
from gyre_operators.engine.store import Entry, Owner, Store, Stores
from gyre_operators.engine.watch import Source, Watch, by_none

SOURCE = Source(CONFIG_MAP, dict, "", "")


def entry(name: str, version: int, *, owner: str = "", **labels: str) -> Entry[Any]:
    """A ConfigMap entry."""
    owners = (Owner("v1", "Thing", "t", owner),) if owner else ()
    body = {"metadata": {"name": name, "resourceVersion": str(version)}}
    return Entry(
        key=Key("ns", name),
        uid=f"uid-{name}",
        version=version,
        labels=labels,
        owners=owners,
        deleting=False,
        finalizers=(),
        generation=1,
        value=body,
        raw=body,
    )


def names(found: tuple[Any, ...]) -> list[str]:
    """The names of objects."""
    return [body["metadata"]["name"] for body in found]


@given(st.permutations([1, 2, 3, 4, 5, 5, 3]), st.integers(0, 7))
def test_the_newest_version_wins_in_any_order(versions: list[int], extra: int) -> None:
    """Duplicates and late deliveries change nothing."""
    store: Store[Any] = Store(SOURCE)
    for version in [*versions, *versions[:extra]]:
        store.upsert(entry("a", version))

    found = store.entry(Key("ns", "a"))
    assert found is not None
    assert found.version == 5


class View(msgspec.Struct):
    """What somebody reads of a pod."""

    phase: str


def test_a_change_that_nobody_reads_wakes_nobody_and_is_still_the_newest() -> None:
    """A pod's new version with the same projection is stored silently; one that shows is told; so is a label's."""
    store: Store[Any] = Store(Source(POD, View, "", ""))
    told: list[int] = []
    store.subscribe(lambda _old, new: told.append(new.version if new else 0))

    def pod(version: int, phase: str, **labels: str) -> Entry[Any]:
        return replace(entry("a", version, **labels), value=View(phase), raw=None)

    for news in (pod(1, "Pending"), pod(2, "Pending"), pod(3, "Running"), pod(4, "Running", color="red")):
        assert store.upsert(news)
    assert not store.upsert(pod(2, "Failed"))

    found = store.entry(Key("ns", "a"))
    assert found is not None
    assert found.version == 4
    assert told == [1, 3, 4]


def test_a_late_event_does_not_bring_a_deleted_object_back() -> None:
    """After a deletion, events from before it are too late; a re-creation is not."""
    store: Store[Any] = Store(SOURCE)
    store.upsert(entry("a", 3))
    assert store.remove(Key("ns", "a"), 5)

    assert not store.upsert(entry("a", 4))
    assert store.get(Key("ns", "a")) is None
    assert store.upsert(entry("a", 6))
    assert store.get(Key("ns", "a")) is not None


def test_memory_of_what_is_gone_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest deletions are remembered, and no more: a watch that never breaks remembered every pod there was."""
    monkeypatch.setattr(stores, "_MOST_GONE", 3, raising=False)
    store: Store[Any] = Store(SOURCE)
    for number in range(10):
        store.upsert(entry(f"a{number}", 10 * number + 1))
        store.remove(Key("ns", f"a{number}"), 10 * number + 5)

    assert len(store._gone) == 3
    assert [store.upsert(entry(f"a{number}", 10 * number + 2)) for number in (7, 8, 9)] == [False] * 3


def test_a_list_removes_what_vanished_in_a_gap_and_keeps_what_was_written_since() -> None:
    """Objects absent from a LIST go, but not those that we wrote after the LIST was made."""
    store: Store[Any] = Store(SOURCE)
    news: list[tuple[str | None, str | None]] = []
    for name, version in (("kept", 1), ("vanished", 2), ("ours", 9)):
        store.upsert(entry(name, version))
    store.subscribe(lambda old, new: news.append((old.key.name if old else None, new.key.name if new else None)))

    store.replace([entry("kept", 1), entry("new", 4)], 5)

    assert [key.name for key in store.keys("ns")] == ["kept", "new", "ours"]
    assert news == [(None, "new"), ("vanished", None)]


def test_a_list_of_one_namespace_leaves_the_others_alone() -> None:
    """With one stream per namespace, each takes over only its own."""
    store: Store[Any] = Store(SOURCE)
    store.expect("ns")
    store.expect("other")
    store.upsert(entry("a", 1))
    other = replace(entry("b", 2), key=Key("other", "b"))

    store.replace([other], 5, "other")

    assert store.keys() == (Key("ns", "a"), Key("other", "b"))
    assert not store.synced
    store.replace([], 6, "ns")
    assert store.keys() == (Key("other", "b"),)
    assert store.synced


def test_listeners_hear_real_changes_only() -> None:
    """Our own write, delivered again by the watch, wakes nobody a second time."""
    store: Store[Any] = Store(SOURCE)
    heard: list[int] = []
    store.subscribe(lambda _old, new: heard.append(new.version if new else -1))
    for version in (1, 1, 2, 1, 2):
        store.upsert(entry("a", version))

    assert heard == [1, 2]


def test_indexes_follow_changes() -> None:
    """Owner, label and declared indexes know an object under its present values only."""
    source = Source(POD, dict, "", "")
    stores = Stores()
    watch: Watch[dict[str, Any]] = Watch(
        POD, dict, by_none, indexes={"version": lambda pod: [pod["metadata"]["resourceVersion"]]}
    )
    store = stores.open(watch)
    assert store.source == source
    store.upsert(entry("a", 1, owner="u1", color="red"))
    store.upsert(entry("b", 2, owner="u1", color="blue"))
    assert names(store.by_label("color", "red")) == ["a"]

    store.upsert(entry("a", 3, owner="u2", color="blue"))
    store.remove(Key("ns", "b"), 4)

    assert names(store.by_owner("u1")) == []
    assert names(store.by_owner("u2")) == ["a"]
    assert names(store.by_label("color", "red")) == []
    assert names(store.by_label("color", "blue", "ns")) == ["a"]
    assert names(store.by_label("color", "blue", "elsewhere")) == []
    assert names(store.by("version", "3")) == ["a"]
    with pytest.raises(KeyError):
        store.by("undeclared", "x")


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["put", "del"]), st.sampled_from("xy"))))
def test_indexes_always_agree_with_a_full_scan(steps: list[tuple[str, str, str]]) -> None:
    """After any history, looking up by label finds what scanning all objects finds."""
    store: Store[Any] = Store(SOURCE)
    store.by_label("color", "x")
    live: dict[str, str] = {}
    for version, (name, what, color) in enumerate(steps, start=1):
        if what == "put":
            store.upsert(entry(name, version, color=color))
            live[name] = color
        else:
            store.remove(Key("ns", name), version)
            live.pop(name, None)

    for color in "xy":
        wanted = sorted(name for name, has in live.items() if has == color)
        assert names(store.by_label("color", color)) == wanted
    assert [key.name for key in store.keys("ns")] == sorted(live)


def test_a_selector_that_cannot_be_evaluated_here_is_refused_at_once() -> None:
    """Set-based selectors would break read-your-writes, so the watch says which forms work."""
    with pytest.raises(ValueError, match="use k, !k, k=v or k!=v"):
        Watch(POD, dict, by_none, labels="app in (a,b)")
