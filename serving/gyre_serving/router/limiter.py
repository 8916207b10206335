"""How many requests of a service run at once, and how many may wait for their turn."""

import asyncio
from collections import deque
from typing import Protocol


class Waiting(Protocol):
    """A request that can wait."""

    cancelled: bool

    def run(self) -> None:
        """Go: a slot is yours."""


class Limiter:
    """`limit` at once, as many again in the queue, first come first served."""

    __slots__ = ("_loop", "active", "limit", "queue")

    def __init__(self, limit: int, loop: asyncio.AbstractEventLoop) -> None:
        self.limit = limit
        self.active = 0
        self.queue: deque[Waiting] = deque()
        self._loop = loop

    def enter(self, request: Waiting) -> bool | None:
        """True: a slot is taken, run now. False: queued, `run` comes later. None: full, refuse."""
        if self.active < self.limit and not self.queue:
            self.active += 1
            return True
        if len(self.queue) < self.limit:
            self.queue.append(request)
            return False
        return None

    def leave(self) -> None:
        """Give a slot back; the next in line gets it."""
        self.active -= 1
        while self.queue and self.active < self.limit:
            request = self.queue.popleft()
            if not request.cancelled:
                self.active += 1
                # Not from here: a run that fails at once would leave again, as deep as the queue is long.
                self._loop.call_soon(request.run)

    def drop(self, request: Waiting) -> None:
        """Take a request that gave up out of the queue."""
        if request in self.queue:
            self.queue.remove(request)
