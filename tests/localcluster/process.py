"""Programs owned by pid file: a pid alone may be somebody else's by now, pid and start time not."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.localcluster.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tests.localcluster.paths import State

_MARK = "GYRE_LOCALCLUSTER"  # in the environment of everything that we start: whose it is
_STATE_FIELD = 0  # of /proc/<pid>/stat behind the name
_START_FIELD = 19


@dataclass(frozen=True)
class Process:
    """One program of a cluster; it outlives whoever started it."""

    state: State
    name: str

    @property
    def pid_file(self) -> Path:
        """The file that holds pid and start time."""
        return self.state.pids / self.name

    @property
    def log(self) -> Path:
        """Standard output and error of the program."""
        return self.state.logs / f"{self.name}.log"

    def start(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        directory: Path | None = None,
    ) -> int:
        """Start the program detached from this terminal and return its pid."""
        with self.log.open("ab") as log:
            child = subprocess.Popen(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **(env or {}), _MARK: str(self.state.root)},
                cwd=directory or self.state.root,
                start_new_session=True,
                close_fds=True,
            )
        self.adopt(child.pid)
        # The child is on its own from here; without this Python warns about it at exit.
        child.returncode = 0
        return child.pid

    def adopt(self, pid: int) -> None:
        """Own a process that something else started for us."""
        started = start_time(pid)
        partial = self.pid_file.with_suffix(".partial")
        partial.write_text(f"{pid} {started or 0}\n", encoding="ascii")
        partial.replace(self.pid_file)

    def pid(self) -> int | None:
        """Return the pid while the very process that we started is alive."""
        try:
            pid, started = self.pid_file.read_text(encoding="ascii").split()
        except (OSError, ValueError):
            return None
        _reap(int(pid))
        return int(pid) if start_time(int(pid)) == int(started) else None

    def stop(self, *, patience: float = 5.0) -> None:
        """End the program: politely first, by force after ``patience`` seconds."""
        for number, wait in ((signal.SIGTERM, patience), (signal.SIGKILL, 10.0)):
            pid = self.pid()
            if pid is None:
                break
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
            wait_until(lambda: self.pid() is None, seconds=wait)
        self.pid_file.unlink(missing_ok=True)

    def tail(self, lines: int = 8) -> str:
        """Return the last lines of the log."""
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        except OSError:
            return ""

    def require(self, ready: Callable[[], bool], *, seconds: float, what: str) -> None:
        """Wait until ``ready``; say which program failed, and how, where it does not get there."""
        if wait_until(lambda: ready() or self.pid() is None, seconds=seconds) and ready():
            return
        died = "ended" if self.pid() is None else f"was not ready after {seconds:.0f} s"
        raise ClusterError(f"{what} {died}; its log is {self.log}. Last lines:\n{self.tail()}")


def start_time(pid: int) -> int | None:
    """Return the start time in clock ticks since boot; None for the dead and for zombies."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[_STATE_FIELD] in "ZX" else int(fields[_START_FIELD])


def kill_marked(state: State) -> None:
    """End what a start killed at the wrong moment left without a pid file."""
    mark = f"{_MARK}={state.root}".encode()
    for entry in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if mark in entry.read_bytes().split(b"\0"):
                os.kill(int(entry.parent.name), signal.SIGKILL)


def _reap(pid: int) -> None:
    """Collect a child of this very Python, else it stays a zombie until we end."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def wait_until(ready: Callable[[], bool], *, seconds: float, every: float = 0.05) -> bool:
    """Poll until ``ready`` or the time is up; return which."""
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() >= deadline:
            return False
        time.sleep(every)
    return True


def docker_answers() -> bool:
    """Whether Docker is here with its daemon; the client alone is of no use."""
    try:
        run(["docker", "info", "--format", "{{.ServerVersion}}"])
    except ClusterError:
        return False
    return True


def run(argv: Sequence[str], *, stdin: str | None = None, env: Mapping[str, str] | None = None) -> str:
    """Run a short program and return its output; raise with its last error line."""
    try:
        done = subprocess.run(
            list(argv),
            input=stdin,
            env={**os.environ, **(env or {})},
            text=True,
            capture_output=True,
            check=False,
        )
    except FileNotFoundError:
        raise ClusterError(f"The program {argv[0]} is missing: install it.") from None
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise ClusterError(f"`{' '.join(argv[:6])}` failed: {said[-1] if said else done.returncode}")
    return done.stdout
