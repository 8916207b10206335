"""A real tritonserver from the wheel, laid out as the image lays it out, in the user's cache.

The wheel holds the server with its Python backend and no model framework; a small environment with
numpy < 2 and onnxruntime runs the models, both from the lock of the image (serving/runtime/triton).
"""

import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.localcluster import packages
from tests.localcluster.errors import ClusterError
from tests.localcluster.lock import locked

REPOSITORY_ROOT = Path(__file__).parents[3]
RUNTIME = REPOSITORY_ROOT / "serving" / "runtime" / "triton"
CACHE = Path(os.environ.get("GYRE_CACHE", Path.home() / ".cache" / "gyre")) / "triton"


class Unavailable(Exception):  # noqa: N818  a state of the machine
    """The wheel cannot be had here; the message says why."""


@dataclass(frozen=True)
class Installation:
    """Where the server and its environment are."""

    server: Path
    environment: Path


def install() -> Installation:
    """Install once per lock; a second call finds it.

    Raises:
        Unavailable: no package index, another platform, or no libpython.
    """
    recipe = b"".join((RUNTIME / name).read_bytes() for name in ("requirements.lock", "server.lock", "install.sh"))
    home = CACHE / hashlib.sha256(recipe).hexdigest()[:12]
    # Two steps of `make test` want it, perhaps at once.
    with locked(CACHE / "lock", "another installation of Triton"):
        if not (home / "done").exists():
            _fetch(home)
    found = Installation(home / "server", home / "environment")
    _link(found.server / "backends" / "python" / "triton_python_backend_stub")
    return found


def _fetch(home: Path) -> None:
    """Into an empty folder; `done` stands in it once all is there."""
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    command = ["sh", str(RUNTIME / "install.sh"), str(home)]
    run = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env=os.environ | {"PYTHON": str(Path(sys.base_prefix, "bin", "python3"))},
    )
    if run.returncode != 0:
        raise Unavailable(f"Triton's wheel cannot be installed: {run.stderr.strip().splitlines()[-1:]}")
    (home / "done").touch()


def _link(stub: Path) -> None:
    """Bring libpython, without which the backend's stub dies unheard: Debian's python3 alone has none."""
    lines = subprocess.run(["ldd", str(stub)], capture_output=True, text=True, check=True).stdout.splitlines()
    if not any("libpython" in line and "not found" in line for line in lines):
        return
    try:
        packages.install(["libpython3.11"])
    except ClusterError as error:
        raise Unavailable(str(error)) from error


class Server:
    """One running tritonserver."""

    def __init__(self, process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
        self.process = process
        self.port = port
        self.log = log

    @property
    def address(self) -> str:
        """host:port of its HTTP endpoint."""
        return f"127.0.0.1:{self.port}"

    def wait(self, seconds: float = 30) -> None:
        """Until it answers."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self.process.poll() is not None:
                raise AssertionError(f"tritonserver ended: {self.log.read_text()[-2000:]}")
            try:
                urllib.request.urlopen(f"http://{self.address}/v2/health/live", timeout=1)
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
            else:
                return
        raise AssertionError(f"tritonserver does not answer: {self.log.read_text()[-2000:]}")

    def stop(self) -> None:
        """End it and what it started."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait(5)


@contextmanager
def running(installation: Installation, root: Path, *more: str, port: int | None = None) -> Iterator[Server]:
    """A server on the volume `root`, started by the image's own start script on a free port."""
    port = port or free_port()
    log = root / "triton.log"
    environment = {
        "PATH": os.environ["PATH"],
        "GYRE_TRITON_HOME": str(installation.server.parent),
        "GYRE_MODEL_ROOT": str(root),
        "GYRE_TERMINATION_LOG": str(root / "termination"),
    }
    arguments = [f"--http-port={port}", "--http-address=127.0.0.1", f"--metrics-port={free_port()}", *more]
    with log.open("wb") as out:
        process = subprocess.Popen(
            ["sh", str(RUNTIME / "start.sh"), *arguments],
            stdout=out, stderr=subprocess.STDOUT, env=environment, start_new_session=True,
        )  # fmt: skip
        server = Server(process, port, log)
        try:
            yield server
        finally:
            server.stop()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
