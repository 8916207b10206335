"""Reconciling with an operator that dies between any two writes."""

from collections.abc import Iterator
from datetime import datetime

from gyre_operators.engine.plan import Key, Plan
from gyre_operators.engine.testing import World


def writes(plan: Plan) -> Iterator[Plan]:
    """The plan cut into its writes, in the order in which the executor makes them."""
    status = [Plan(status=plan.status)] if plan.status is not None else []
    if plan.create:
        yield from status
    yield from (Plan(apply=(manifest,)) for manifest in plan.apply)
    yield from (Plan(create=(manifest,)) for manifest in plan.create)
    yield from (Plan(delete=(ref,)) for ref in plan.delete)
    yield from (Plan(effects=(effect,)) for effect in plan.effects)
    if not plan.create:
        yield from status


class Crash(Exception):  # noqa: N818  it is the operator's end, not an error
    """The operator was killed."""


class Killer:
    """Lets so many writes through, then kills the operator before the next one."""

    def __init__(self, world: World, after: int) -> None:
        self.world = world
        self.left = after
        self.made = 0

    async def settle(self, key: Key, now: datetime, *, rounds: int = 20) -> None:
        """Reconcile to rest.

        Raises:
            Crash: the writes are used up.
            AssertionError: there is no rest.
        """
        for _ in range(rounds):
            plan = await self.world.plan(key, now)
            if plan is None or not await self._carry_out(key, plan):
                return
        raise AssertionError(f"no rest after {rounds} rounds")

    async def _carry_out(self, key: Key, plan: Plan) -> bool:
        changed = False
        for write in writes(plan):
            if self.left == 0:
                raise Crash
            if await self.world.carry_out(key, write):
                self.left -= 1
                self.made += 1
                changed = True
        return changed
