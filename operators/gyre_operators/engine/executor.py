"""Carries plans out: only what differs, in the order that survives a kill at any point."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gyre_operators.engine.children import Children
from gyre_operators.engine.differ import digest
from gyre_operators.engine.plan import Key, Plan
from gyre_operators.engine.report import merge_patch, without_nulls
from gyre_operators.engine.store import Entry
from gyre_operators.engine.writer import FencedError, RefusedError, Writer

log = logging.getLogger(__name__)

_OURS = "gyre.dev/"


@dataclass(slots=True)
class _Round:
    """What one carrying out changed."""

    status: bool = False
    children: bool = False


class Executor:
    """Carries out the plans of one controller."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._children = Children(writer)
        self.settled: Key | None = None
        """Whose status a store is being told of this very moment, after a plan that leaves nothing to do."""
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
            done.status = await self._report(plan, subject, done)
        if not withheld:
            await self._act(plan, subject, done)
        return done.status or done.children

    async def report(self, status: Mapping[str, Any], subject: Entry[Any], *, settles: bool = False) -> bool:
        """Write a whole status, if it differs; True when it did. With `settles`, nothing is left to do then.

        Raises:
            ApiError: reason Conflict when the object changed since it was observed.
            UnavailableError: the API server is away.
            FencedError: somebody else leads now.
        """
        wanted, found = without_nulls(status), subject.status or {}
        change = merge_patch(found, wanted)
        # Two rounds in three change nothing: what costs comes after that is known.
        if not change or self._pruned.get(subject.key) == (digest(wanted), digest(found)):
            return False
        live = await self._merge(subject, {"status": change}, "status", settles=settles)
        self._note_pruned(subject.key, wanted, live.get("status") or {})
        return True

    def is_last(self, plan: Plan) -> bool:
        """Whether nothing but time and others bring more to do after this plan."""
        return self._writer.controller.settles and not plan.changes

    def forget(self, key: Key) -> None:
        """The object is gone."""
        self._pruned.pop(key, None)

    def _note_pruned(self, key: Key, wanted: Mapping[str, Any], kept: Mapping[str, Any]) -> None:
        """A field that the CRD does not know would be written for ever, so it is said and left."""
        self._pruned.pop(key, None)
        left = merge_patch(kept, wanted)
        if left:
            self._pruned[key] = (digest(wanted), digest(kept))
            name = self._writer.controller.name
            log.error(
                "the API server keeps a status other than the planned one",
                extra={"controller": name, "object": key, "differs": sorted(left)},
            )

    async def _act(self, plan: Plan, subject: Entry[Any] | None, done: _Round) -> None:
        refused = await self._write_children(plan, done)
        for gone in plan.delete:
            done.children |= await self._children.delete(gone)
        if refused is not None:
            raise refused
        failure = await self._perform(plan)
        if not plan.create:
            done.status = await self._report(plan, subject, done)
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
                done.children |= await self._children.apply(manifest)
            except RefusedError as error:
                refused = refused or error
        if refused is None:
            for manifest in plan.create:
                try:
                    done.children |= await self._children.create(manifest)
                except RefusedError as error:
                    refused = refused or error
        return refused

    async def _perform(self, plan: Plan) -> Exception | None:
        """The first failure; the status must be written all the same."""
        try:
            for effect in plan.effects:
                self._writer.check_fence()
                await self._writer.controller.perform(effect)
        except FencedError:
            raise
        except Exception as error:  # noqa: BLE001 -- re-raised by the caller after the status
            return error
        return None

    async def _report(self, plan: Plan, subject: Entry[Any] | None, done: _Round) -> bool:
        if plan.status is None or subject is None:
            return False
        rests = plan.rests and not (plan.create or plan.effects or done.children)
        return await self.report(plan.status, subject, settles=rests or self.is_last(plan))

    async def _finalize(self, subject: Entry[Any], ours: tuple[str, ...]) -> bool:
        # The status may have been written a moment ago, so the observed version is too old.
        current = self._writer.stores.newest(self._writer.own_kind(), subject.key) or subject
        wanted = [f for f in current.finalizers if not f.startswith(_OURS)] + list(ours)
        if set(wanted) == set(current.finalizers):
            return False
        await self._merge(current, {"metadata": {"finalizers": wanted}}, "")
        return True

    async def _merge(
        self, subject: Entry[Any], change: dict[str, Any], subresource: str, *, settles: bool = False
    ) -> dict[str, Any]:
        """Change the object itself, over the version that was observed and no other."""
        kind = self._writer.own_kind()
        self._writer.check_fence()
        guard = {"resourceVersion": str(subject.version), "uid": subject.uid}
        live = await self._writer.client.merge(
            kind,
            subject.key,
            {**change, "metadata": {**change.get("metadata", {}), **guard}},
            self._writer.manager,
            subresource=subresource,
        )
        self.settled = subject.key if settles else None
        self._writer.remember(kind, live)
        self.settled = None
        self._writer.count(kind, subresource or "finalizers")
        return live
