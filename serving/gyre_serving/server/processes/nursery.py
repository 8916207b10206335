"""The template process and what it bears: forks on demand, kills, and tells how each one ended."""

import asyncio
import contextlib
import json
import socket
from collections.abc import Callable, Sequence
from dataclasses import asdict
from signal import SIGKILL
from typing import Generic, TypeVar

from gyre_serving.server.processes.start import Template, take
from gyre_serving.server.processes.worker import Plan

_Child = TypeVar("_Child", bound=asyncio.Protocol)
_MESSAGE_BYTES = 1 << 16


class Nursery(Generic[_Child]):
    """Starts workers from one template; where the template itself ends, all its children do, and a new one is made.

    Args:
        plan: what a worker runs.
        ended: called with a child and its exit code (negative for a signal) once it has ended.
    """

    def __init__(self, plan: Plan, ended: Callable[[_Child, int], None]) -> None:
        self._plan = plan
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._children: dict[int, _Child] = {}
        self._unnamed: set[_Child] = set()
        self._early: dict[int, int] = {}  # ended before it could say which process it was
        self._modules: list[str] = []
        self._template: Template | None = None
        self._control: socket.socket | None = None

    async def open(self) -> None:
        """Start the template; it imports the libraries before it obeys, and nobody waits for that here."""
        self._template = take(self._plan.kind, self._plan.tree)
        self._control = control = self._template.control
        control.settimeout(0)
        self._loop.add_reader(control.fileno(), self._hear, control)
        plan = asdict(self._plan) | {"tree": None, "signature": self._plan.signature.model_dump(mode="json")}
        with contextlib.suppress(OSError):  # it is gone already, and the reader will find that out
            self._send({"plan": plan, "modules": self._modules})

    async def bear(self, child: _Child) -> None:
        """Have a worker forked whose channel `child` is.

        Raises:
            OSError: the template is gone.
        """
        if self._control is None:
            await self.open()
        ours, theirs = socket.socketpair()
        ours.settimeout(0)
        self._unnamed.add(child)
        try:
            self._send({}, [theirs.fileno()])
            await self._loop.create_unix_connection(lambda: child, sock=ours)
        except OSError:
            self._unnamed.discard(child)
            raise
        finally:
            theirs.close()

    def knows(self, pid: int, child: _Child) -> None:
        """The child said which process it is."""
        self._unnamed.discard(child)
        if pid in self._early:
            self._ended(child, self._early.pop(pid))
        else:
            self._children[pid] = child

    def learn(self, modules: Sequence[str]) -> None:
        """Libraries that a worker had to import: the next ones should find them."""
        new = [name for name in modules if name not in self._modules]
        if new:
            self._modules += new
            with contextlib.suppress(OSError):
                self._send({"modules": new})

    def kill(self, pid: int | None) -> None:
        """End a child."""
        if pid is not None:
            with contextlib.suppress(OSError):  # the template is gone, and with it the child
                self._send({"kill": pid})

    def close(self) -> None:
        """End the template and with it all children."""
        if self._control is not None:
            self._loop.remove_reader(self._control.fileno())
            self._control.close()
            self._control = None
        if self._template is not None:
            self._template.process.kill()
            self._template.process.wait()

    def _send(self, command: dict[str, object], descriptors: Sequence[int] = ()) -> None:
        if self._control is not None:
            socket.send_fds(self._control, [json.dumps(command).encode()], descriptors)

    def _hear(self, control: socket.socket) -> None:
        try:
            said = control.recv(_MESSAGE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            said = b""
        if not said:
            self._bereaved()
            return
        report = json.loads(said)
        child = self._children.pop(report["pid"], None)
        if child is None:
            self._early[report["pid"]] = report["code"]
        else:
            self._ended(child, report["code"])

    def _bereaved(self) -> None:
        """The template is gone, and the system ends its children with it."""
        self.close()
        lost = [*self._children.values(), *self._unnamed]
        self._early.clear()
        self._children.clear()
        self._unnamed.clear()
        for child in lost:
            self._ended(child, -SIGKILL)
