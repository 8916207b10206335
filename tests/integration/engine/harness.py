"""Start, kill and ask the operator as a real process against a real control plane."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import IO, Any, Self

import aiohttp
import yaml

from gyre_crds.v1alpha1 import TrainingJob
from gyre_operators.engine.kinds import CONFIG_MAP, JOB, Kind, gyre
from tests.localcluster import ControlPlane
from tests.localcluster.api import ApiError

TRAINING_JOB = gyre(TrainingJob)
_ROOT = Path(__file__).parents[3]


class Cluster:
    """One namespace of the control plane, as a user with kubectl sees it."""

    def __init__(self, plane: ControlPlane, namespace: str) -> None:
        self.plane = plane
        self.namespace = namespace
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
        plane.api.request("POST", "/api/v1/namespaces", body)

    async def ask(self, method: str, path: str, body: Any = None, content: str = "json") -> Any:
        """One request as administrator."""
        kind = {"json": "application/json", "merge": "application/merge-patch+json"}[content]
        return await asyncio.to_thread(self.plane.api.request, method, path, body, kind)

    async def create(self, kind: Kind, body: Any) -> Any:
        """Create an object in this namespace."""
        body = {**body, "metadata": {**body["metadata"], "namespace": self.namespace}}
        return await self.ask("POST", kind.path(self.namespace), body)

    async def all(self, kind: Kind) -> list[Any]:
        """All objects of a kind in this namespace."""
        found: list[Any] = (await self.ask("GET", kind.path(self.namespace)))["items"]
        return found

    async def get(self, kind: Kind, name: str) -> Any:
        """One object, or None."""
        try:
            return await self.ask("GET", kind.path(self.namespace, name))
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    async def delete(self, kind: Kind, name: str) -> None:
        """Delete an object."""
        await self.ask("DELETE", kind.path(self.namespace, name))

    async def finish(self, job: str) -> None:
        """Let a Job succeed, as a kubelet and the Job controller would."""
        now = "2026-01-01T00:00:00Z"
        conditions = [
            {"type": kind, "status": "True", "lastTransitionTime": now, "lastProbeTime": now}
            for kind in ("SuccessCriteriaMet", "Complete")
        ]
        live = await self.get(JOB, job)
        start = live.get("status", {}).get("startTime", now)
        status: dict[str, Any] = {"startTime": start, "completionTime": start}
        status |= {"conditions": conditions, "succeeded": 1, "active": 0, "ready": 0}
        path = JOB.path(self.namespace, job, "status")
        await self.ask("PATCH", path, {"status": status}, "merge")

    async def reason(self, name: str) -> str:
        """The reason of a TrainingJob's Ready condition, "" when it has none."""
        body = await self.get(TRAINING_JOB, name)
        conditions = ((body or {}).get("status") or {}).get("conditions") or []
        return next((c["reason"] for c in conditions if c["type"] == "Ready"), "")

    async def jobs(self) -> list[str]:
        """The names of all Jobs."""
        return sorted(job["metadata"]["name"] for job in await self.all(JOB))

    async def maps(self) -> list[str]:
        """The names of our ConfigMaps."""
        names = [item["metadata"]["name"] for item in await self.all(CONFIG_MAP)]
        return sorted(name for name in names if name.endswith("-params"))


class Operator:
    """The operator as a process of its own."""

    def __init__(
        self,
        folder: Path,
        server: str,
        namespace: str,
        *,
        program: str = "tests.integration.engine.program",
        environment: Mapping[str, str] | None = None,
        **settings: Any,
    ) -> None:
        """`server` is the URL it talks to: a proxy, or a kubeconfig's path. `program` names the controllers.

        `environment` holds its credentials, `settings` the parts of its settings file.
        """
        self._program = program
        self.port = _free_port()
        self.log = folder / f"operator-{self.port}.log"
        self._process: asyncio.subprocess.Process | None = None
        config = folder / f"settings-{self.port}.yaml"
        content = {"namespaces": [namespace], "namespace": namespace, "healthPort": self.port}
        config.write_text(yaml.safe_dump(content | settings))
        kubeconfig = server if server.startswith("/") else str(_kubeconfig(folder, server))
        self._environment = {
            "PATH": os.environ["PATH"],
            "KUBECONFIG": kubeconfig,
            "GYRE_SETTINGS": str(config),
            # This checkout's own planes, wherever the environment has them from.
            "PYTHONPATH": os.pathsep.join(map(str, (_ROOT, _ROOT / "crds", _ROOT / "operators"))),
            **(environment or {}),
        }

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()

    async def start(self) -> None:
        """Start a process; returns before it is ready."""
        with self.log.open("ab") as log:
            self._process = await self.spawn(log, stdout=log)

    async def spawn(self, log: IO[bytes], **pipes: Any) -> asyncio.subprocess.Process:
        """The program as a process with this operator's settings."""
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", self._program), env=self._environment, stderr=log, cwd=_ROOT, **pipes
        )

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.returncode is None

    async def kill(self) -> None:
        """End it without a word: kill -9."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> int:
        """Ask it to end, as a kubelet does; its exit status."""
        return await self._end(signal.SIGTERM)

    async def _end(self, number: signal.Signals) -> int:
        assert self._process is not None
        if self.alive:
            self._process.send_signal(number)
        return await self._process.wait()

    async def health(self, path: str = "/readyz") -> tuple[int, str]:
        """Status and body of a probe; (0, "") when nobody answers."""
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"http://127.0.0.1:{self.port}{path}") as answer,
            ):
                return answer.status, await answer.text()
        except aiohttp.ClientError:
            return 0, ""

    async def answers(self) -> None:
        """Until it is ready: how long its start takes is the machine's business, and no test's claim."""

        async def ready() -> bool:
            return (await self.health())[0] == HTTPStatus.OK

        await until(ready, 180, "the operator is ready")

    async def metric(self, line: str) -> float:
        """The value of the metric line that starts with `line`."""
        _, text = await self.health("/metrics")
        found = [row for row in text.splitlines() if row.startswith(line)]
        return sum(float(row.rsplit(" ", 1)[1]) for row in found)


async def until(condition: Callable[[], Awaitable[Any]], seconds: float, what: str) -> float:
    """Wait for a condition; the seconds it took.

    Raises:
        AssertionError: it did not come in time.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    while loop.time() - began < seconds:
        if await condition():
            return loop.time() - began
        await asyncio.sleep(0.1)
    raise AssertionError(f"not within {seconds:g} s: {what}")


def _kubeconfig(folder: Path, server: str) -> Path:
    path = folder / "kubeconfig"
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    path.write_text(yaml.safe_dump(content))
    return path


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
