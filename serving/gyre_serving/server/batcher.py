"""Micro-batching: requests that wait together are answered together."""

import asyncio
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gyre_serving.pod.failure import one_line
from gyre_serving.server.errors import Late, ModelError, Overloaded
from gyre_serving.server.metrics import Metrics
from gyre_serving.server.workers import Done

Array = NDArray[Any]
Outputs = dict[str, Array]

_FINEST_TIMER = 0.001
"""Seconds; the loop's clock is no finer."""


class Runner(Protocol):
    """Threads or processes that run the model."""

    count: int

    def start(self, inputs: Mapping[str, Array], done: Done) -> None:
        """Run a batch; `done` is called in the loop with the outputs or the exception."""

    def hung(self, seconds: float) -> int:
        """How many have been of no use for longer than this."""


@dataclass(slots=True, eq=False)
class Item:
    """One request."""

    inputs: Mapping[str, Array]
    rows: int
    future: asyncio.Future[Outputs]
    since: float = field(default_factory=time.monotonic)
    alone: bool = False
    """Never joined: it was in a batch that failed."""


@dataclass(frozen=True)
class Limits:
    """What the batcher keeps to."""

    max_rows: int
    """Rows of a batch; a larger request is a batch of its own."""
    max_delay: float
    """Seconds a request waits for company at most."""
    deadline: float
    """Seconds until a request is answered in any case."""
    queue: int = 1024
    """Requests that wait at most."""


class Batcher:
    """Collects requests and hands them to the workers.

    A request goes at once while a worker is idle and none other is in flight. Otherwise it waits until the batch is
    full, or `max_delay` has passed, or as long as the model takes for a batch: to wait longer than the answer
    itself takes can only be slower.

    Args:
        workers: what runs the model.
        limits: sizes and times.
        joins: whether requests may be joined along the first dimension.
        metrics: batch sizes and waiting times go here.
    """

    def __init__(self, workers: Runner, limits: Limits, *, joins: bool, metrics: Metrics) -> None:
        self._workers = workers
        self._limits = limits
        self._joins = joins
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Item] = deque()
        self._busy = 0
        self._timer: asyncio.TimerHandle | None = None
        self._typical = 0.0

    def submit(self, inputs: Mapping[str, Array], rows: int) -> asyncio.Future[Outputs]:
        """Answer these tensors.

        Returns:
            A future of the outputs by name; it ends with ModelError or Late where that fails.

        Raises:
            Overloaded: the queue is full.
        """
        if len(self._waiting) >= self._limits.queue:
            raise Overloaded
        item = Item(inputs, rows, self._loop.create_future())
        handle = self._loop.call_later(self._limits.deadline, self._expire, item)
        item.future.add_done_callback(lambda _: handle.cancel())
        self._waiting.append(item)
        self._pump()
        return item.future

    def hung(self) -> bool:
        """Whether every worker is stuck in the model, or cannot be started, for longer than the deadline."""
        return self._workers.hung(self._limits.deadline) >= self._workers.count

    def _pump(self, *, due: bool = False) -> None:
        while self._waiting and self._busy < self._workers.count:
            patience = self._patience()
            if not due and patience > 0:
                self._wait(patience)
                return
            self._dispatch()
            due = False

    def _patience(self) -> float:
        """Seconds the oldest request should still wait for company; 0 is not at all."""
        if self._busy == 0 or not self._joins or sum(item.rows for item in self._waiting) >= self._limits.max_rows:
            return 0.0
        patience = min(self._limits.max_delay, self._typical)
        if patience < _FINEST_TIMER:
            return 0.0
        return max(0.0, patience - (time.monotonic() - self._waiting[0].since))

    def _wait(self, seconds: float) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(max(seconds, _FINEST_TIMER), self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._pump(due=True)

    def _dispatch(self) -> None:
        items = self._take()
        self._busy += 1
        started = time.monotonic()
        self._metrics.batch(sum(item.rows for item in items), [started - item.since for item in items])
        inputs = items[0].inputs if len(items) == 1 else _joined(items)
        self._workers.start(inputs, lambda result: self._finished(items, result, started))

    def _take(self) -> list[Item]:
        """The oldest requests that fit together; at least one."""
        first = self._waiting.popleft()
        items, rows = [first], first.rows
        while self._joins and self._waiting:
            following = self._waiting[0]
            if rows + following.rows > self._limits.max_rows or not _fits(first, following):
                break
            items.append(self._waiting.popleft())
            rows += following.rows
        return items

    def _finished(self, items: list[Item], result: Outputs | Exception, started: float) -> None:
        self._busy -= 1
        took = time.monotonic() - started
        self._typical = took if self._typical == 0 else 0.9 * self._typical + 0.1 * took
        if isinstance(result, Exception):
            self._failed(items, result)
        else:
            _share(items, result)
        self._pump()

    def _failed(self, items: list[Item], error: Exception) -> None:
        if len(items) == 1 or isinstance(error, Late):
            told = error if isinstance(error, (Late, ModelError)) else ModelError(one_line(error))
            for item in items:
                _fail(item, told)
            return
        # One bad row must not fail its neighbours: each is tried alone, and before everyone who came later.
        for item in reversed(items):
            if not item.future.done():
                item.alone = True
                self._waiting.appendleft(item)

    def _expire(self, item: Item) -> None:
        if item in self._waiting:
            self._waiting.remove(item)
        _fail(item, Late(f"the model did not answer within {self._limits.deadline:g} s"))


def _fits(first: Item, other: Item) -> bool:
    """Whether both may be in one batch: their free trailing dimensions are the same."""
    return not (first.alone or other.alone) and all(
        other.inputs[name].shape[1:] == values.shape[1:] for name, values in first.inputs.items()
    )


def _joined(items: list[Item]) -> dict[str, Array]:
    return {name: np.concatenate([item.inputs[name] for item in items]) for name in items[0].inputs}


def _share(items: list[Item], outputs: Outputs) -> None:
    if len(items) == 1:
        _settle(items[0], outputs)
        return
    total = sum(item.rows for item in items)
    wrong = next((name for name, values in outputs.items() if len(values) != total), None)
    at = 0
    for item in items:
        part: Outputs | Exception = {name: values[at : at + item.rows] for name, values in outputs.items()}
        if wrong is not None:
            part = ValueError(f"output {wrong} has {len(outputs[wrong])} rows for {total} rows of input")
        at += item.rows
        _settle(item, part)


def _settle(item: Item, result: Outputs | Exception) -> None:
    if isinstance(result, Exception):
        _fail(item, ModelError(one_line(result)))
    elif not item.future.done():
        item.future.set_result(result)


def _fail(item: Item, error: Exception) -> None:
    if not item.future.done():
        item.future.set_exception(error)
