"""A real `mlflow server`, and a proxy in front of it that loses answers."""

import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from aiohttp import ClientSession, web

ROOT = Path(__file__).resolve().parents[3]
LOCK = ROOT / "tests/localcluster/images/mlflow/requirements.lock"
_START = 180.0


def cache() -> Path:
    """Where slow things are kept between runs."""
    return Path(os.environ.get("GYRE_CACHE") or Path.home() / ".cache/gyre")


def program() -> Path:
    """The mlflow executable of an environment of its own, installed from the lock when there is none."""
    home = cache() / "mlflow"
    named = os.environ.get("GYRE_MLFLOW")
    places = [*([Path(named)] if named else []), ROOT / ".venvs/mlflow/bin/mlflow", home / "bin/mlflow"]
    found = next((place for place in places if place.is_file()), None)
    if found is not None:
        return found
    subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
    pip = [str(home / "bin/pip"), "install", "--quiet", "--require-hashes", "-r", str(LOCK)]
    subprocess.run(pip, check=True)
    return home / "bin/mlflow"


class MlflowServer:
    """One server on a free port with a database of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = folder / "mlflow.sqlite"
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it is healthy; started again, it knows what it knew."""
        template = cache() / "mlflow-3.17.sqlite"
        if template.exists() and not self.database.exists():
            # A new database is migrated through every version MLflow ever had: half a minute.
            shutil.copy(template, self.database)
        environment = {
            **os.environ,
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "PATH": f"{program().parent}:{os.environ['PATH']}",
        }
        argv = [
            str(program()),
            "server",
            *("--backend-store-uri", f"sqlite:///{self.database}"),
            *("--artifacts-destination", str(self.folder / "artifacts")),
            *("--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"),
        ]
        with (self.folder / "mlflow.log").open("wb") as log:
            self._process = subprocess.Popen(
                argv, env=environment, cwd=self.folder, stdout=log, stderr=log, start_new_session=True
            )
        self._wait()
        if not template.exists():
            template.parent.mkdir(parents=True, exist_ok=True)
            part = template.with_suffix(f".{os.getpid()}")
            with sqlite3.connect(self.database) as source, sqlite3.connect(part) as target:
                source.backup(target)
            source.close()
            target.close()
            part.rename(template)

    @property
    def runs(self) -> bool:
        """Whether it was started and not stopped since."""
        return self._process is not None and self._process.poll() is None

    def _wait(self) -> None:
        until = time.monotonic() + _START
        while time.monotonic() < until:
            assert self._process is not None
            if self._process.poll() is not None:
                break
            try:
                with urllib.request.urlopen(f"{self.url}/health", timeout=2) as answer:  # noqa: S310  our own server
                    if answer.status == 200:
                        return
            except (urllib.error.URLError, OSError):
                time.sleep(0.3)
        raise RuntimeError((self.folder / "mlflow.log").read_text()[-2000:])

    def stop(self) -> None:
        """End it and its workers."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, 15)
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, 9)
                self._process.wait(20)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


Verdict = Callable[[str, str], str]
"""From method and path to `pass`, `lose` (carry out, answer 502), `drop` (502 at once), `html` or `host`."""


class Proxy:
    """Stands between client and server, and does to each request what its verdict says."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.verdict: Verdict = lambda _method, _path: "pass"
        self.seen: list[tuple[str, str]] = []
        """Method and last part of the path of each request."""
        self.url = ""
        self._runner: web.AppRunner | None = None
        self._http: ClientSession | None = None

    async def start(self) -> None:
        """Listen on a free port."""
        application = web.Application()
        application.router.add_route("*", "/{tail:.*}", self._handle)
        self._http = ClientSession()
        self._runner = web.AppRunner(application)
        await self._runner.setup()
        port = _free_port()
        await web.TCPSite(self._runner, "127.0.0.1", port).start()
        self.url = f"http://127.0.0.1:{port}"

    async def stop(self) -> None:
        """Close everything."""
        if self._runner is not None:
            await self._runner.cleanup()
        if self._http is not None:
            await self._http.close()

    async def _handle(self, request: web.Request) -> web.Response:
        path = request.path.rpartition("mlflow/")[2]
        self.seen.append((request.method, path))
        verdict = self.verdict(request.method, path)
        if verdict == "drop":
            return web.Response(status=502, text="bad gateway")
        if verdict == "html":
            return web.Response(text="<html>not what you think</html>", content_type="text/html")
        assert self._http is not None
        headers = {"Content-Type": "application/json"}
        if verdict == "host":
            headers["Host"] = "mlflow.example:5000"
        content = await request.read()
        target = f"{self.target}{request.path_qs}"
        async with self._http.request(request.method, target, data=content, headers=headers) as answer:
            body = await answer.read()
            if verdict == "lose":
                return web.Response(status=502, text="bad gateway")
            return web.Response(status=answer.status, body=body, content_type=answer.content_type)
