"""The ground of every row: a control plane with kwok nodes, a fast client, and its audit log."""

import asyncio
import json
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from gyre_crds.v1alpha1 import TrainingJob
from gyre_operators.engine.kinds import NAMESPACE, SERVICE_ACCOUNT, Kind, gyre
from tests.bench.controller.kinds import NAIVE, NAIVE_CRD
from tests.localcluster import ControlPlane, control_plane

TRAINING_JOB = gyre(TrainingJob)
AT_ONCE = 16
"""Requests of the client in flight."""
_CRDS = Path(__file__).parents[3] / "crds"
_CONTENT = {"PATCH": "application/merge-patch+json"}
_READS = ("get", "list", "watch")


@dataclass(frozen=True)
class Write:
    """One write that the API server let through, as its audit log tells it."""

    agent: str
    verb: str
    what: str
    """Resource, with "/status" where it was one."""
    namespace: str
    at: float
    """Seconds since the epoch."""


@dataclass
class Site:
    """A running control plane and the client of the bench."""

    plane: ControlPlane
    session: aiohttp.ClientSession
    _read: int = field(default=0)

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        """One request; the decoded answer."""
        headers = {"Content-Type": _CONTENT.get(method, "application/json")}
        data = None if body is None else json.dumps(body)
        async with self.session.request(method, path, data=data, headers=headers) as answer:
            if answer.status >= 400:
                raise RuntimeError(f"{method} {path}: {answer.status} {await answer.text()}")
            return await answer.json()

    async def many(self, work: Iterable[Callable[[], Awaitable[Any]]]) -> list[Any]:
        """Do all of it, `AT_ONCE` at a time."""
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(task: Callable[[], Awaitable[Any]]) -> Any:
            async with gate:
                return await task()

        return await asyncio.gather(*(one(task) for task in work))

    async def create(self, kind: Kind, namespace: str, bodies: Iterable[Any]) -> list[Any]:
        """Create all of them, `AT_ONCE` at a time; what the server made of them, in order."""
        path = kind.path(namespace)
        return await self.many([partial(self.ask, "POST", path, body) for body in bodies])

    async def namespace(self, name: str) -> str:
        """A new namespace in which pods can be made; its name."""
        await self.ask("POST", NAMESPACE.path(), {"metadata": {"name": name}})

        async def has_account() -> bool:
            return await self.count(SERVICE_ACCOUNT, name) > 0

        await until(has_account, 30, f"the service account of {name}")
        return name

    async def count(self, kind: Kind, namespace: str) -> int:
        """How many objects there are, for the price of one."""
        found = await self.ask("GET", f"{kind.path(namespace)}?limit=1")
        return len(found["items"]) + int(found["metadata"].get("remainingItemCount", 0))

    async def items(self, kind: Kind, namespace: str) -> list[Any]:
        """All objects of a kind in a namespace."""
        found: list[Any] = (await self.ask("GET", kind.path(namespace)))["items"]
        return found

    def writes(self) -> list[Write]:
        """The writes since the last call, without Leases and Events."""
        with self.plane.audit_log.open("rb") as log:
            log.seek(self._read)
            lines = log.readlines()
            self._read = log.tell()
        return list(_writes(lines))


def _writes(lines: Iterable[bytes]) -> Iterator[Write]:
    for line in lines:
        entry = json.loads(line)
        about = entry.get("objectRef", {})
        if entry["verb"] in _READS or entry["responseStatus"]["code"] >= 400:
            continue
        if about.get("resource") in ("leases", "events", None):
            continue
        what = "/".join(filter(None, (about["resource"], about.get("subresource"))))
        at = datetime.fromisoformat(entry["stageTimestamp"]).timestamp()
        yield Write(entry.get("userAgent", ""), entry["verb"], what, about.get("namespace", ""), at)


def credentials(plane: ControlPlane) -> dict[str, str]:
    """Where the administrator's certificate is, as environment variables of the peer."""
    pki = plane.layout.state.pki
    names = {"CA": "ca.crt", "CERTIFICATE": "admin.crt", "KEY": "admin.key"}
    return {"BENCH_SERVER": plane.url, **{f"BENCH_{key}": str(pki / file) for key, file in names.items()}}


@contextmanager
def _plane(nodes: int) -> Iterator[ControlPlane]:
    with control_plane(kwok=True, nodes=nodes, audit=True) as plane:
        bodies = [yaml.safe_load(file.read_text()) for file in sorted(_CRDS.glob("*.gyre.dev.yaml"))]
        for body in (*bodies, NAIVE_CRD):
            plane.api.apply("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", body)
        yield plane


@asynccontextmanager
async def site(nodes: int) -> AsyncIterator[Site]:
    """A control plane with that many kwok nodes, Gyre's kinds and the peer's."""
    with _plane(nodes) as plane:
        paths = credentials(plane)
        context = ssl.create_default_context(cafile=paths["BENCH_CA"])
        context.load_cert_chain(paths["BENCH_CERTIFICATE"], paths["BENCH_KEY"])
        connector = aiohttp.TCPConnector(ssl=context, limit=0)
        async with aiohttp.ClientSession(plane.url, connector=connector, headers={"User-Agent": "bench"}) as session:
            found = Site(plane, session)
            for kind in (TRAINING_JOB, NAIVE):
                await until(partial(_served, found, kind), 30, f"{kind.plural} served")
            yield found


async def _served(found: Site, kind: Kind) -> bool:
    try:
        await found.ask("GET", kind.path("default"))
    except RuntimeError:
        return False
    return True


async def until(condition: Callable[[], Awaitable[bool]], seconds: float, what: str, *, every: float = 0.3) -> None:
    """Wait for a condition.

    Raises:
        TimeoutError: it did not come in time.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while not await condition():
        if loop.time() > end:
            raise TimeoutError(f"not within {seconds:g} s: {what}")
        await asyncio.sleep(every)


def machine() -> str:
    """The processor and how much of it."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
    return f"{os.cpu_count()} x {model}"
