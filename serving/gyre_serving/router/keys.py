"""Which request is a sticky key's first since the weights changed: it alone is evidence of how the key fares."""

from collections.abc import Callable, Mapping
from time import monotonic

MOST = 65536
"""Keys remembered of a service: about 5 MB."""

GRACE = 5.0
"""Seconds after a change of weights before keys count. The operator looks for the new weights once a second and counts
from what it finds then: of few keys that ask all the time, each would have had its only outcome before that."""


class Keys:
    """The keys that were met. Beyond `MOST` only a share of all keys is looked at, by their hash.

    The share is one for all revisions, so that they stay comparable, and halves each time: a key that
    is looked at later was looked at before, and none counts twice.
    """

    __slots__ = ("_clock", "_mask", "_met", "_since", "_weights")

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._since: float | None = None
        """When keys begin to count; None once they do."""
        self._met: set[int] = set()
        self._mask = 0
        self._weights: Mapping[str, int] = {}

    def follow(self, weights: Mapping[str, int]) -> None:
        """Forget all keys where the weights are others: keys moved, and each side is judged anew."""
        if weights != self._weights:
            self._weights = dict(weights)
            self._since = self._clock() + GRACE
            self._met = set()
            self._mask = 0

    def first(self, key: bytes | None, request_id: str) -> bool:
        """Whether this is the key's first request that counts, of those that are looked at.

        Without a key the request's id is one, which nobody meets again.
        """
        if self._since is not None:
            if self._clock() < self._since:
                return False
            self._since = None
        if key is None:
            return not hash(request_id) & self._mask
        value = hash(key)
        if value & self._mask or value in self._met:
            return False
        if len(self._met) >= MOST:
            self._mask = self._mask * 2 + 1
            self._met = {one for one in self._met if not one & self._mask}
            if value & self._mask:
                return False
        self._met.add(value)
        return True
