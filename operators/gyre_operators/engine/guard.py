"""Calls to systems that may be away: a time limit, bounded concurrency, and a breaker."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


class UnavailableError(Exception):
    """A system is away. The text is one sentence for a condition: who, and what it said."""

    def __init__(self, system: str, sentence: str) -> None:
        super().__init__(f"{system} is away: {sentence}")
        self.system = system
        self.sentence = sentence


class Guard:
    """Wraps each call to one system.

    At most `limit` calls run at a time, each at most `timeout` seconds. After `threshold` failures
    in a row the breaker opens: for `pause` seconds calls fail at once with the last sentence, then
    one is let through to try.
    """

    def __init__(
        self,
        system: str,
        *,
        timeout: float = 10.0,
        limit: int = 8,
        threshold: int = 5,
        pause: float = 15.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.system = system
        self._timeout = timeout
        self._limit = asyncio.Semaphore(limit)
        self._threshold = threshold
        self._pause = pause
        self._clock = clock
        self._failures = 0
        self._open_until = 0.0
        self._last = ""

    async def __call__(self, call: Callable[[], Awaitable[T]], *faults: type[Exception]) -> T:
        """The call's result.

        `faults` are the exceptions that mean "away" beyond OSError and time-outs; all others are
        the caller's own and pass through without touching the breaker.

        Raises:
            UnavailableError: the system is away, or was a moment ago.
        """
        if self._clock() < self._open_until:
            raise UnavailableError(self.system, self._last)
        async with self._limit:
            try:
                async with asyncio.timeout(self._timeout):
                    result = await call()
            except TimeoutError:
                raise self._failed(f"no answer within {self._timeout:g} s") from None
            except Exception as error:
                if not isinstance(error, (OSError, *faults)):
                    raise
                raise self._failed(str(error) or type(error).__name__) from error
        self._failures = 0
        return result

    def _failed(self, sentence: str) -> UnavailableError:
        self._failures += 1
        self._last = sentence
        if self._failures >= self._threshold:
            self._open_until = self._clock() + self._pause
        return UnavailableError(self.system, sentence)
