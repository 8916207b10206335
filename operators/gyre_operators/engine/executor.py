"""Carries plans out: only what differs, in the order that survives a kill at any point."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from gyre_crds.reasons import Common
from gyre_operators.engine.client import Client
from gyre_operators.engine.controller import Controller
from gyre_operators.engine.differ import APPLIED, covers, digest, settled_digest, stamped
from gyre_operators.engine.errors import ApiError
from gyre_operators.engine.kinds import Kind, gyre
from gyre_operators.engine.metrics import Metrics
from gyre_operators.engine.plan import Key, Manifest, Plan, Ref, ref
from gyre_operators.engine.project import entry_of
from gyre_operators.engine.report import Refusal, merge_patch, refusal, without_nulls
from gyre_operators.engine.selectors import matches
from gyre_operators.engine.store import Entry, Stores

log = logging.getLogger(__name__)

_OURS = "gyre.dev/"


class FencedError(Exception):
    """This process does not lead any more; nothing may be written."""


class RefusedError(Exception):
    """The API server refused a child; the same write fails again until somebody changes something."""

    def __init__(self, said: Refusal) -> None:
        super().__init__(said.message)
        self.said = said


class UndeclaredError(Exception):
    """A plan touches what its controller declared no grant for: a mistake in the controller."""


@dataclass(slots=True)
class _Round:
    """What one carrying out changed."""

    status: bool = False
    children: bool = False


class Executor:
    """Carries out the plans of one controller."""

    def __init__(
        self,
        client: Client,
        stores: Stores,
        controller: Controller[Any],
        metrics: Metrics,
        *,
        fence: Callable[[], bool],
    ) -> None:
        """`fence` says, before each write, whether this process may still write."""
        self._client = client
        self._stores = stores
        self._controller = controller
        self._metrics = metrics
        self._fence = fence
        self._manager = f"gyre-{controller.name}"
        self._kinds = {(k.api_version, k.kind): k for k in _kinds_of(controller)}
        self._settled: dict[Ref, tuple[str, str]] = {}
        self._pruned: dict[Key, tuple[str, str]] = {}

    async def carry_out(self, plan: Plan, subject: Entry[Any] | None, *, withheld: bool = False) -> bool:
        """Do what the plan says; True when that changed anything.

        `subject` is the object whose status is written. With `withheld` only the status is.

        Raises:
            RefusedError: a child was refused for a reason that a person has to cure.
            ApiError: any other answer, a conflict among them.
            UnavailableError: the API server, or what an effect calls, is away.
            FencedError: somebody else leads now.
        """
        done = _Round()
        if plan.create or withheld:
            done.status = await self._report(plan, subject)
        if not withheld:
            await self._act(plan, subject, done)
        return done.status or done.children

    async def report(self, status: Mapping[str, Any], subject: Entry[Any]) -> bool:
        """Write a whole status, if it differs; True when it did.

        Raises:
            ApiError: reason Conflict when the object changed since it was observed.
            UnavailableError: the API server is away.
            FencedError: somebody else leads now.
        """
        wanted, found = without_nulls(status), subject.status or {}
        change = merge_patch(found, wanted)
        mark = (digest(wanted), digest(found))
        if not change or self._pruned.get(subject.key) == mark:
            return False
        kind = self._own_kind()
        self._check_fence()
        body = {"metadata": _guarded(subject), "status": change}
        live = await self._client.merge(kind, subject.key, body, self._manager, subresource="status")
        self._remember(kind, live)
        self._metrics.writes.labels(kind.kind, "status", "true").inc()
        self._note_pruned(subject.key, wanted, live.get("status") or {})
        return True

    def _note_pruned(self, key: Key, wanted: Mapping[str, Any], kept: Mapping[str, Any]) -> None:
        """A field that the CRD does not know would be written for ever, so it is said and left."""
        self._pruned.pop(key, None)
        left = merge_patch(kept, wanted)
        if left:
            self._pruned[key] = (digest(wanted), digest(kept))
            log.error(
                "the API server keeps a status other than the planned one",
                extra={"controller": self._controller.name, "object": key, "differs": sorted(left)},
            )

    async def _act(self, plan: Plan, subject: Entry[Any] | None, done: _Round) -> None:
        refused = await self._write_children(plan, done)
        for gone in plan.delete:
            done.children |= await self._delete(gone)
        if refused is not None:
            raise refused
        failure = await self._perform(plan)
        if not plan.create:
            done.status = await self._report(plan, subject)
        if failure is not None:
            raise failure
        done.children |= bool(plan.effects)
        if plan.finalizers is not None and subject is not None:
            done.children |= await self._finalize(subject, plan.finalizers)

    async def _write_children(self, plan: Plan, done: _Round) -> RefusedError | None:
        """Apply all, then create. One refused child keeps neither its peers nor deletions back.

        A quota may be full only because of what is about to be deleted. But what runs once waits
        for what it stands on.
        """
        refused: RefusedError | None = None
        for manifest in plan.apply:
            try:
                done.children |= await self._apply(manifest)
            except RefusedError as error:
                refused = refused or error
        if refused is None:
            for manifest in plan.create:
                try:
                    done.children |= await self._create(manifest)
                except RefusedError as error:
                    refused = refused or error
        return refused

    async def _report(self, plan: Plan, subject: Entry[Any] | None) -> bool:
        if plan.status is None or subject is None:
            return False
        return await self.report(plan.status, subject)

    # Children.

    async def _apply(self, manifest: Manifest) -> bool:
        kind, about = self._kind(manifest, "patch"), ref(manifest)
        key, wanted = Key(about.namespace, about.name), stamped(manifest)
        live = await self._live(kind, key, manifest)
        mark = digest(wanted)
        if live is not None and self._is_so(about, live, wanted, mark):
            return False
        uid = manifest["metadata"].get("uid")
        if uid is not None and (live is None or live["metadata"].get("uid") != uid):
            return False  # The very object is gone, and a part of it must not come alone.
        body = await self._write(kind, "apply", wanted)
        self._settled[about] = (mark, settled_digest(body))
        changed = live is None or settled_digest(live) != settled_digest(body)
        self._metrics.writes.labels(kind.kind, "apply", str(changed).lower()).inc()
        return changed

    def _is_so(self, about: Ref, live: Manifest, wanted: Manifest, mark: str) -> bool:
        """Whether applying would change nothing.

        What the server rewrites in a way we cannot foresee never covers the manifest; then it
        counts that the same manifest led to this very object before.
        """
        stamp = wanted["metadata"].get("annotations", {}).get(APPLIED)
        told = (live["metadata"].get("annotations") or {}).get(APPLIED)
        if stamp == told and covers(live, wanted):
            return stamp is not None or self._settled.get(about, (mark, ""))[0] == mark
        return self._settled.get(about) == (mark, settled_digest(live))

    async def _create(self, manifest: Manifest) -> bool:
        kind, about = self._kind(manifest, "create"), ref(manifest)
        try:
            await self._write(kind, "create", manifest)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
            await self._adopt(kind, about, manifest)
            return False
        self._metrics.writes.labels(kind.kind, "create", "true").inc()
        return True

    async def _adopt(self, kind: Kind, about: Ref, manifest: Manifest) -> None:
        """Take the child that stands there already, if it is ours from an earlier life."""
        live = await self._client.get(kind, Key(about.namespace, about.name))
        if live is None:
            raise ApiError(409, "Conflict", f"{about.kind} {about.name} came and went; once more")
        if not _same_owner(live, manifest):
            raise RefusedError(
                Refusal(
                    Common.NAME_TAKEN,
                    f"{about.kind} {about.name} exists and belongs to something else: delete it or rename this object",
                )
            )
        self._remember(kind, live)

    async def _delete(self, gone: Ref) -> bool:
        kind = self._kind({"apiVersion": gone.api_version, "kind": gone.kind}, "delete")
        key = Key(gone.namespace, gone.name)
        known = [s.entry(key) for s in self._stores.of_resource(kind)]
        if any(entry is not None and entry.deleting for entry in known):
            return False
        self._check_fence()
        if not await self._client.delete(kind, key, gone.uid):
            return False
        self._settled.pop(gone, None)
        self._metrics.writes.labels(kind.kind, "delete", "true").inc()
        return True

    async def _perform(self, plan: Plan) -> Exception | None:
        """The first failure; the status must be written all the same."""
        try:
            for effect in plan.effects:
                self._check_fence()
                await self._controller.perform(effect)
        except FencedError:
            raise
        except Exception as error:  # noqa: BLE001 -- re-raised by the caller after the status
            return error
        return None

    # The object itself.

    async def _finalize(self, subject: Entry[Any], ours: tuple[str, ...]) -> bool:
        kind = self._own_kind()
        current = self._stores.newest(kind, subject.key) or subject
        wanted = [f for f in current.finalizers if not f.startswith(_OURS)] + list(ours)
        if set(wanted) == set(current.finalizers):
            return False
        self._check_fence()
        body = {"metadata": {**_guarded(current), "finalizers": wanted}}
        live = await self._client.merge(kind, subject.key, body, self._manager)
        self._remember(kind, live)
        self._metrics.writes.labels(kind.kind, "finalizers", "true").inc()
        return True

    # Ground.

    async def _write(self, kind: Kind, verb: Literal["apply", "create"], manifest: Manifest) -> dict[str, Any]:
        self._check_fence()
        about = ref(manifest)
        send = self._client.apply if verb == "apply" else self._client.create
        # Parts go under a name of their own, or they would take back the rest of the object.
        manager = f"{self._manager}-part" if "uid" in manifest["metadata"] else self._manager
        try:
            body = await send(kind, manifest, manager)
        except ApiError as error:
            if error.refused:
                said = refusal(error, verb, f"{about.kind} {about.name}")
                raise RefusedError(said) from error
            raise
        self._remember(kind, body)
        return body

    async def _live(self, kind: Kind, key: Key, manifest: Manifest) -> Manifest | None:
        """The live object from a store, or from the server where no store can tell."""
        for store in self._stores.of_resource(kind):
            entry = store.entry(key)
            if entry is not None and entry.raw is not None:
                return entry.raw
            complete = store.source.type is dict and store.synced and not store.source.fields
            if complete and matches(store.source.labels, manifest["metadata"]):
                return None
        return await self._client.get(kind, key)

    def _remember(self, kind: Kind, body: Manifest) -> None:
        """Read your own writes: what the server answered is what the next round sees."""
        for store in self._stores.of_resource(kind):
            if not store.source.fields and matches(store.source.labels, body["metadata"]):
                store.upsert(entry_of(store.source, body))

    def _check_fence(self) -> None:
        if not self._fence():
            raise FencedError("another replica may lead by now")

    def _own_kind(self) -> Kind:
        if self._controller.kind is None:
            raise UndeclaredError(f"{self._controller.name} has no kind, so it has no status")
        return gyre(self._controller.kind)

    def _kind(self, manifest: Mapping[str, Any], verb: str) -> Kind:
        kind = self._kinds.get((manifest["apiVersion"], manifest["kind"]))
        granted = any(g.kind == kind and verb in g.verbs and not g.subresource for g in self._controller.grants)
        if kind is None or not granted:
            what = f"{manifest['apiVersion']} {manifest['kind']}"
            raise UndeclaredError(f"{self._controller.name} has no grant to {verb} {what}")
        return kind


def _kinds_of(controller: Controller[Any]) -> list[Kind]:
    return [*(g.kind for g in controller.grants), *(w.kind for w in controller.children)]


def _guarded(subject: Entry[Any]) -> dict[str, Any]:
    return {"resourceVersion": str(subject.version), "uid": subject.uid}


def _same_owner(live: Manifest, manifest: Manifest) -> bool:
    wanted = {o["uid"] for o in manifest["metadata"].get("ownerReferences", [])}
    found = {o["uid"] for o in live["metadata"].get("ownerReferences", [])}
    return wanted <= found
