"""Where a stream's parts come from: a folder, a file or a store prefix."""

import math
import time
from pathlib import Path

from gyre_monitoring import parts
from gyre_monitoring.errors import InputError
from gyre_monitoring.parts import Parts
from gyre_monitoring.store import Store

_SETTLED = 2.0
"""Seconds since its last write after which a file of a folder counts as whole."""
_PARQUET = (".parquet", ".pq")


class Source:
    """Names of parts that are there, and how to read them."""

    def __init__(self, place: str) -> None:
        self._store = Store() if "://" in place else None
        self.place = place.rstrip("/") if self._store else str(Path(place).absolute())
        self._given = place
        if self._store is None and not Path(place).exists():
            raise InputError(f"{place} does not exist")

    def names(self) -> list[str]:
        """All parts below the place by name."""
        if self._store is not None:
            uris = self._store.list(self.place)
            return [uri.removeprefix(f"{self.place}/") for uri in uris if uri.endswith(_PARQUET)]
        root = Path(self._given)
        files = sorted(one for one in root.rglob("*") if one.suffix in _PARQUET) if root.is_dir() else [root]
        return [str(one.relative_to(root)) for one in files if _written(one) < math.inf]

    def is_whole(self, name: str) -> bool:
        """Whether nobody writes the part any more; an object is put whole."""
        return self._store is not None or _written(Path(self._given) / name) <= time.time() - _SETTLED

    def open(self, name: str) -> Parts:
        """One part."""
        if self._store is None:
            return parts.local([Path(self._given) / name])
        return parts.single(self._store, self.place if name == self.place else f"{self.place}/{name}")


def _written(path: Path) -> float:
    """Time of the last write; of what went away since it was listed, never."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return math.inf
