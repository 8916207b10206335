"""A real `mlflow server` on a free port with a database of its own."""

import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.pipelines.support.attempts import free_port

ROOT = Path(__file__).resolve().parents[3]
_START = 180.0


def program() -> Path | None:
    """The mlflow that other tests have installed, or None."""
    cache = Path(os.environ.get("GYRE_CACHE") or Path.home() / ".cache" / "gyre")
    named = os.environ.get("GYRE_MLFLOW")
    places = [*([Path(named)] if named else []), ROOT / ".venvs/mlflow/bin/mlflow", cache / "mlflow/bin/mlflow"]
    return next((place for place in places if place.is_file()), None)


@contextmanager
def serving(mlflow: Path, folder: Path) -> Iterator[str]:
    """The URL of a server that is up."""
    database = folder / "mlflow.sqlite"
    template = Path(os.environ.get("GYRE_CACHE") or Path.home() / ".cache" / "gyre") / "mlflow-3.17.sqlite"
    if template.exists():
        # A new database is migrated through every version MLflow ever had: half a minute.
        shutil.copy(template, database)
    port = free_port()
    command = [
        str(mlflow), "server", "--backend-store-uri", f"sqlite:///{database}", "--host", "127.0.0.1",
        "--artifacts-destination", str(folder / "artifacts"), "--port", str(port), "--workers", "1",
    ]  # fmt: skip
    environment = {
        **os.environ,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PATH": f"{mlflow.parent}:{os.environ['PATH']}",
    }
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    try:
        url = f"http://127.0.0.1:{port}"
        _wait(url, process, folder / "log")
        yield url
    finally:
        os.killpg(process.pid, 15)
        process.wait(30)


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + _START
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=2):  # noqa: S310  our own server
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)
    raise RuntimeError(log.read_text()[-2000:])
