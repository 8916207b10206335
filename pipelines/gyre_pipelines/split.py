"""Which rows never train: decided by hash of the key, so it depends on neither order, file nor machine."""

import hashlib

_SPLIT = b"gyre.split.v1\n"
_RANK = b"gyre.rank.v1\n"
_RANGE = 2**64


def is_held_out(key: str, share: float) -> bool:
    """Whether the row of this key is held out, at a share between 0 and 1.

    A larger share holds out a superset of what a smaller one does.
    """
    return _number(_SPLIT, key) < share * _RANGE


def rank(key: str) -> int:
    """A fixed random order of keys, independent of the split: the first n are a fair sample."""
    return _number(_RANK, key)


def _number(salt: bytes, key: str) -> int:
    return int.from_bytes(hashlib.sha256(salt + key.encode()).digest()[:8], "big")
