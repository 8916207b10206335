"""A real S3 server (versitygw) over a folder; tests are skipped where it was never built."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gyre_crds.contracts.store import StoreEnv

BUCKET = "gyre"
_ACCESS, _SECRET = "tests", "a-secret-of-the-tests"


@contextmanager
def served(folder: Path) -> Iterator[dict[str, str]]:
    """The environment that reaches the server."""
    cache = Path(os.environ.get("GYRE_CACHE") or Path.home() / ".cache" / "gyre")
    programs = sorted(cache.glob("bin/versitygw-*/versitygw"))
    if not programs:
        pytest.skip("no S3 server: run `make cluster-up` once, which builds it")
    (folder / "objects" / BUCKET).mkdir(parents=True)
    (folder / "notes").mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    options = ["--port", f"127.0.0.1:{port}", "--access", _ACCESS, "--secret", _SECRET, "--quiet"]
    command = [str(programs[-1]), *options, "posix", "--sidecar", str(folder / "notes"), str(folder / "objects")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            _wait(port)
            yield {
                StoreEnv.ENDPOINT: f"http://127.0.0.1:{port}",
                StoreEnv.ACCESS_KEY_ID: _ACCESS,
                StoreEnv.SECRET_ACCESS_KEY: _SECRET,
                StoreEnv.REGION: "us-east-1",
            }
        finally:
            server.terminate()


def _wait(port: int) -> None:
    end = time.monotonic() + 15
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert time.monotonic() < end, "no S3 server answers"
        time.sleep(0.05)
