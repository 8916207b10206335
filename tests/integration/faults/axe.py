"""Kills the operator right before or right after one of its writes to the API server or to MLflow."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Literal

from tests.integration.engine.proxy import Proxy, Request
from tests.integration.faults.nursery import ForkedOperator
from tests.integration.faults.story import PATIENCE

Moment = Literal["before", "after"]
_LIVES = 200
"""No story of these tests has half as many writes, each met twice."""
MOMENTS: tuple[Moment, ...] = ("before", "after")


async def _at_once() -> bool:
    return True


class Axe:
    """Hooked into every proxy that the operator writes through."""

    def __init__(self, operator: ForkedOperator, *proxies: Proxy) -> None:
        self._operator = operator
        self._moment: Moment | None = None
        self._fallen = asyncio.Event()
        self.struck: list[tuple[Moment, Request]] = []
        """Every kill by the axe, and at which write."""
        for proxy in proxies:
            proxy.before, proxy.after = self._before, self._after

    def raise_(self, moment: Moment) -> None:
        """The next write is the operator's last: it never arrives, or its answer is never heard."""
        self._moment = moment
        self._fallen.clear()

    async def falls(self, seconds: float) -> bool:
        """Wait for the kill; False, and the axe put down, when so long nothing was written."""
        try:
            async with asyncio.timeout(seconds):
                await self._fallen.wait()
        except TimeoutError:
            self._moment = None
            return False
        return True

    async def every_write(
        self,
        is_over: Callable[[], Awaitable[bool]],
        rest: float,
        is_answered: Callable[[], Awaitable[bool]] = _at_once,
    ) -> None:
        """Lives that end before and after their first write in turn, until all is done or `rest` s without a write.

        A write that never arrived is the first of the next life, so each is met both ways. The last
        operator lives. A rest ends nothing before `is_answered`: on a busy machine the next write comes late.

        Raises:
            AssertionError: there is no end of writes.
            TimeoutError: nothing was written any more, and it is not answered.
        """
        for moment in itertools.islice(itertools.cycle(MOMENTS), _LIVES):
            self.raise_(moment)
            if not self._operator.alive:
                await self._operator.start()
            async with asyncio.timeout(PATIENCE + rest):
                while not await self.falls(rest):
                    if await is_answered():
                        return
                    self.raise_(moment)
            if await is_over():
                await self._operator.start()
                return
        last = [f"{at} {request.method} {request.path}" for at, request in self.struck[-6:]]
        raise AssertionError(f"still something to write after {_LIVES} lives: {last}")

    async def _before(self, request: Request) -> None:
        await self._strike("before", request)
        if not self._operator.alive:
            # What a dead process had not sent yet never arrives.
            raise asyncio.CancelledError

    async def _after(self, request: Request) -> None:
        await self._strike("after", request)

    async def _strike(self, moment: Moment, request: Request) -> None:
        if self._moment != moment or not self._operator.alive:
            return
        # Events are news. And whoever had the proxy's port before may still be called on it.
        if "/events" in request.path or not request.path.startswith("/api"):
            return
        self._moment = None
        self.struck.append((moment, request))
        await self._operator.kill()
        self._fallen.set()
