"""Which request is a sticky key's first since the weights changed: it alone is evidence of how the key fares."""

from collections.abc import Mapping

MOST = 65536
"""Keys remembered of a service: about 5 MB."""


class Keys:
    """The keys that were met. Beyond `MOST` only a share of all keys is looked at, by their hash.

    The share is one for all revisions, so that they stay comparable, and halves each time: a key that
    is looked at later was looked at before, and none counts twice.
    """

    __slots__ = ("_mask", "_met", "_weights")

    def __init__(self) -> None:
        self._met: set[int] = set()
        self._mask = 0
        self._weights: Mapping[str, int] = {}

    def follow(self, weights: Mapping[str, int]) -> None:
        """Forget all keys where the weights are others: keys moved, and each side is judged anew."""
        if weights != self._weights:
            self._weights = dict(weights)
            self._met = set()
            self._mask = 0

    def first(self, key: bytes | None, request_id: str) -> bool:
        """Whether this is the key's first request, of those that are looked at.

        Without a key the request's id is one, which nobody meets again.
        """
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
