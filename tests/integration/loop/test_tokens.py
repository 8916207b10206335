"""Tokens turned on in use, with the real Deployment controller replacing the router pods."""

from pathlib import Path
from typing import Any

import pytest

from gyre_crds.contracts.routing import AuthRule
from gyre_crds.v1alpha1 import InferenceService, Model
from gyre_operators.engine.kinds import POD, gyre
from gyre_operators.workload.tokens import volume_name
from tests.integration.engine.harness import Operator, until
from tests.integration.engine.proxy import Proxy
from tests.integration.loop.street import Street, plain

pytestmark = pytest.mark.cluster

PROGRAM = "tests.integration.loop.program"
SERVICE = {"model": {"name": "census", "version": "v1"}}
MODEL = {
    "contract": {"key": "id", "label": {"column": "employed"}},
    "training": {
        "template": {"image": "trainer:1", "command": ["python", "train.py"]},
        "triggers": [{"type": "Manual"}],
    },
}


async def _routers(street: Street) -> list[bool]:
    """Of each router pod, whether it has the Secret mounted."""
    pods = [pod for pod in await street.cluster.all(POD) if pod["metadata"]["labels"].get("gyre.dev/role") == "router"]
    return [volume_name("callers") in {volume["name"] for volume in pod["spec"]["volumes"]} for pod in pods]


async def _asked(street: Street) -> AuthRule | None:
    table = await street.table()
    return table.services[0].auth if table else None


async def _protected(street: Street) -> tuple[str, str]:
    """Status and reason of the condition."""
    conditions = (await street.get(InferenceService)).get("conditions", [])
    found: dict[str, Any] = next((one for one in conditions if one["type"] == "Protected"), {})
    return found.get("status", ""), found.get("reason", "")


async def test_tokens_are_asked_for_once_no_router_pod_lacks_them(street: Street, proxy: Proxy, tmp_path: Path) -> None:
    """Open and saying so while old pods stand; asked for after the last one went; a Secret without tokens is told."""

    async def says(status: str, reason: str) -> bool:
        return await _protected(street) == (status, reason)

    async def half_replaced() -> bool:
        return set(await _routers(street)) == {True, False}

    async def asks() -> bool:
        await street.pods_answer()
        rule = await _asked(street)
        lacking = not all(await _routers(street))
        assert not (lacking and rule), "a router that lacks the tokens was told to ask for them"
        return rule is not None

    async with Operator(tmp_path, proxy.url, street.cluster.namespace, program=PROGRAM):
        await street.cluster.create(gyre(Model), plain("Model", "census", MODEL))
        await street.version("v1", trained="2026-01-01T00:00:00Z")
        await street.cluster.create(gyre(InferenceService), plain("InferenceService", "census", SERVICE))
        await until(lambda: street.serves("v1"), 60, "v1 serves")
        path = gyre(InferenceService).path(street.cluster.namespace, "census")
        auth = {"auth": {"tokens": {"secret": "callers"}}}
        await street.cluster.ask("PATCH", path, {"spec": auth}, "merge")
        await until(half_replaced, 30, "a pod with the mount beside pods without it")
        await until(lambda: says("False", "RoutersRestarting"), 30, "the condition says so")
        assert await _asked(street) is None
        assert await street.reason(InferenceService) == "Serving"
        await until(asks, 60, "the table asks for tokens")
        assert set(await _routers(street)) == {True}
        await until(lambda: says("False", "NoTokens"), 30, "no router knows a token")
        street.callers = {"census": 1}
        await until(lambda: says("True", "Protected"), 30, "the routers know one")
