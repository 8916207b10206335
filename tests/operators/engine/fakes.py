"""An API server in memory that follows the real protocol where the engine can tell.

Versions, uids, 404, 409 on versions and on names, merge patches, a history that watches resume
from and that can be forgotten (410), and faults on demand.
"""

import asyncio
import copy
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import orjson

from gyre_operators.engine.client import Change, Page, _ListMeta
from gyre_operators.engine.errors import ApiError
from gyre_operators.engine.guard import UnavailableError
from gyre_operators.engine.kinds import Kind
from gyre_operators.engine.plan import Key, Manifest
from gyre_operators.engine.selectors import matches
from gyre_operators.engine.testing import overlay

Body = dict[str, Any]


def merged(live: Any, patch: Any) -> Any:
    """RFC 7386, from the letter of the RFC."""
    if not isinstance(patch, dict):
        return patch
    result = dict(live) if isinstance(live, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


class FakeApi:
    """Stands in for `engine.client.Client`."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, Key], Body] = {}
        self.version = 0
        self.history: list[tuple[int, str, str, Body]] = []
        self.forgotten = 0
        """Watches from before this version get a 410."""
        self.writes: list[tuple[str, str, str]] = []
        """(verb, plural, name) of each write that was let through."""
        self.fault: Callable[[str, str, str], Exception | None] = lambda _verb, _plural, _name: None
        """Asked before each request; an exception is raised instead of answering."""
        self.lists = 0
        self.managers: list[str] = []
        self._news = asyncio.Event()
        self._cut = 0

    # What a test does as somebody else.

    def put(self, kind: Kind, body: Manifest) -> Body:
        """Make or replace an object behind the engine's back."""
        key = _key(body)
        old = self.objects.get((kind.plural, key))
        return self._store(kind, copy.deepcopy(dict(body)), old)

    def drop(self, kind: Kind, key: Key) -> None:
        """Delete an object behind the engine's back."""
        body = self.objects.pop((kind.plural, key))
        self.version += 1
        body = merged(body, {"metadata": {"resourceVersion": str(self.version)}})
        self._record("DELETED", kind, body)

    def cut(self) -> None:
        """End every open watch."""
        self._cut += 1
        self._wake()

    def forget(self) -> None:
        """Lose the history, as compaction does, and end every watch."""
        self.forgotten = self.version
        self.cut()

    # What the engine asks.

    async def get(self, kind: Kind, key: Key) -> Body | None:
        """As `Client.get`."""
        self._check("get", kind, key.name)
        return copy.deepcopy(self.objects.get((kind.plural, key)))

    async def create(self, kind: Kind, manifest: Manifest, _manager: str) -> Body:
        """As `Client.create`."""
        key = _key(manifest)
        self._check("create", kind, key.name)
        if (kind.plural, key) in self.objects:
            raise ApiError(409, "AlreadyExists", f"{kind.plural} {key.name} already exists")
        return self._write("create", kind, copy.deepcopy(dict(manifest)), None)

    async def apply(self, kind: Kind, manifest: Manifest, manager: str) -> Body:
        """As `Client.apply`; the managers are kept in `managers`."""
        self.managers.append(manager)
        key = _key(manifest)
        self._check("apply", kind, key.name)
        live = self.objects.get((kind.plural, key))
        wanted = overlay(live or {}, manifest)
        if live is not None and wanted == live:
            self.writes.append(("apply", kind.plural, key.name))
            return copy.deepcopy(live)
        return self._write("apply", kind, wanted, live)

    async def merge(self, kind: Kind, key: Key, change: Manifest, _manager: str, *, subresource: str = "") -> Body:
        """As `Client.merge`."""
        verb = subresource or "merge"
        self._check(verb, kind, key.name)
        live = self._must(kind, key)
        self._match(live, change)
        return self._write(verb, kind, merged(live, change), live)

    async def replace(self, kind: Kind, manifest: Manifest, _manager: str) -> Body:
        """As `Client.replace`."""
        key = _key(manifest)
        self._check("replace", kind, key.name)
        live = self._must(kind, key)
        self._match(live, manifest)
        return self._write("replace", kind, copy.deepcopy(dict(manifest)), live)

    async def delete(self, kind: Kind, key: Key, uid: str | None = None) -> bool:
        """As `Client.delete`."""
        self._check("delete", kind, key.name)
        live = self.objects.get((kind.plural, key))
        if live is None or (uid is not None and live["metadata"]["uid"] != uid):
            return False
        self.writes.append(("delete", kind.plural, key.name))
        self.drop(kind, key)
        return True

    async def pages(
        self, kind: Kind, namespace: str, *, labels: str = "", fields: str = "", head: bool = False
    ) -> AsyncIterator[Page]:
        """As `Client.pages`, two items a page."""
        _no_fields(fields)
        self._check("list", kind, namespace)
        self.lists += 1
        version = str(self.version)
        found = [
            msgspec.Raw(orjson.dumps({"metadata": body["metadata"]} if head else body))
            for (plural, key), body in sorted(self.objects.items())
            if plural == kind.plural and namespace in ("", key.namespace) and matches(labels, body["metadata"])
        ]
        for start in range(0, max(len(found), 1), 2):
            yield Page(_ListMeta(version=version), found[start : start + 2])

    async def watch(
        self, kind: Kind, namespace: str, version: str, *, labels: str = "", fields: str = ""
    ) -> AsyncIterator[Change]:
        """As `Client.watch`; ends when cut."""
        _no_fields(fields)
        self._check("watch", kind, namespace)
        at, cut = int(version), self._cut
        if at < self.forgotten:
            raise ApiError(410, "Expired", f"too old resource version: {at} ({self.forgotten})")
        while True:
            self._news.clear()
            for number, change, plural, body in [h for h in self.history if h[0] > at]:
                at = number
                if plural == kind.plural and matches(labels, body["metadata"]):
                    yield Change(change, msgspec.Raw(orjson.dumps(body)))
            if self._cut != cut:
                return
            await self._news.wait()
            if self._cut != cut:
                return

    # Inside.

    def _check(self, verb: str, kind: Kind, name: str) -> None:
        fault = self.fault(verb, kind.plural, name)
        if fault is not None:
            raise fault

    def _must(self, kind: Kind, key: Key) -> Body:
        live = self.objects.get((kind.plural, key))
        if live is None:
            raise ApiError(404, "NotFound", f"{kind.plural} {key.name} not found")
        return live

    def _match(self, live: Body, change: Manifest) -> None:
        for name in ("resourceVersion", "uid"):
            wanted = change.get("metadata", {}).get(name)
            if wanted is not None and wanted != live["metadata"][name]:
                raise ApiError(409, "Conflict", "the object has been modified")

    def _write(self, verb: str, kind: Kind, body: Body, old: Body | None) -> Body:
        self.writes.append((verb, kind.plural, body["metadata"]["name"]))
        return copy.deepcopy(self._store(kind, body, old))

    def _store(self, kind: Kind, body: Body, old: Body | None) -> Body:
        self.version += 1
        before = old["metadata"] if old else {}
        same_spec = old is not None and old.get("spec") == body.get("spec")
        meta = {
            **body["metadata"],
            "resourceVersion": str(self.version),
            "uid": before.get("uid") or f"uid-{self.version}",
            "generation": before.get("generation", 0) + (not same_spec),
        }
        body = {"apiVersion": kind.api_version, "kind": kind.kind, **body, "metadata": meta}
        self.objects[kind.plural, _key(body)] = body
        self._record("MODIFIED" if old else "ADDED", kind, body)
        return body

    def _record(self, change: str, kind: Kind, body: Body) -> None:
        self.history.append((self.version, change, kind.plural, copy.deepcopy(body)))
        self._wake()

    def _wake(self) -> None:
        self._news.set()


def away(*verbs: str) -> Callable[[str, str, str], Exception | None]:
    """A fault: these verbs get no answer."""
    return lambda verb, _plural, _name: UnavailableError("API server", "connection refused") if verb in verbs else None


def _no_fields(fields: str) -> None:
    if fields:
        raise NotImplementedError("field selectors are tried on a real API server only")


def _key(body: Manifest) -> Key:
    return Key(body["metadata"].get("namespace", ""), body["metadata"]["name"])
