"""Containers of a serving pod as processes: the very commands that run in the images."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gyre_crds.contracts.attempt import FailureReport
from gyre_crds.contracts.serving import FetchOrder
from tests.serving.support.triton import free_port


def environment(order: FetchOrder, root: Path, **more: str) -> dict[str, str]:
    """What the operator would give the container."""
    return os.environ | {
        "GYRE_FETCH": order.model_dump_json(by_alias=True),
        "GYRE_MODEL_ROOT": str(root),
        "GYRE_TERMINATION_LOG": str(root.parent / "termination"),
        **more,
    }


def fetch(order: FetchOrder, root: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the init container."""
    return subprocess.run(
        [sys.executable, "-m", "gyre_serving", "fetch"],
        env=environment(order, root, **more), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def failure(root: Path) -> FailureReport:
    """The termination message."""
    return FailureReport.model_validate_json((root.parent / "termination").read_text())


class Container:
    """A running container."""

    def __init__(self, process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
        self.process = process
        self.port = port
        self.log = log

    def get(self, path: str) -> tuple[int, Any]:
        """Status and body of a GET; 0 while nobody listens."""
        return call(self.port, path)

    def post(self, path: str, body: bytes, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        """Status and body of a POST."""
        return call(self.port, path, body, headers)

    def until(self, wanted: str, seconds: float = 30) -> dict[str, Any]:
        """Wait until /readyz gives this reason; returns its body."""
        end = time.monotonic() + seconds
        said: Any = None
        while time.monotonic() < end:
            _, said = self.get("/readyz")
            if isinstance(said, dict) and said.get("reason") == wanted:
                return said
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            time.sleep(0.02)
        raise AssertionError(f"/readyz never said {wanted}, last {said}: {self.log.read_text()[-3000:]}")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End it; returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            return self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait(5)


@contextmanager
def container(command: str, order: FetchOrder, root: Path, *arguments: str, **more: str) -> Iterator[Container]:
    """`gyre-serving <command>` on a free port."""
    port = free_port()
    log = root.parent / f"{command}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "gyre_serving", command, "--port", str(port), *arguments],
            env=environment(order, root, **more), stdout=out, stderr=subprocess.STDOUT,
        )  # fmt: skip
        running = Container(process, port, log)
        try:
            yield running
        finally:
            running.stop()


def call(port: int, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    """One request on a connection of its own; the body as JSON where it is some."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", body, headers or {})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310  http only
            return answer.status, _parsed(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, _parsed(error.read())
    except OSError:
        return 0, None


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body
