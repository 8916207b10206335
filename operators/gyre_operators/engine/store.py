"""Typed in-memory copies of what the API server holds, with indexes and read-your-writes.

One store per stream. Sources (watches, and our own writes) put entries in; the newest resource
version wins, so late, repeated or reordered deliveries change nothing. Single-threaded: lives on
the event loop.
"""

import asyncio
from collections.abc import Callable, Container, Iterable, Iterator
from functools import partial
from operator import attrgetter
from typing import Any, Generic, TypeVar

from gyre_crds.base import Resource
from gyre_operators.engine.entry import Entry, Owner, Reader
from gyre_operators.engine.kinds import Kind, gyre
from gyre_operators.engine.plan import Key
from gyre_operators.engine.watch import Source, Watch

__all__ = ["Entry", "Listener", "Owner", "Reader", "Store", "Stores"]

T = TypeVar("T")
R = TypeVar("R", bound=Resource)

_MARKS = attrgetter("value", "uid", "labels", "owners", "deleting", "finalizers", "generation", "error")

_MOST_GONE = 10_000
"""Deleted objects remembered of a stream, the newest: a late event is seconds late, and a watch may live for weeks
without the LIST that would clear them."""

Listener = Callable[[Entry[Any] | None, Entry[Any] | None], None]
"""Called with (old, new) after each change that shows in the watch's type; None stands for absent."""

_Terms = Callable[[Entry[Any]], Iterable[str]]


class Store(Generic[T]):
    """The objects of one stream. Reads as `Reader` says; writes come from sources and executor."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._awaited: set[str] = set()
        self._filled = asyncio.Event()
        self._entries: dict[Key, Entry[T]] = {}
        self._gone: dict[Key, int] = {}
        self._terms: dict[str, _Terms] = {"owner": lambda entry: [o.uid for o in entry.owners]}
        self._index: dict[str, dict[str, set[Key]]] = {"owner": {}}
        self._namespaces: dict[str, set[Key]] = {}
        self._listeners: list[Listener] = []

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def synced(self) -> bool:
        """Whether every expected LIST has come in."""
        return not self._awaited

    def expect(self, namespace: str) -> None:
        """Count as synced only once that namespace ("" for all) was taken over by `replace`."""
        self._awaited.add(namespace)
        self._filled.clear()

    async def filled(self) -> None:
        """Until `synced`."""
        while not self.synced:
            await self._filled.wait()

    def subscribe(self, listener: Listener) -> None:
        """Tell `listener` of every later change."""
        self._listeners.append(listener)

    # Reading.

    def get(self, key: Key) -> T | None:
        """See `Reader.get`."""
        entry = self._entries.get(key)
        return entry.value if entry else None

    def entry(self, key: Key) -> Entry[T] | None:
        """See `Reader.entry`."""
        return self._entries.get(key)

    def all(self, namespace: str | None = None) -> tuple[T, ...]:
        """See `Reader.all`."""
        return self._values(self.keys(namespace))

    def keys(self, namespace: str | None = None) -> tuple[Key, ...]:
        """See `Reader.keys`."""
        if namespace is None:
            return tuple(sorted(self._entries))
        return tuple(sorted(self._namespaces.get(namespace, ())))

    def by_owner(self, uid: str) -> tuple[T, ...]:
        """See `Reader.by_owner`."""
        return self._values(sorted(self._index["owner"].get(uid, ())))

    def by_label(self, label: str, value: str, namespace: str | None = None) -> tuple[T, ...]:
        """See `Reader.by_label`. The index of a label is built when it is first asked for."""
        name = f"label:{label}"
        if name not in self._terms:
            self._add_index(name, lambda entry: [v] if (v := entry.labels.get(label)) else [])
        return self.by(name, value, namespace)

    def by(self, index: str, value: str, namespace: str | None = None) -> tuple[T, ...]:
        """See `Reader.by`."""
        keys = self._index[index].get(value, ())
        within = (key for key in keys if namespace is None or key.namespace == namespace)
        return self._values(sorted(within))

    def _values(self, keys: Iterable[Key]) -> tuple[T, ...]:
        values = (self._entries[key].value for key in keys)
        return tuple(value for value in values if value is not None)

    # Writing.

    def declare(self, watch: Watch[T]) -> None:
        """Keep the indexes that a watch on this stream declares."""
        for name, terms in watch.indexes.items():
            if name not in self._terms:
                self._add_index(name, partial(_terms_of_value, terms))

    def upsert(self, entry: Entry[T]) -> bool:
        """Put in a newer version; False when what is there (or was removed) is as new."""
        old = self._entries.get(entry.key)
        if entry.version <= max(old.version if old else -1, self._gone.get(entry.key, -1)):
            return False
        self._gone.pop(entry.key, None)
        if old is not None and _looks_the_same(old, entry):
            self._entries[entry.key] = entry
        else:
            self._swap(entry.key, old, entry)
        return True

    def remove(self, key: Key, version: int) -> bool:
        """Take out an object that was deleted at `version`; later re-creations stay."""
        old = self._entries.get(key)
        if old is None or old.version > version:
            return False
        self._gone[key] = version
        if len(self._gone) > _MOST_GONE:
            del self._gone[next(iter(self._gone))]
        self._swap(key, old, None)
        return True

    def replace(self, entries: Iterable[Entry[T]], version: int, namespace: str = "") -> None:
        """Take over a whole LIST made at `version`, and remove what it no longer holds.

        With `namespace`, the LIST is of that namespace only. What was written after the LIST was
        made (read-your-writes) stays.
        """
        seen = set()
        for entry in entries:
            seen.add(entry.key)
            self.upsert(entry)
        self.retain(seen, version, namespace)
        # No event from before this LIST can arrive any more: its tombstones have done their work.
        self._gone = {
            key: gone
            for key, gone in self._gone.items()
            if gone > version or (namespace and key.namespace != namespace)
        }
        self._awaited.discard(namespace)
        if self.synced:
            self._filled.set()

    def retain(self, seen: Container[Key], version: int, namespace: str = "") -> int:
        """Remove what a LIST made at `version` does not hold; how many that were."""
        lost = [
            key for key in self.keys(namespace or None) if key not in seen and self._entries[key].version <= version
        ]
        for key in lost:
            self.remove(key, version)
        return len(lost)

    def _swap(self, key: Key, old: Entry[T] | None, new: Entry[T] | None) -> None:
        if old is not None:
            self._forget(key, old)
        if new is not None:
            self._entries[key] = new
            self._namespaces.setdefault(key.namespace, set()).add(key)
            for name in self._terms:
                self._file(name, key, new)
        for listener in self._listeners:
            listener(old, new)

    def _forget(self, key: Key, old: Entry[T]) -> None:
        del self._entries[key]
        _discard(self._namespaces, key.namespace, key)
        for name, terms in self._terms.items():
            for term in terms(old):
                _discard(self._index[name], term, key)

    def _file(self, name: str, key: Key, entry: Entry[T]) -> None:
        for term in self._terms[name](entry):
            self._index[name].setdefault(term, set()).add(key)

    def _add_index(self, name: str, terms: _Terms) -> None:
        self._terms[name] = terms
        self._index[name] = {}
        for key, entry in self._entries.items():
            self._file(name, key, entry)


def _looks_the_same(old: Entry[Any], new: Entry[Any]) -> bool:
    """Whether two versions differ in nothing that the watch's type holds: most updates of a Job and many of a pod."""
    if old.status is not None or old.raw is not None:
        return False  # Kept whole, every version differs.
    return bool(_MARKS(old) == _MARKS(new))


def _terms_of_value(terms: Callable[[Any], Iterable[str]], entry: Entry[Any]) -> Iterable[str]:
    """The terms of a declared index; an object that does not parse has none."""
    return terms(entry.value) if entry.value is not None else ()


def _discard(index: dict[str, set[Key]], term: str, key: Key) -> None:
    keys = index.get(term)
    if keys is not None:
        keys.discard(key)
        if not keys:
            del index[term]


class Stores:
    """All streams of the process, by source."""

    def __init__(self) -> None:
        self._stores: dict[Source, Store[Any]] = {}

    def __iter__(self) -> Iterator[Store[Any]]:
        return iter(self._stores.values())

    def of(self, watch: Watch[T]) -> Reader[T]:
        """The objects of a watch.

        Raises:
            KeyError: no controller declares this watch among its `children`.
        """
        return self._stores[watch.source]

    def of_kind(self, resource: type[R]) -> Reader[R]:
        """The objects of one of Gyre's kinds, whole and typed. Always there.

        Raises:
            KeyError: the kind is not served by this process.
        """
        return self._stores[Source(gyre(resource), resource, "", "")]

    def open(self, watch: Watch[T]) -> Store[T]:
        """The store of a watch, made on first use."""
        store = self._stores.setdefault(watch.source, Store(watch.source))
        store.declare(watch)
        return store

    def of_resource(self, kind: Kind) -> list[Store[Any]]:
        """Every stream of a kind, whatever its selectors and shape."""
        return [store for source, store in self._stores.items() if source.kind == kind]

    def newest(self, kind: Kind, key: Key) -> Entry[Any] | None:
        """The newest entry of an object in any stream."""
        found = [entry for store in self.of_resource(kind) if (entry := store.entry(key))]
        return max(found, key=lambda entry: entry.version, default=None)
