"""A namespace whose pods and routers the test plays: there is no kubelet on this tier."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from gyre_crds.contracts.routing import (
    CONFIG_KEY,
    CONTROL_PORT,
    BackendState,
    Counter,
    RouterCounters,
    RouterState,
    RoutingTable,
)
from gyre_crds.v1alpha1 import InferenceService, ModelVersion
from gyre_operators.engine.kinds import CONFIG_MAP, POD, Kind, gyre
from tests.integration.engine.harness import Cluster
from tests.operators.builders import body, digest_of

_TRIES = 20

SIGNATURE = {
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
    "outputs": [{"name": "y", "datatype": "INT64", "shape": [-1]}],
}


class Street:
    """The namespace, its pods as the test declares them, and its router's control port."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.counts: dict[str, Counter] = {}
        self.callers: dict[str, int] = {}
        """Tokens that the routers know, by service."""
        self.address = ""
        """Of every pod, and of the routers' control port."""

    async def status(self, kind: Kind, name: str, status: dict[str, Any]) -> None:
        """Write a status, as another controller would."""
        path = kind.path(self.cluster.namespace, name, "status")
        await self.cluster.ask("PATCH", path, {"status": status}, "merge")

    async def version(self, name: str, *, trained: str) -> None:
        """A version that passed its gates."""
        spec = {
            "model": "census",
            "source": {"uri": f"s3://gyre/x/sha256/{name}"},
            "digest": digest_of(name),
            "signature": SIGNATURE,
            "lineage": {"trainedAt": trained},
            "evidence": {"reference": "s3://gyre/x/reference.parquet"},
        }
        await self.cluster.create(gyre(ModelVersion), plain("ModelVersion", name, spec))
        ready = {"type": "Ready", "status": "True", "reason": "Ready", "lastTransitionTime": trained}
        await self.status(gyre(ModelVersion), name, {"conditions": [ready]})

    async def pods_answer(self) -> None:
        """Every pod that stands there becomes ready."""
        for pod in await self.cluster.all(POD):
            if any(c["type"] == "Ready" for c in pod.get("status", {}).get("conditions", [])):
                continue
            now = "2026-01-01T00:00:00Z"
            said = {
                "phase": "Running",
                "podIP": self.address,
                "podIPs": [{"ip": self.address}],
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": now}],
            }
            await self.status(POD, pod["metadata"]["name"], said)

    async def get(self, resource: Any, name: str = "census") -> dict[str, Any]:
        """An object's status."""
        found = await self.cluster.get(gyre(resource), name)
        status: dict[str, Any] = (found or {}).get("status") or {}
        return status

    async def reason(self, resource: Any) -> str:
        """The reason of its Ready condition."""
        conditions = (await self.get(resource)).get("conditions", [])
        return next((c["reason"] for c in conditions if c["type"] == "Ready"), "")

    async def table(self) -> RoutingTable | None:
        """The routing table as it stands."""
        found = await self.cluster.get(CONFIG_MAP, "gyre-router")
        return RoutingTable.model_validate_json(found["data"][CONFIG_KEY]) if found else None

    async def weights(self) -> dict[str, int]:
        """Weights by version in the table."""
        table = await self.table()
        return {r.version: r.weight for s in table.services for r in s.revisions} if table else {}

    async def serves(self, version: str) -> bool:
        """Whether the service says that this version serves."""
        await self.pods_answer()
        status = await self.get(InferenceService)
        return bool(status.get("stable", {}).get("version") == version and "candidate" not in status)

    async def state(self, _: web.Request) -> web.Response:
        """GET /v1/state: the newest table, all backends healthy."""
        table = await self.table() or RoutingTable(namespace="x")
        services = {
            route.name: [
                BackendState(revision=r.revision, endpoints=1, healthy=1, in_flight=0) for r in route.revisions
            ]
            for route in table.services
        }
        said = RouterState(
            pod="p", epoch="e", generation=table.generation, services=services, callers=self.callers, tls="", reviews=""
        )
        return web.json_response(said.dump())

    async def counters(self, _: web.Request) -> web.Response:
        """GET /v1/counters."""
        table = await self.table() or RoutingTable(namespace="x")
        said = RouterCounters(pod="p", epoch="e", generation=table.generation, services={"census": self.counts})
        return web.json_response(said.dump())


@asynccontextmanager
async def open_street(cluster: Cluster) -> AsyncIterator[Street]:
    """The namespace with a router that answers, on a loopback address of its own: its port is fixed."""
    made = Street(cluster)
    app = web.Application()
    app.router.add_get("/v1/state", made.state)
    app.router.add_get("/v1/counters", made.counters)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        made.address = await _listen(runner)
        yield made
    finally:
        await runner.cleanup()


async def _listen(runner: web.AppRunner) -> str:
    """Take an address that nobody else on this machine has; streets of other tests may stand beside."""
    for _ in range(_TRIES):
        address = "127." + ".".join(str(random.randint(2, 250)) for _ in range(3))  # noqa: S311  no secret
        try:
            await web.TCPSite(runner, address, CONTROL_PORT).start()
        except OSError:
            continue
        return address
    raise OSError(f"port {CONTROL_PORT} was taken on each of {_TRIES} loopback addresses")


def plain(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    """One of Gyre's objects for any namespace."""
    made = body(kind, name, spec)
    return {**made, "metadata": {"name": name}}
