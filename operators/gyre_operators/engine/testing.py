"""Carry plans out in memory: for property tests of plans, without an API server or a loop of ours.

    world = World(TrainingController(services), job_manifest)
    await world.settle(Key("default", "job"), now)
    assert world.get(JOB, Key("default", "job-a1"))

It follows the API server where plans can tell: uids, resource versions, owner-based names taken,
whole statuses, apply that only writes differences, deletion that waits for finalizers and removes
dependents. It does not validate, default or run anything.
"""

import copy
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from gyre_operators.engine.controller import Controller
from gyre_operators.engine.kinds import Kind, gyre
from gyre_operators.engine.plan import Event, Key, Manifest, Plan, Ref
from gyre_operators.engine.project import entry_of
from gyre_operators.engine.store import Store, Stores
from gyre_operators.engine.watch import by_itself, own

_Id = tuple[str, str, Key]


class World:
    """Objects in memory, and one controller over them."""

    def __init__(self, controller: Controller[Any], *objects: Manifest) -> None:
        self.controller = controller
        self.stores = Stores()
        self.events: list[Event] = []
        """All events that were posted, in order."""
        self._objects: dict[_Id, dict[str, Any]] = {}
        self._version = 0
        self._acted = False
        self._stores: list[Store[Any]] = [self.stores.open(watch) for watch in controller.children]
        if controller.kind is not None:
            self._stores.append(self.stores.open(own(controller.kind, by_itself)))
        for manifest in objects:
            self.put(manifest)

    def put(self, manifest: Manifest) -> dict[str, Any]:
        """Make or replace an object, as its user would; the object with uid and version."""
        body = copy.deepcopy(dict(manifest))
        identity = _identity(body)
        old = self._objects.get(identity)
        self._version += 1
        meta = body["metadata"] = dict(body["metadata"])
        meta["resourceVersion"] = str(self._version)
        meta["uid"] = old["metadata"]["uid"] if old else meta.get("uid") or f"uid-{self._version}"
        changed = old is not None and old.get("spec") != body.get("spec")
        meta["generation"] = (old["metadata"]["generation"] if old else 1) + changed
        self._objects[identity] = body
        for store in self._stores_of(body):
            store.upsert(entry_of(store.source, body, store.entry(identity[2])))
        return body

    def get(self, kind: Kind, key: Key) -> dict[str, Any] | None:
        """An object, or None."""
        return self._objects.get((kind.api_version, kind.kind, key))

    def all(self, kind: Kind) -> list[dict[str, Any]]:
        """All objects of a kind, ordered by key."""
        found = [(k, o) for k, o in self._objects.items() if k[:2] == (kind.api_version, kind.kind)]
        return [body for _, body in sorted(found, key=lambda pair: pair[0][2])]

    def patch(self, kind: Kind, key: Key, **parts: Mapping[str, Any]) -> dict[str, Any]:
        """Merge into top-level parts, e.g. `status={"succeeded": 1}`, as others would."""
        body = copy.deepcopy(self._objects[kind.api_version, kind.kind, key])
        for part, change in parts.items():
            body[part] = overlay(body.get(part, {}), change)
        return self.put(body)

    def remove(self, ref: Ref) -> None:
        """Delete an object and what it owns, as kubectl would."""
        identity = (ref.api_version, ref.kind, Key(ref.namespace, ref.name))
        body = self._objects.get(identity)
        if body is None or (ref.uid is not None and body["metadata"]["uid"] != ref.uid):
            return
        if body["metadata"].get("finalizers"):
            body = copy.deepcopy(body)
            body["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
            self.put(body)
            return
        del self._objects[identity]
        self._version += 1
        for store in self._stores_of(body):
            store.remove(identity[2], self._version)
        for child in [o for o in self._objects.values() if _owned_by(o, body["metadata"]["uid"])]:
            self.remove(_ref(child))

    async def plan(self, key: Key, now: datetime) -> Plan | None:
        """Observe and plan, without carrying out; None when there is nothing to decide."""
        seen = await self.controller.observe(key, self.stores)
        return None if seen is None else self.controller.plan(seen, now)

    async def round(self, key: Key, now: datetime) -> bool:
        """One reconcile. True when it changed anything.

        Raises:
            AssertionError: the plan promised that nothing is left to do, and something was.
        """
        plan = await self.plan(key, now)
        if plan is None or not await self.carry_out(key, plan):
            return False
        await self._hold_to(plan, key, now)
        return True

    async def settle(self, key: Key, now: datetime, *, rounds: int = 10) -> int:
        """Reconcile until nothing changes; the number of rounds that did.

        Raises:
            AssertionError: it still changes after `rounds` rounds; the text holds the last plan.
        """
        for done in range(rounds):
            plan = await self.plan(key, now)
            if plan is None or not await self.carry_out(key, plan):
                return done
            if await self._hold_to(plan, key, now):
                return done + 1
        raise AssertionError(f"no rest after {rounds} rounds; next: {await self.plan(key, now)}")

    async def carry_out(self, key: Key, plan: Plan) -> bool:
        """Do what a plan says. True when anything changed.

        Raises:
            AssertionError: the controller did not declare a right that the plan needs.
        """
        before = self._version
        for manifest in plan.apply:
            self._apply(manifest)
        for manifest in plan.create:
            self._create(manifest)
        for ref in plan.delete:
            self._require("delete", ref.api_version, ref.kind)
            self.remove(ref)
        for effect in plan.effects:
            await self.controller.perform(effect)
        self._acted = self._version != before or bool(plan.effects)
        self._report(key, plan)
        changed = self._version != before or bool(plan.effects)
        if changed:
            self.events.extend(plan.events)
        return changed

    async def _hold_to(self, plan: Plan, key: Key, now: datetime) -> bool:
        """Whether the engine does not look again after its write of this plan's status: nothing may be left to do."""
        last = (self.controller.settles and not plan.changes) or (plan.rests and not self._acted)
        if not last or plan.requeue == timedelta():
            return False
        again = await self.plan(key, now)
        if again is not None and await self.carry_out(key, again):
            raise AssertionError(f"{self.controller.name} says that it settles, and did more after {plan}")
        return True

    def _apply(self, manifest: Manifest) -> None:
        self._require("patch", manifest["apiVersion"], manifest["kind"])
        live = self._objects.get(_identity(manifest))
        uid = manifest["metadata"].get("uid")
        if uid is not None and (live is None or live["metadata"]["uid"] != uid):
            return
        wanted = overlay(live or {}, manifest)
        if live is None or wanted != live:
            self.put(wanted)

    def _create(self, manifest: Manifest) -> None:
        self._require("create", manifest["apiVersion"], manifest["kind"])
        live = self._objects.get(_identity(manifest))
        if live is None:
            self.put(manifest)
            return
        owners = [o["uid"] for o in manifest["metadata"].get("ownerReferences", [])]
        if not all(_owned_by(live, uid) for uid in owners):
            raise AssertionError(f"the name of {_ref(manifest)} is taken by another owner's object")

    def _report(self, key: Key, plan: Plan) -> None:
        if self.controller.kind is None:
            if plan.status is not None:
                raise AssertionError(f"{self.controller.name} has no kind whose status to write")
            return
        body = self.get(gyre(self.controller.kind), key)
        if body is None:
            return
        if plan.status is not None and plan.status != body.get("status", {}):
            body = self.put({**body, "status": plan.status})
        if plan.finalizers is not None:
            self._finalize(body, plan.finalizers)

    def _finalize(self, body: dict[str, Any], ours: tuple[str, ...]) -> None:
        meta = body["metadata"]
        wanted = [f for f in meta.get("finalizers", []) if not f.startswith("gyre.dev/")] + [*ours]
        if wanted == meta.get("finalizers", []):
            return
        body = self.put({**body, "metadata": {**meta, "finalizers": wanted}})
        if not wanted and meta.get("deletionTimestamp"):
            self.remove(_ref(body))

    def _require(self, verb: str, api_version: str, kind: str) -> None:
        for grant in self.controller.grants:
            same = (grant.kind.api_version, grant.kind.kind) == (api_version, kind)
            if same and verb in grant.verbs and not grant.subresource:
                return
        raise AssertionError(f"{self.controller.name} has no grant to {verb} {api_version} {kind}")

    def _stores_of(self, body: Manifest) -> list[Store[Any]]:
        return [
            store
            for store in self._stores
            if (store.source.kind.api_version, store.source.kind.kind) == (body["apiVersion"], body["kind"])
        ]


def overlay(live: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """`live` with `change` merged over it; lists are replaced whole."""
    merged = dict(live)
    for name, value in change.items():
        was = merged.get(name)
        if isinstance(was, Mapping) and isinstance(value, Mapping):
            merged[name] = overlay(was, value)
        else:
            merged[name] = value
    return merged


def _identity(body: Manifest) -> _Id:
    meta = body["metadata"]
    return body["apiVersion"], body["kind"], Key(meta.get("namespace", ""), meta["name"])


def _ref(body: Manifest) -> Ref:
    meta = body["metadata"]
    return Ref(body["apiVersion"], body["kind"], meta.get("namespace", ""), meta["name"])


def _owned_by(body: Manifest, uid: str) -> bool:
    return any(o["uid"] == uid for o in body["metadata"].get("ownerReferences", []))
