"""The operator imported once and forked for every start: a hundred starts cost seconds, not minutes.

`python -m tests.integration.faults.nursery` reads one command a line: `ready` is answered once all is
imported, `start` forks an operator and is answered with its process id, `wait PID` with its exit status.
At the end of the input every child that still runs is killed.
"""

import asyncio
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from tests.integration.engine.harness import Operator

_STILL_BORN = 70


class ForkedOperator(Operator):
    """An `Operator` whose process is forked from one that has imported everything."""

    def __init__(self, folder: Path, server: str, namespace: str, **more: Any) -> None:
        """See `Operator`; it works alone, since a killed leader's Lease would cost every start 15 s."""
        super().__init__(folder, server, namespace, program=__name__, leaderElection=False, **more)
        self.kills = 0
        """How many running operators were killed so far."""
        self._pid: int | None = None
        self._nursery: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        pipe = asyncio.subprocess.PIPE
        with self.log.open("ab") as log:
            self._nursery = await self.spawn(log, stdin=pipe, stdout=pipe)
        assert await self._ask("ready") == "ready"
        return self

    async def __aexit__(self, *_: object) -> None:
        nursery = self._nursery
        assert nursery is not None
        assert nursery.stdin is not None
        nursery.stdin.close()
        await nursery.wait()

    async def start(self) -> None:
        """Fork one; returns before it is ready."""
        assert self._pid is None
        self._pid = int(await self._ask("start"))

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._pid is not None

    async def kill(self) -> None:
        """Kill -9, counted; the process must have been running."""
        pid, self._pid = self._pid, None
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        status = await self._ask(f"wait {pid}")
        assert status == str(-signal.SIGKILL), f"the operator had ended by itself with {status}"
        self.kills += 1

    async def _ask(self, line: str) -> str:
        nursery = self._nursery
        assert nursery is not None
        assert nursery.stdin is not None
        assert nursery.stdout is not None
        nursery.stdin.write(f"{line}\n".encode())
        return (await nursery.stdout.readline()).decode().strip()


class _Nursery:
    """The parent. It runs no thread and no event loop, so that a fork is a whole operator."""

    def __init__(self) -> None:
        from gyre_operators import main, registry  # noqa: PLC0415  only the parent pays for it

        registry.load()
        self._main = main.main
        self._children: set[int] = set()

    def serve(self) -> None:
        """Do as told until the input ends."""
        try:
            for line in sys.stdin:
                sys.stdout.write(f"{self._answer(*line.split())}\n")
                sys.stdout.flush()
        finally:
            for child in self._children:
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)

    def _answer(self, command: str, child: str = "") -> object:
        if command == "ready":
            return command
        return self._start() if command == "start" else self._wait(int(child))

    def _start(self) -> int:
        child = os.fork()
        if child:
            self._children.add(child)
            return child
        try:
            # The answers are the parent's; a log line among them would be read as one.
            os.dup2(2, 1)
            os._exit(self._main())
        finally:
            os._exit(_STILL_BORN)

    def _wait(self, child: int) -> int:
        self._children.discard(child)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    _Nursery().serve()
