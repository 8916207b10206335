"""A real S3 server (versitygw) over a folder; tests are skipped where it was never built."""

import io
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import obstore
import pyarrow.parquet as pq
import pytest

from gyre_crds.contracts.store import StoreEnv
from gyre_serving.router.payloads.store import open_store
from tests.serving.support.triton import free_port

BUCKET = "gyre"
ACCESS, SECRET = "tests", "a-secret-of-the-tests"


@contextmanager
def served(root: Path, meta: Path, port: int | None = None) -> Iterator[dict[str, str]]:
    """The environment that reaches the server; its bucket lies in `root`, its own notes in `meta`."""
    cache = Path(os.environ.get("GYRE_CACHE") or Path.home() / ".cache" / "gyre")
    programs = sorted(cache.glob("bin/versitygw-*/versitygw"))
    if not programs:
        pytest.skip("no S3 server: run `make cluster-up` once, which builds it")
    (root / BUCKET).mkdir(parents=True, exist_ok=True)
    meta.mkdir(exist_ok=True)
    port = port or free_port()
    options = ["--port", f"127.0.0.1:{port}", "--access", ACCESS, "--secret", SECRET, "--quiet"]
    command = [str(programs[-1]), *options, "posix", "--sidecar", str(meta), str(root)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        try:
            yield {
                StoreEnv.ENDPOINT: f"http://127.0.0.1:{port}",
                StoreEnv.ACCESS_KEY_ID: ACCESS,
                StoreEnv.SECRET_ACCESS_KEY: SECRET,
                StoreEnv.REGION: "us-east-1",
            }
        finally:
            server.terminate()


def rows(uri: str, environment: Mapping[str, str]) -> list[dict[str, Any]]:
    """All rows below `uri`, as a reader of the store finds them; half a part raises."""
    store = open_store(uri, environment)
    paths = [item["path"] for batch in obstore.list(store) for item in batch]
    bodies = (bytes(obstore.get(store, path).bytes()) for path in paths)
    return [row for body in bodies for row in pq.read_table(io.BytesIO(body)).to_pylist()]
