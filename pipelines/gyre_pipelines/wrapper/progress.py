"""Signs of life of the user's command, and GET /progress for the operator."""

from __future__ import annotations

import json
import math
import sys
import threading
import time
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

TAIL_LINES = 40
_LINE_LIMIT = 2000
_METRICS_LIMIT = 20
_COUNT_SECONDS = 2.0
_FAULTS_LIMIT = 20
_SHOWN = 60
_INT64 = 2**63


class Life:
    """What is known of the running command: its last lines, its progress and when it last gave a sign."""

    def __init__(self, progress: Path, checkpoints: Path | None) -> None:
        self._progress = progress
        self._checkpoints = checkpoints
        self._lock = threading.Lock()
        # Kept apart, or a flood on one stream would push out the sentence on the other that explains it.
        self._tails: tuple[deque[tuple[int, str]], ...] = (deque(maxlen=TAIL_LINES // 2), deque(maxlen=TAIL_LINES // 2))
        self._lines = 0
        self._offset = 0
        self._started = time.monotonic()
        self._sign = self._started
        self._next_count = 0.0
        self._checkpoint_state: tuple[int, int] = (0, 0)
        self._last: dict[str, Any] = {}
        self._faults: set[str] = set()
        self.state = "Starting"

    def heard(self, line: bytes, *, error: bool = False) -> None:
        """A line of output, or of the error output."""
        text = line.decode("utf-8", "replace").rstrip("\r\n")[:_LINE_LIMIT]
        with self._lock:
            self._sign = time.monotonic()
            self._lines += 1
            self._tails[error].append((self._lines, text))

    def touch(self) -> None:
        """Any other sign of life."""
        with self._lock:
            self._sign = time.monotonic()

    def look(self) -> None:
        """Read what the command reported since the last look; a new checkpoint file is a sign of life too."""
        self._read_progress()
        if time.monotonic() < self._next_count:
            return
        # A directory of thousands of files is not walked twice a second.
        self._next_count = time.monotonic() + _COUNT_SECONDS
        state = self._checkpoints_now()
        if state != self._checkpoint_state:
            self._checkpoint_state = state
            self.touch()

    def silent_seconds(self) -> float:
        """Since the last sign of life."""
        with self._lock:
            return time.monotonic() - self._sign

    def tail(self) -> list[str]:
        """The last lines of both outputs, as they came."""
        with self._lock:
            return [text for _, text in sorted(line for tail in self._tails for line in tail)]

    def report(self, memory: int | None) -> dict[str, Any]:
        """A ProgressReport."""
        percent = self._last.get("percent")
        elapsed = time.monotonic() - self._started
        report: dict[str, Any] = {
            "metrics": self._last.get("metrics", {}),
            "silentSeconds": round(self.silent_seconds(), 1),
            "state": self.state,
        }
        if percent is not None:
            report["percent"] = percent
        if percent:
            report["etaSeconds"] = round(elapsed * (100 - percent) / percent, 1)
        if "step" in self._last:
            report["step"] = self._last["step"]
        if memory is not None:
            report["memory"] = memory
        return report

    def _read_progress(self) -> None:
        try:
            with self._progress.open("rb") as stream:
                stream.seek(self._offset)
                data = stream.read()
        except OSError:
            return
        whole, newline, _ = data.rpartition(b"\n")
        if not newline:
            return
        self._offset += len(whole) + 1
        self.touch()
        for line in filter(bytes.strip, whole.splitlines()):
            said, faults = understood(line)
            self._last = {**self._last, **said}
            for field, fault in faults.items():
                self._tell(field, fault)

    def _tell(self, field: str, fault: str) -> None:
        """One line a field: a training that writes a thousand such lines has one fault."""
        if field in self._faults or len(self._faults) >= _FAULTS_LIMIT:
            return
        self._faults.add(field)
        print(f"gyre: $GYRE_PROGRESS: {fault}; it is left out", file=sys.stderr, flush=True)  # noqa: T201  the container's log

    def _checkpoints_now(self) -> tuple[int, int]:
        newest = count = 0
        if self._checkpoints is not None:
            for path in self._checkpoints.rglob("*"):
                try:
                    newest = max(newest, path.stat().st_mtime_ns)
                except OSError:
                    continue
                count += 1
        return count, newest


def understood(line: bytes) -> tuple[dict[str, Any], dict[str, str]]:
    """What a line of progress says as far as it can be used, and by field what is wrong with the rest.

    A metric that is no finite number is left out, and the other fields of the line count.
    """
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        return {}, {"": f"{_shown(line.decode('utf-8', 'replace'))} is no JSON object on one line"}
    out: dict[str, Any] = {}
    faults: dict[str, str] = {}
    if said.get("percent") is not None:
        if _is_number(said["percent"]):
            out["percent"] = max(0.0, min(100.0, float(said["percent"])))
        else:
            faults["percent"] = f"percent {_shown(said['percent'])} is not a number from 0 to 100"
    if said.get("step") is not None:
        if isinstance(said["step"], int) and _is_number(said["step"]) and abs(said["step"]) < _INT64:
            out["step"] = said["step"]
        else:
            faults["step"] = f"step {_shown(said['step'])} is not a whole number"
    if said.get("metrics") is not None:
        _metrics(said["metrics"], out, faults)
    return out, faults


def _metrics(said: Any, out: dict[str, Any], faults: dict[str, str]) -> None:
    if not isinstance(said, dict):
        faults["metrics"] = f"metrics {_shown(said)} is no object of numbers by name"
        return
    good = {str(name): float(number) for name, number in said.items() if _is_number(number)}
    out["metrics"] = dict(list(good.items())[:_METRICS_LIMIT])
    for name, number in said.items():
        if not _is_number(number):
            faults[f"metrics.{name}"] = f"metric {_shown(name)} is {_shown(number)}, not a finite number"


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False  # a whole number beyond what a float holds


def _shown(value: Any) -> str:
    return repr(value)[:_SHOWN]


def serve(port: int, answer: Any) -> ThreadingHTTPServer | None:
    """Answer GET /progress in a thread; a port that is taken costs the operator's view, never the training."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.path.split("?")[0] == "/progress"
            body = json.dumps(answer() if known else {"error": "only /progress is here"}).encode()
            self.send_response(200 if known else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002  the base class's name
            """Polls are not the training's output."""

    try:
        server = ThreadingHTTPServer(("", port), Handler)
    except OSError as error:
        print(f"gyre: progress is not shown, port {port}: {error}", file=sys.stderr, flush=True)  # noqa: T201
        return None
    threading.Thread(target=server.serve_forever, daemon=True, name="progress").start()
    return server
