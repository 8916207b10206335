"""The wrapper: runs the user's command, watches it, predicts the reference rows, and says what happened."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any

from . import predict, progress, report
from .cgroup import Memory, cores
from .child import Child, NotStartedError, python_of
from .order import EXIT_INFRA, EXIT_USER, Order, bare_environment, own_environment, user_environment

_LOOK_SECONDS = 0.5
_LAST_WORDS_SECONDS = 5.0
_PREDICT_SECONDS = 900.0
_NEARLY_FULL = 0.9
_NOT_FOUND = 127
_SIGNAL_BASE = 128


def main(arguments: Sequence[str]) -> int:
    """`wrapper.pyz` runs the order of GYRE_WRAPPER; `wrapper.pyz predict ...` is its own second process."""
    if arguments[:1] == ["predict"]:
        return predict.main(arguments[1:])
    environment = own_environment()
    try:
        order = Order.of(environment)
    except ValueError as error:
        print(f"gyre: {error}", file=sys.stderr, flush=True)  # noqa: T201
        return EXIT_USER
    with order.lock.open("r+" if order.lock.exists() else "w+") as lock:
        _hold(lock)
        attempt = Attempt(order, environment)
        code, message, result = attempt.run()
        report.leave(order.result, result)
        report.say(order.termination, message)
    return code


def _hold(lock: IO[str]) -> None:
    """Take the lock and leave a mark in it: a free lock with a mark and no result means that this was killed."""
    fcntl.flock(lock, fcntl.LOCK_EX)
    lock.seek(0)
    lock.write(f"{os.getpid()}\n")
    lock.truncate()
    lock.flush()


class Attempt:
    """One run of the user's command."""

    def __init__(self, order: Order, environment: Mapping[str, str]) -> None:
        self._order = order
        self._environment = environment
        self._memory = Memory(limit=order.memory_bytes)
        self._life = progress.Life(order.progress, order.checkpoints)
        self._started = _now()
        self._clock = time.monotonic()

    def run(self) -> tuple[int, dict[str, Any], dict[str, Any]]:
        """Exit code, termination message, and RESULT."""
        server = progress.serve(self._order.port, lambda: self._life.report(self._memory.used()))
        try:
            failure, code = self._train()
            if failure is None:
                failure, predicted, packages = self._predict()
                code = EXIT_USER if failure else 0
        finally:
            self._life.state = "Done"
            if server is not None:
                server.shutdown()
        if failure is not None:
            return code, failure, failure
        done = self._done(predicted)
        return 0, done, {**done, "packages": packages}

    def _train(self) -> tuple[dict[str, Any] | None, int]:
        try:
            environment = user_environment(self._order, self._environment, cores())
            child = Child(self._order.command, environment, self._life)
        except NotStartedError as error:
            return report.failure("CommandNotFound", str(error), exitCode=_NOT_FOUND), _NOT_FOUND
        self._life.state = "Running"
        hung, code = self._watch(child)
        child.drain()
        self._life.look()
        exit_code = code if code >= 0 else _SIGNAL_BASE - code
        failure = self._diagnose(code, hung=hung, stopped=child.told_to_stop)
        if failure is None:
            return None, 0
        infra = failure["reason"] in ("Hung", "Disrupted")
        return failure, EXIT_INFRA if infra else exit_code or EXIT_USER

    def _watch(self, child: Child) -> tuple[bool, int]:
        spoken = time.monotonic()
        while True:
            code = child.poll()
            if code is not None:
                return False, code
            self._life.look()
            self._memory.used()
            limit = self._order.hang_seconds
            if limit is not None and self._life.silent_seconds() > limit:
                return True, child.abort()
            if time.monotonic() - spoken > _LAST_WORDS_SECONDS:
                spoken = time.monotonic()
                self._last_words()
            time.sleep(_LOOK_SECONDS if time.monotonic() - self._clock > 2 * _LOOK_SECONDS else 0.05)

    def _last_words(self) -> None:
        """What the termination message holds should the kernel take this process too."""
        used, limit = self._memory.peak(), self._memory.limit()
        full = used is not None and limit is not None and used > _NEARLY_FULL * limit
        report.say(
            self._order.termination,
            report.failure(
                "OutOfMemory" if full else "Disrupted",
                f"the container was killed from outside; it had used {report.size(used)} of {report.size(limit)}",
                tail=self._life.tail(),
                peakMemory=used,
            ),
        )

    def _diagnose(self, code: int, *, hung: bool, stopped: int | None) -> dict[str, Any] | None:
        facts: dict[str, Any] = {"tail": self._life.tail(), "peakMemory": self._memory.peak()}
        facts["exitCode" if code >= 0 else "signal"] = abs(code)
        if hung:
            limit = self._order.hang_seconds
            return report.failure(
                "Hung",
                f"no output, progress or checkpoint for {limit:g} s (progress.timeout); the command was aborted, "
                "the last lines show where it stood; mend that, or raise progress.timeout",
                **facts,
            )
        if stopped is not None:
            return report.failure("Disrupted", f"the pod was told to stop by {report.signal_name(stopped)}", **facts)
        if code == 0:
            return None
        return self._why(code, facts)

    def _why(self, code: int, facts: dict[str, Any]) -> dict[str, Any]:
        had = report.size(self._memory.limit())
        kills = self._memory.kills()
        if kills and code == -signal.SIGKILL:
            sentence = (
                f"the kernel killed the command for memory: the container had {had}; raise resources.limits.memory"
            )
            return report.failure("OutOfMemory", sentence, **facts)
        if kills:
            sentence = (
                f"the kernel killed {kills} child process(es) of the command for memory, then the command failed: "
                f"the container had {had}; raise resources.limits.memory or start fewer workers"
            )
            return report.failure("OutOfMemory", sentence, **facts)
        if code < 0:
            return report.failure("UserError", f"the command was ended by {report.signal_name(-code)}", **facts)
        if code in (_NOT_FOUND, _NOT_FOUND - 1) and len(self._order.command) > 1:
            sentence = f"the command ended with exit code {code}: its shell found no such program"
            return report.failure("CommandNotFound", sentence, **facts)
        return report.failure("UserError", f"the command ended with exit code {code}", **facts)

    def _predict(self) -> tuple[dict[str, Any] | None, int, list[str]]:
        """Predict the reference rows where the model's packages are, in a process without the user's secrets."""
        self._life.state = "Predicting"
        archive = str(Path(sys.argv[0]).resolve())
        command = [python_of(self._order.command), archive, "predict", str(self._order.output),
                   str(self._order.rows), str(self._order.predictions), str(self._order.root / "mlruns")]  # fmt: skip
        try:
            # Models are user code: what they print while they load must not end up in our answer.
            done = subprocess.run(
                command, env=bare_environment(self._environment), stdin=subprocess.DEVNULL, capture_output=True,
                timeout=_PREDICT_SECONDS, check=False,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            return report.failure("PredictFailed", f"predicting the reference rows: {error}"), 0, []
        lines = done.stderr.decode("utf-8", "replace").splitlines()
        try:
            answer = json.loads(done.stdout.decode("utf-8", "replace").strip().splitlines()[-1])
        except (ValueError, IndexError):
            answer = {"error": f"the prediction ended with exit code {done.returncode}"}
            if self._memory.kills():
                had = report.size(self._memory.limit())
                sentence = f"the kernel killed the prediction of the reference rows for memory: the container had {had}"
                return report.failure("OutOfMemory", sentence, peakMemory=self._memory.peak()), 0, []
        if "error" in answer:
            sentence = f"the native model cannot predict the reference rows: {answer['error']}"
            return report.failure("PredictFailed", sentence, tail=lines[-progress.TAIL_LINES :]), 0, []
        return None, answer["predicted"], answer["packages"]

    def _done(self, predicted: int) -> dict[str, Any]:
        done = {
            "schema": "gyre.train.v1",
            "startedAt": _text(self._started),
            "endedAt": _text(_now()),
            "seconds": round(time.monotonic() - self._clock, 3),
            "peakMemory": self._memory.peak(),
            "python": platform.python_version(),
            "predicted": predicted,
            "tail": self._life.tail()[-10:],
        }
        return {name: value for name, value in done.items() if value is not None}


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _text(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
