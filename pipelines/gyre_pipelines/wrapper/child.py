"""The user's command as a child process: output passed through, signals forwarded, orphans reaped."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from .progress import Life

FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_DRAIN_SECONDS = 2.0
_ABORT_SECONDS = 5.0


class NotStartedError(Exception):
    """The command cannot be started; the message names its first word and the cure."""


class Child:
    """A command in a process group of its own.

    Signals that the kubelet or a person sends are handed on to the whole group. The handlers stand before
    the command starts, or a signal of that moment would be lost.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], life: Life) -> None:
        self.told_to_stop: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        for number in FORWARDED:
            signal.signal(number, self._hand_on)
        self._process = self._start(command, environment)
        self._send_again()
        pairs = ((self._process.stdout, sys.stdout, False), (self._process.stderr, sys.stderr, True))
        self._pumps = [
            threading.Thread(target=_pump, args=(source, sink.buffer, life, error), daemon=True)
            for source, sink, error in pairs
        ]
        for pump in self._pumps:
            pump.start()

    @staticmethod
    def _start(command: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                list(command),
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise NotStartedError(f"command: {command[0]!r} is not in the image; correct command or image") from error
        except OSError as error:
            raise NotStartedError(
                f"command: {command[0]!r} cannot be run ({error.strerror}); make it executable"
            ) from error

    def _hand_on(self, number: int, _frame: object) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            self.told_to_stop = number
        self.send(number)

    def _send_again(self) -> None:
        """A signal that came while the command was being started."""
        if self.told_to_stop is not None:
            self.send(self.told_to_stop)

    def send(self, number: int) -> None:
        """A signal to the process group."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)

    def poll(self) -> int | None:
        """The exit code (negative: the signal), or None while it runs; as PID 1 also reaps orphans of others."""
        process = self._running()
        code = process.poll()
        if code is None and os.getpid() == 1:
            _reap_orphans(process.pid)
        return code

    def abort(self) -> int:
        """End a hung command: SIGABRT, so that Python prints where it hangs, then SIGKILL; returns the exit code."""
        process = self._running()
        self.send(signal.SIGABRT)
        try:
            return process.wait(_ABORT_SECONDS)
        except subprocess.TimeoutExpired:
            self.send(signal.SIGKILL)
            return process.wait()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise NotStartedError("the command has not been started")
        return self._process

    def drain(self) -> None:
        """Wait for the last output; a grandchild that keeps the pipe open does not keep us."""
        self.send(signal.SIGTERM)
        until = time.monotonic() + _DRAIN_SECONDS
        for pump in self._pumps:
            pump.join(max(0.0, until - time.monotonic()))
        self.send(signal.SIGKILL)


def python_of(command: Sequence[str]) -> str:
    """The interpreter that the command names, else the one that runs this: it has the model's packages."""
    first = Path(command[0]).name
    found = shutil.which(command[0]) if first.startswith("python") else None
    return found or sys.executable


def _pump(source: IO[bytes] | None, sink: IO[bytes], life: Life, error: bool) -> None:  # noqa: FBT001  a thread's argument
    if source is None:
        return
    for line in source:
        life.heard(line, error=error)
        with contextlib.suppress(OSError, ValueError):
            sink.write(line)
            sink.flush()


def _reap_orphans(own: int) -> None:
    while True:
        try:
            seen = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if seen is None or seen.si_pid == own:
            return
        with contextlib.suppress(ChildProcessError):
            os.waitpid(seen.si_pid, os.WNOHANG)
