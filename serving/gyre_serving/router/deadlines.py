"""Deadlines of requests that may all take equally long.

A timer of the event loop for each request costs about as much CPU as choosing its version does. Of
requests with the same patience the first to come is the first to expire, so one timer, set for the
oldest, serves them all.
"""

import asyncio
from typing import Protocol

_GRAIN = 0.001
"""The loop's clock counts whole milliseconds: what is due by so little is due."""


class Waiting(Protocol):
    """What has a deadline."""

    def expired(self) -> None:
        """It passed."""


class Deadlines:
    """The deadlines of what may take `seconds` from now on."""

    __slots__ = ("_armed", "_loop", "_waiting", "seconds")

    def __init__(self, seconds: float, loop: asyncio.AbstractEventLoop) -> None:
        self.seconds = seconds
        self._loop = loop
        self._armed = False
        self._waiting: dict[Waiting, float] = {}
        """In the order of their deadlines, loop seconds."""

    def add(self, one: Waiting, now: float) -> None:
        """Tell `one` in `seconds` from `now`, unless it is dropped before."""
        self._waiting[one] = now + self.seconds
        if not self._armed:
            self._armed = True
            self._loop.call_later(self.seconds, self._ring)

    def drop(self, one: Waiting) -> None:
        """It ended in time."""
        self._waiting.pop(one, None)

    def _ring(self) -> None:
        now = self._loop.time()
        while self._waiting:
            one, due = next(iter(self._waiting.items()))
            if due > now + _GRAIN:
                self._loop.call_at(due, self._ring)
                return
            del self._waiting[one]
            self._loop.call_soon(one.expired)
        self._armed = False
