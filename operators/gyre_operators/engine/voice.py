"""What the engine itself says on an object, in its status, as events and in the log."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gyre_crds.reasons import Common
from gyre_operators.engine.clock import Clock
from gyre_operators.engine.controller import Controller
from gyre_operators.engine.executor import Executor
from gyre_operators.engine.kinds import gyre
from gyre_operators.engine.plan import Event, Key, Plan, Ref
from gyre_operators.engine.recorder import Recorder
from gyre_operators.engine.report import Refusal, overlaid
from gyre_operators.engine.store import Entry

log = logging.getLogger(__name__)


class Voice:
    """Speaks for one controller."""

    def __init__(self, controller: Controller[Any], executor: Executor, recorder: Recorder, clock: Clock) -> None:
        self._controller = controller
        self._executor = executor
        self._recorder = recorder
        self._clock = clock

    async def invalid(self, subject: Entry[Any]) -> None:
        """The object does not parse: Ready=False with the field's path."""
        said = Refusal(Common.INVALID_SPEC, f"Correct {subject.error}")
        await self._say(subject.status or {}, subject, said)

    async def refused(self, plan: Plan, subject: Entry[Any], said: Refusal) -> None:
        """A child was refused: Ready=False over whatever the plan says."""
        status = plan.status if plan.status is not None else subject.status or {}
        await self._say(status, subject, said)

    def still_refused(self, plan: Plan, subject: Entry[Any], said: Refusal) -> Plan:
        """The plan that keeps saying the refusal until a round goes without one.

        Otherwise the status would flap between the plan's and the engine's.
        """
        status = plan.status if plan.status is not None else subject.status or {}
        return replace(plan, status=self._overlaid(status, subject, said))

    def announce(self, subject: Entry[Any], event: Event) -> None:
        """One event and one line in the log, unless it was said a moment ago."""
        if self._controller.kind is None:
            return
        kind, key = gyre(self._controller.kind), subject.key
        about = Ref(kind.api_version, kind.kind, key.namespace, key.name, subject.uid)
        if self._recorder.record(about, event, self._controller.name):
            level = logging.WARNING if event.type == "Warning" else logging.INFO
            log.log(level, event.message, extra={**self.about(key), "reason": event.reason})

    def about(self, key: Key) -> dict[str, str]:
        """The fields that every line about an object has."""
        name = self._controller.name
        return {"controller": name, "namespace": key.namespace, "object": key.name}

    async def _say(self, status: Mapping[str, Any], subject: Entry[Any], said: Refusal) -> None:
        if await self._executor.report(self._overlaid(status, subject, said), subject):
            self.announce(subject, Event(str(said.reason), said.message, "Warning"))

    def _overlaid(self, status: Mapping[str, Any], subject: Entry[Any], said: Refusal) -> dict[str, Any]:
        old = (subject.status or {}).get("conditions") or []
        return overlaid(status, said, old=old, generation=subject.generation, now=self._clock())
