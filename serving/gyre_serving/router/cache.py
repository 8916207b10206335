"""Answers of one service that may be given again, bounded in bytes and in time."""

import time
from collections import Counter as Tally
from collections.abc import Callable
from typing import Any, NamedTuple

from cachetools import TTLCache

from gyre_crds.contracts.routing import CacheRule

_OVERHEAD = 512
"""Bytes that an entry takes beside its answer: keys, links and objects."""


class Kept(NamedTuple):
    """A V2 answer, without the value of its id where it has one."""

    before: bytes
    after: bytes | None
    """What follows the id; None where the answer has none."""
    since: float
    """Monotonic time at which the model gave it."""

    def body(self, identity: bytes) -> bytes:
        """The answer with the caller's id, a JSON string."""
        return self.before if self.after is None else self.before + identity + self.after


class Cache:
    """Least recently used answers go first; each goes when its time, stale too, is over."""

    def __init__(self, rule: CacheRule, results: Tally[str], clock: Callable[[], float] = time.monotonic) -> None:
        self.rule = rule
        self._results = results
        self._clock = clock
        self._kept = _Bounded(rule, results, clock)

    def get(self, key: bytes) -> Kept | None:
        """The answer while it is fresh; counted as a hit or a miss."""
        found: Kept | None = self._kept.get(key)
        if found is not None and self._clock() - found.since >= self.rule.ttl_seconds:
            found = None
        self._results["miss" if found is None else "hit"] += 1
        return found

    def last(self, key: bytes) -> Kept | None:
        """The answer as long as it may stand in for a model that does not answer; counted where there is one."""
        found: Kept | None = self._kept.get(key)
        self._results["stale"] += found is not None
        return found

    def put(self, key: bytes, kept: Kept) -> None:
        """Keep an answer; one that is larger than the whole cache is left out."""
        if _size(kept) <= self.rule.max_bytes:
            self._kept[key] = kept

    def bypass(self) -> None:
        """Count a question that was not put to the cache."""
        self._results["bypass"] += 1

    def size(self) -> int:
        """Bytes held."""
        self._kept.expire()
        return int(self._kept.currsize)


class _Bounded(TTLCache[bytes, Kept]):
    """Counts what it lets go of."""

    def __init__(self, rule: CacheRule, results: Tally[str], clock: Callable[[], float]) -> None:
        seconds = rule.ttl_seconds + rule.stale_if_error_seconds
        super().__init__(rule.max_bytes, seconds, timer=clock, getsizeof=_size)
        self._results = results

    def popitem(self) -> tuple[bytes, Kept]:
        """Make room: the answer unused for longest goes."""
        self._results["evicted"] += 1
        return super().popitem()

    def expire(self, time: float | None = None) -> Any:
        """Let go of what is too old."""
        gone = super().expire(time)
        if gone:
            self._results["expired"] += len(gone)
        return gone


def _size(kept: Kept) -> int:
    return len(kept.before) + len(kept.after or b"") + _OVERHEAD
