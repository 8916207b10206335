"""Which revision a key gets: weighted rendezvous hashing.

Each revision draws an exponential race time from hash(salt, revision, key), divided by its weight;
the smallest wins. So the chance is exactly weight / sum of weights, the order in the table does not
matter, and a key on the candidate stays there while the candidate's weight grows and the others'
fall: its own race time only shrinks, theirs only grow.
"""

from collections.abc import Sequence
from hashlib import blake2b
from math import inf, log

_SCALE = 2.0**-64


class Lot:
    """One revision's part in the draw."""

    __slots__ = ("_seed", "weight")

    def __init__(self, salt: str, revision: str, weight: float) -> None:
        self.weight = weight
        self._seed = blake2b(f"{salt}\0{revision}\0".encode(), digest_size=8)

    def race(self, key: bytes) -> float:
        """The race time of a key; smaller is better. The weight must be positive."""
        draw = self._seed.copy()
        draw.update(key)
        # The half keeps the logarithm's argument off zero.
        uniform = (int.from_bytes(draw.digest(), "big") + 0.5) * _SCALE
        return -log(uniform) / self.weight


def winner(lots: Sequence[Lot], key: bytes) -> int:
    """Index of the lot that the key draws; `lots` are all of positive weight and at least one."""
    best, found = inf, 0
    for index, lot in enumerate(lots):
        time = lot.race(key)
        if time < best:
            best, found = time, index
    return found
