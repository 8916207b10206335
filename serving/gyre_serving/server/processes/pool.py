"""The server's side of the worker processes: hands out batches, cuts at the deadline, replaces what ended."""

import asyncio
import contextlib
import signal
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from gyre_crds.reasons import Inference
from gyre_serving.pod.failure import Failure
from gyre_serving.server.errors import Late, ModelError
from gyre_serving.server.memory import available
from gyre_serving.server.metrics import Metrics
from gyre_serving.server.processes.frames import Cutter, Frame, Kind, pack_tensors, tensors_of
from gyre_serving.server.processes.nursery import Nursery
from gyre_serving.server.processes.worker import Plan
from gyre_serving.server.workers import Done

Array = NDArray[Any]

_PAUSES = (0.0, 0.2, 1.0, 5.0)
"""Seconds before a worker is started that follows so many ones which never came up."""


@dataclass(slots=True)
class Job:
    """One batch."""

    inputs: Mapping[str, Array]
    done: Done
    since: float = field(default_factory=time.monotonic)


class Worker(asyncio.Protocol):
    """One process, as the server sees it."""

    def __init__(self, pool: "Processes") -> None:
        self._pool = pool
        self._cutter = Cutter()
        self.transport: asyncio.Transport | None = None
        self.pid: int | None = None
        self.loaded = False
        self.bytes = 0
        self.job: Job | None = None
        self.cut: asyncio.TimerHandle | None = None
        self.ending = False
        """Whether it is being ended: it gets nothing more to do."""
        self.late = False
        """Whether it was ended because its time was up."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The channel is open."""
        self.transport = transport  # type: ignore[assignment]  # a socket pair's is a Transport

    def data_received(self, data: bytes) -> None:
        """Frames of the worker; bytes that are none end it."""
        try:
            for frame in self._cutter.feed(data):
                self._pool.heard(self, frame)
        except (ValueError, KeyError, TypeError, AttributeError):  # a user's code wrote to the channel
            self._pool.kill(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """It ended, or closed its channel: then it is of no use."""
        del exc
        self._pool.kill(self)


class Processes:
    """Worker processes of one version, each with one batch at a time.

    Args:
        plan: what a worker runs.
        deadline: seconds that one batch may take.
        metrics: lost workers and the version's memory go here.
    """

    def __init__(self, plan: Plan, deadline: float, metrics: Metrics) -> None:
        self.count = plan.workers
        self._signature = plan.signature
        self._deadline = deadline
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._nursery = Nursery(plan, self._gone)
        self._workers: set[Worker] = set()
        self._idle: list[Worker] = []
        self._waiting: deque[Job] = deque()
        self._first: asyncio.Future[Worker] = self._loop.create_future()
        self._closed = False
        self._vain = 0
        self._useless: float | None = None  # since when no worker can take a batch

    async def open(self, limit: float) -> None:
        """Start the workers; the others follow once the first has loaded, as many as memory allows.

        Args:
            limit: seconds that loading may take.

        Raises:
            Failure: the version does not load.
        """
        await self._nursery.open()
        self._begin()
        try:
            first = await asyncio.wait_for(self._first, limit)
        except Failure:
            self.close()
            raise
        except TimeoutError:
            self.close()
            raise Failure(
                Inference.MODEL_DOES_NOT_LOAD,
                f"the model did not load within {limit:g} s; see the container's log, or raise --load-deadline",
            ) from None
        self.count = max(1, min(self.count, 1 + int(available() // max(1, 2 * first.bytes))))
        for _ in range(self.count - 1):
            self._begin()

    def close(self) -> None:
        """End all of them at once."""
        self._closed = True
        self._nursery.close()

    def start(self, inputs: Mapping[str, Array], done: Done) -> None:
        """Run on the next free worker; `done` is called in the loop with the outputs or the exception."""
        self._waiting.append(Job(inputs, done))
        self._hand_out()

    def hung(self, seconds: float) -> int:
        """All of them where none could take a batch for longer than this, else none: one that hangs is replaced."""
        lost = self._useless is not None and time.monotonic() - self._useless > seconds
        return self.count if lost else 0

    def heard(self, worker: Worker, frame: Frame) -> None:
        """A worker said something."""
        if frame.kind is Kind.HELLO:
            worker.pid = int(frame.head["pid"])
            self._nursery.knows(worker.pid, worker)
        elif frame.kind is Kind.READY:
            self._ready(worker, frame.head)
        elif frame.kind is Kind.REFUSED:
            self._refused(Failure(frame.head["reason"], frame.head["message"], retry=bool(frame.head["retry"])))
        elif worker.job is not None:
            result = (
                ModelError(str(frame.head["error"]))
                if frame.kind is Kind.RAISED
                else tensors_of(frame, self._signature.outputs)
            )
            self._settle(worker, result)
            self._free(worker)

    def kill(self, worker: Worker) -> None:
        """End a worker that hangs or talks nonsense; what follows follows when it has ended."""
        worker.ending = True
        with contextlib.suppress(ValueError):
            self._idle.remove(worker)
        if worker.pid is None:
            self._gone(worker, -signal.SIGKILL)
        elif worker in self._workers:
            self._nursery.kill(worker.pid)

    def _begin(self) -> None:
        worker = Worker(self)
        self._workers.add(worker)
        task = self._loop.create_task(self._nursery.bear(worker))
        task.add_done_callback(lambda done: self._gone(worker, -signal.SIGKILL) if done.exception() else None)

    def _ready(self, worker: Worker, head: Mapping[str, Any]) -> None:
        worker.loaded, worker.bytes = True, int(head["bytes"])
        self._vain, self._useless = 0, None
        self._measure()
        self._nursery.learn(head["modules"])
        if not self._first.done():
            self._first.set_result(worker)
        self._free(worker)

    def _measure(self) -> None:
        self._metrics.model_bytes.set(sum(one.bytes for one in self._workers))
        self._metrics.workers.set(sum(one.loaded for one in self._workers))

    def _refused(self, failure: Failure) -> None:
        if not self._first.done():
            self._first.set_exception(failure)

    def _free(self, worker: Worker) -> None:
        """It may take a batch, unless it is being ended: what it said was on its way before."""
        if not worker.ending:
            self._idle.append(worker)
        self._hand_out()

    def _hand_out(self) -> None:
        while self._waiting and self._idle:
            job = self._waiting.popleft()
            if time.monotonic() - job.since >= self._deadline:
                job.done(self._overdue())  # nobody waits for it any more
                continue
            worker = self._idle.pop()
            worker.job = job
            worker.cut = self._loop.call_later(self._deadline, self._expire, worker)
            if worker.transport is not None:
                worker.transport.write(pack_tensors(Kind.RUN, self._signature.inputs, job.inputs))

    def _expire(self, worker: Worker) -> None:
        worker.late = True
        self.kill(worker)

    def _overdue(self) -> Late:
        return Late(f"the model did not answer within {self._deadline:g} s")

    def _settle(self, worker: Worker, result: dict[str, Array] | Exception) -> None:
        job, worker.job = worker.job, None
        if worker.cut is not None:
            worker.cut.cancel()
        if job is not None:
            job.done(result)

    def _gone(self, worker: Worker, code: int) -> None:
        if worker not in self._workers or self._closed:
            return
        self._workers.discard(worker)
        with contextlib.suppress(ValueError):
            self._idle.remove(worker)
        if worker.transport is not None:
            worker.transport.abort()
        self._measure()
        self._metrics.lost("Deadline" if worker.late else "Signal" if code < 0 else "Exit")
        why = f"the model ended its own process: {_told(code)}"
        if not self._first.done():
            self._first.set_exception(Failure(Inference.MODEL_DOES_NOT_LOAD, f"{why} while it was loaded"))
            return
        if not any(one.loaded for one in self._workers) and self._useless is None:
            self._useless = time.monotonic()
        if not worker.loaded:
            self._vain += 1
        self._loop.call_later(_PAUSES[min(self._vain, len(_PAUSES) - 1)], self._begin)
        self._settle(worker, self._overdue() if worker.late else ModelError(f"{why}; another one takes its place"))


def _told(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = "unknown"
    memory = ", most likely for want of memory" if -code == signal.SIGKILL else ""
    return f"signal {-code} ({name}){memory}"
