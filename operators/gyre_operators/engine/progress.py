"""How long it takes from a change of spec to rest: the number a user of an operator feels."""

import asyncio
from typing import Any

from gyre_operators.engine.controller import Controller
from gyre_operators.engine.metrics import Metrics
from gyre_operators.engine.plan import Key
from gyre_operators.engine.store import Entry, Store


class Convergence:
    """Measures each new generation of one kind until the first round that changes nothing."""

    def __init__(self, metrics: Metrics, controller: Controller[Any]) -> None:
        kind = controller.kind
        self._time = metrics.converge_time.labels(kind.KIND) if kind is not None else None
        self._since: dict[Key, float] = {}

    def changed(self, store: Store[Any], old: Entry[Any] | None, new: Entry[Any] | None) -> None:
        """A store listener: a new spec starts the watch, unless it runs already."""
        if new is None or not store.synced:
            # What was there before the operator came says nothing about how fast it is.
            return
        if old is None or old.generation != new.generation:
            self._since.setdefault(new.key, asyncio.get_running_loop().time())

    def rested(self, key: Key) -> None:
        """A round changed nothing."""
        since = self._since.pop(key, None)
        if since is not None and self._time is not None:
            self._time.observe(asyncio.get_running_loop().time() - since)

    def forget(self, key: Key) -> None:
        """The object is gone or none of ours."""
        self._since.pop(key, None)
