"""A few threads that run the model, and know when it hangs."""

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]
Outputs = dict[str, Array]
Run = Callable[[Mapping[str, Array]], Outputs]
Done = Callable[[Outputs | Exception], None]


class Workers:
    """Runs jobs on daemon threads: a model that hangs must not keep the process from ending.

    concurrent.futures would join its threads at exit and cost two wake-ups a job; this is one queue and
    one callback into the loop.

    Args:
        run: the model; called from several threads.
        count: threads.
        loop: where results go.
    """

    def __init__(self, run: Run, count: int, loop: asyncio.AbstractEventLoop) -> None:
        self.count = count
        self._run = run
        self._loop = loop
        self._jobs: queue.SimpleQueue[tuple[Mapping[str, Array], Done]] = queue.SimpleQueue()
        self._since: list[float | None] = [None] * count
        for index in range(count):
            threading.Thread(target=self._work, args=(index,), daemon=True, name=f"model-{index}").start()

    def start(self, inputs: Mapping[str, Array], done: Done) -> None:
        """Run on a thread; `done` is called in the loop with the outputs or the exception."""
        self._jobs.put((inputs, done))

    def hung(self, seconds: float) -> int:
        """Threads that have been at one job for longer than this."""
        now = time.monotonic()
        return sum(1 for since in self._since if since is not None and now - since > seconds)

    def _work(self, index: int) -> None:
        while True:
            inputs, done = self._jobs.get()
            self._since[index] = time.monotonic()
            result: Outputs | Exception
            try:
                result = self._run(inputs)
            except Exception as error:  # noqa: BLE001  onnxruntime's exceptions share no base of their own
                result = error
            self._since[index] = None
            try:
                self._loop.call_soon_threadsafe(done, result)
            except RuntimeError:  # the loop is closed, nobody waits
                return
