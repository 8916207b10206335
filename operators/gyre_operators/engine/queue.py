"""A keyed work queue with client-go's semantics.

A key that waits is held once, however often it is added. A key that is being worked on is not
handed out again; added meanwhile, it comes back when its worker is done. Failed keys come back
after an exponential backoff with jitter, and delayed ones when their time has come. A key may be held
for a moment, so that several changes of the things around it cost one look.
"""

import asyncio
import contextlib
import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable
from enum import IntEnum

from gyre_operators.engine.metrics import QueueMetrics
from gyre_operators.engine.plan import Key


class Priority(IntEnum):
    """What is handed out first: a change somebody waits for, before a look out of habit."""

    CHANGE = 0
    ROUTINE = 1


class QueueClosedError(Exception):
    """The queue is shut down and hands out nothing more."""


class WorkQueue:
    """The keys that one controller has to look at. Lives on one event loop."""

    def __init__(
        self,
        metrics: QueueMetrics,
        *,
        base: float = 0.005,
        cap: float = 300.0,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Backoffs grow from `base` to `cap` seconds; `jitter` gives numbers in [0, 1)."""
        self._metrics = metrics
        self._base = base
        self._cap = cap
        self._jitter = jitter
        self._order = itertools.count()
        self._ready: list[tuple[Priority, int, Key]] = []
        self._dirty: dict[Key, tuple[Priority, float]] = {}
        self._processing: dict[Key, float] = {}
        self._waiting: list[tuple[float, int, Key]] = []
        self._due: dict[Key, float] = {}
        self._held: dict[Key, float] = {}
        self._failures: dict[Key, int] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._armed = float("inf")
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._idle = asyncio.Event()
        self._idle.set()
        self._closed = False

    def __len__(self) -> int:
        return len(self._dirty)

    @property
    def processing(self) -> dict[Key, float]:
        """The keys at work and the loop time at which each began."""
        return dict(self._processing)

    def add(self, key: Key, priority: Priority = Priority.CHANGE) -> None:
        """Have `key` looked at as soon as a worker is free."""
        if self._closed:
            return
        was = self._dirty.get(key)
        if was is not None and was[0] <= priority:
            return
        self._dirty[key] = (priority, was[1] if was else _now())
        if was is None:
            self._metrics.added(len(self._dirty))
        if key not in self._processing:
            self._push(key, priority)

    def add_soon(self, key: Key, hold: float) -> None:
        """Have `key` looked at in `hold` seconds, or with the next look at it that begins earlier.

        A look out of habit that waits already becomes one at a change: it may wait behind thousands of its like.
        """
        if key in self._dirty:
            self.add(key)
            return
        if self._closed or key in self._held:
            return
        self._held[key] = _now() + hold
        self._wait(key, self._held[key])

    def add_after(self, key: Key, delay: float) -> None:
        """Have `key` looked at in `delay` seconds, or earlier if that was asked for already."""
        if self._closed:
            return
        if delay <= 0:
            self.add(key)
            return
        when = _now() + delay
        if self._due.get(key, when + 1) <= when:
            return
        self._due[key] = when
        self._wait(key, when)

    def retry(self, key: Key) -> float:
        """Have `key` looked at after its backoff, which doubles each time; the delay in seconds."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        self._metrics.retried()
        # The exponent is bounded because 2.0**1024 overflows long before anyone stops retrying.
        ceiling = min(self._cap, self._base * 2.0 ** min(failures, 60))
        delay = ceiling * (0.5 + 0.5 * self._jitter())
        self.add_after(key, delay)
        return delay

    def forget(self, key: Key) -> None:
        """Start the backoff of `key` anew: it went well, or it is gone."""
        self._failures.pop(key, None)

    def failures(self, key: Key) -> int:
        """How often `key` failed in a row."""
        return self._failures.get(key, 0)

    async def get(self) -> Key:
        """The next key; `done` must be called for it.

        Raises:
            QueueClosedError: the queue was closed.
        """
        while True:
            if self._closed:
                raise QueueClosedError
            key = self._pop()
            if key is not None:
                return key
            await self._turn()

    def done(self, key: Key) -> None:
        """The worker is through with `key`, whatever came of it."""
        began = self._processing.pop(key)
        self._metrics.worked(_now() - began)
        again = self._dirty.get(key)
        if again is not None:
            self._push(key, again[0])
        if not self._processing:
            self._idle.set()

    async def close(self, *, drain: float) -> bool:
        """Hand out nothing more and wait `drain` seconds for what is at work; whether it ended."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        while self._waiters:
            self._wake_one()
        try:
            async with asyncio.timeout(drain):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    def _push(self, key: Key, priority: Priority) -> None:
        heapq.heappush(self._ready, (priority, next(self._order), key))
        self._wake_one()

    async def _turn(self) -> None:
        """Until there may be a key for this worker."""
        turn = asyncio.get_running_loop().create_future()
        self._waiters.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                with contextlib.suppress(ValueError):
                    self._waiters.remove(turn)
            else:
                self._wake_one()  # Its key is for the next one in the row.
            raise

    def _wake_one(self) -> None:
        """One key wakes one worker: with all of them awake, sixteen would run for each."""
        while self._waiters:
            turn = self._waiters.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    def _pop(self) -> Key | None:
        while self._ready:
            priority, _, key = heapq.heappop(self._ready)
            wanted = self._dirty.get(key)
            # A key whose priority was raised lies in the heap twice; only the raised one counts.
            if wanted is None or wanted[0] != priority or key in self._processing:
                continue
            del self._dirty[key]
            # This look sees what it was held for.
            self._held.pop(key, None)
            self._processing[key] = _now()
            self._idle.clear()
            self._metrics.taken(len(self._dirty), _now() - wanted[1])
            return key
        return None

    def _wait(self, key: Key, when: float) -> None:
        heapq.heappush(self._waiting, (when, next(self._order), key))
        self._arm()

    def _arm(self) -> None:
        """Have the timer ring for the first key that waits; one set for it already is left alone."""
        if not self._waiting or self._waiting[0][0] >= self._armed:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._armed = self._waiting[0][0]
        self._timer = asyncio.get_running_loop().call_at(self._armed, self._release)

    def _release(self) -> None:
        self._armed = float("inf")
        # The loop may fire a timer within its clock's resolution early; re-arming covers that.
        now = _now()
        while self._waiting and self._waiting[0][0] <= now:
            when, _, key = heapq.heappop(self._waiting)
            for deadlines in (self._due, self._held):
                if deadlines.get(key) == when:
                    del deadlines[key]
                    self.add(key)
        self._arm()


def _now() -> float:
    return asyncio.get_running_loop().time()
