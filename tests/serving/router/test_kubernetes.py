"""The router in a cluster: a real API server, the narrowest role, and the server's absence."""

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gyre_serving.router.endpoints import Registry
from gyre_serving.router.sources.kubernetes import Access, SliceWatch, addresses
from tests.localcluster.control import ControlPlane, control_plane

NAMESPACE = "team-a"
MAPS = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
SLICES = f"/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices"
ROLES = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{NAMESPACE}"
RULES = [
    {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["gyre-router"], "verbs": ["list", "watch"]},
    {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
]


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    """A control plane with the router's service account."""
    with control_plane() as running:
        api = running.api
        api.request("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
        api.request("POST", f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts", {"metadata": {"name": "gyre-router"}})
        api.request("POST", f"{ROLES}/roles", {"metadata": {"name": "gyre-router"}, "rules": RULES})
        binding = {
            "metadata": {"name": "gyre-router"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "gyre-router"},
            "subjects": [{"kind": "ServiceAccount", "name": "gyre-router", "namespace": NAMESPACE}],
        }
        api.request("POST", f"{ROLES}/rolebindings", binding)
        yield running


@pytest.fixture
def access(plane: ControlPlane, tmp_path: Path) -> Iterator[Access]:
    """What a Pod of the service account finds."""
    path = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/gyre-router/token"
    token = plane.api.request("POST", path, {"spec": {"expirationSeconds": 3600}})["status"]["token"]
    (tmp_path / "token").write_text(token)
    yield Access(plane.url, NAMESPACE, tmp_path / "token", plane.layout.state.pki / "ca.crt")
    for collection in (MAPS, SLICES):
        plane.api.request("DELETE", collection)


def _own_address() -> str:
    """An address of this machine that a slice may hold: not loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing; only asks which address would be used
        return str(probe.getsockname()[0])


def _slice(name: str, address: str, **conditions: bool) -> dict[str, Any]:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": "m-r1"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address], "conditions": {"ready": True, **conditions}}],
        "ports": [{"port": 8000}],
    }


def _map(text: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "gyre-router"}, "data": {"table.json": text}}


async def _until(check: Callable[[], Awaitable[bool]], seconds: float = 20.0) -> None:
    for _ in range(int(seconds / 0.05)):
        if await check():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it did not come to pass")


@pytest.mark.cluster
async def test_table_and_endpoints_come_from_the_cluster(
    plane: ControlPlane, access: Access, start: Any, models: Any, kit: Any
) -> None:
    """With two list and watch rights the router follows table and Pods; no loss of them stops it."""
    model = await models(host="0.0.0.0")
    route = kit.route(model) | {"service": "m-r1", "port": model.port}
    router = await start(None, access=access)

    async def state() -> Any:
        return await router.get_control("/v1/state")

    async def answers() -> bool:
        return bool((await router.infer(kit.rows([60, 1, 1])))[0] == 200)

    assert "no ConfigMap gyre-router" in (await state())["refused"]
    first = kit.table(route)
    plane.api.request("POST", SLICES, _slice("m-r1-a", _own_address()))
    plane.api.request("POST", MAPS, _map(first))
    await _until(answers)
    assert (await state())["generation"] == json.loads(first)["generation"]

    second = kit.table(route, salt="changed")
    plane.api.request("PUT", f"{MAPS}/gyre-router", _map(second))

    async def runs_second() -> bool:
        return bool((await state())["generation"] == json.loads(second)["generation"])

    await _until(runs_second)
    plane.api.request("DELETE", f"{MAPS}/gyre-router")

    async def says_gone() -> bool:
        return bool((await state())["refused"] == "no ConfigMap gyre-router")

    await _until(says_gone)
    assert await answers()

    await asyncio.to_thread(plane.stop_program, "kube-apiserver", patience=0)
    for _ in range(20):
        assert await answers()
        await asyncio.sleep(0.05)
    await asyncio.to_thread(plane.start_program, "kube-apiserver")
    third = kit.table(route, salt="after")
    plane.api.request("POST", MAPS, _map(third))

    async def runs_third() -> bool:
        return bool((await state())["generation"] == json.loads(third)["generation"])

    await _until(runs_third, 40)
    plane.api.request("DELETE", f"{SLICES}/m-r1-a")

    async def no_endpoint() -> bool:
        return bool((await state())["services"]["m"][0]["endpoints"] == 0)

    await _until(no_endpoint, 40)
    status, answer, headers = await router.infer(kit.rows([1, 1, 1]))
    assert (status, headers["retry-after"]) == (503, "1")
    assert answer["error"] == "v-r1 has no ready model server"


@pytest.mark.cluster
async def test_history_that_is_gone_is_listed_again(plane: ControlPlane, access: Access) -> None:
    """A watch from a place that the server no longer knows (410) ends in a new list, not in silence."""
    plane.api.request("POST", SLICES, _slice("m-r1-a", _own_address()))
    await asyncio.to_thread(plane.stop_program, "kube-apiserver", patience=0)
    await asyncio.to_thread(plane.start_program, "kube-apiserver")  # its watch cache begins now
    seen: list[dict[str, tuple[str, ...]]] = []
    registry = Registry()
    registry.discovered = seen.append  # type: ignore[method-assign, assignment]
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=access.tls())) as session:
        watch = SliceWatch(access, session, registry)
        watch._version = "1"
        task = asyncio.create_task(watch.run())

        async def listed() -> bool:
            return bool(seen)

        await _until(listed)
        task.cancel()
    assert seen[-1] == {"m-r1": (_own_address(),)}
    assert int(watch._version) > 1


def test_ready_before_ending() -> None:
    """A Service has its ready addresses of all slices; those that end but still serve only when none is ready."""
    ready = _slice("a", "10.0.0.1")
    ending = _slice("b", "10.0.0.2", ready=False, serving=True, terminating=True)
    gone = _slice("c", "10.0.0.3", ready=False, serving=False, terminating=True)
    assert addresses([ready, ending, gone]) == {"m-r1": ("10.0.0.1",)}
    assert addresses([ending, gone]) == {"m-r1": ("10.0.0.2",)}
    assert addresses([gone]) == {}
