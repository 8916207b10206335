"""A router that is in use survives whatever its operator cannot read: old views and unknown fields."""

import json
from typing import Any

import pytest

from gyre_crds.contracts.routing import CONFIG_KEY
from gyre_crds.v1alpha1 import InferenceService
from gyre_operators.engine.kinds import CONFIG_MAP, DEPLOYMENT, SECRET, gyre
from gyre_operators.engine.plan import Key, Ref
from gyre_operators.router.controller import RouterController
from tests.operators.builders import NAMESPACE, NOW, FakeApi, Town, body, digest_of, key, monitor, services, version

SPACE = Key(NAMESPACE, "")
SERVICE = gyre(InferenceService)


def serving(name: str) -> dict[str, Any]:
    """A service that serves v1."""
    status = {
        "stable": {"revision": "r-v1", "version": "v1", "digest": digest_of("v1")},
        "traffic": [{"revision": "r-v1", "wanted": 100}],
    }
    return body("InferenceService", name, {"model": {"name": "census"}}, status, uid=f"uid-{name}")


def unreadable(name: str) -> dict[str, Any]:
    """The same as a later version of Gyre would write it: this one cannot parse it."""
    return {**serving(name), "spec": {"model": {"name": ["census"]}}}


@pytest.fixture
def town() -> Town:
    """A namespace with one version."""
    api = FakeApi()
    made = Town(RouterController(services(api=api)))
    api.world = made
    made.put(version("v1"))
    return made


async def settled(town: Town, *names: str) -> dict[str, Any]:
    """The namespace with services of those names and its router; its ConfigMap."""
    for name in names:
        town.put(serving(name))
    await town.turn("router", SPACE, NOW)
    return config_map(town)


def config_map(town: Town) -> dict[str, Any]:
    """The router's ConfigMap; it must be there."""
    found = town.get(CONFIG_MAP, key("gyre-router"))
    assert found is not None
    return found


def routes(town: Town) -> dict[str, Any]:
    """The routes by service."""
    return {route["name"]: route for route in json.loads(config_map(town)["data"][CONFIG_KEY])["services"]}


def owners(town: Town) -> list[str]:
    """Names of the ConfigMap's owners."""
    return [owner["name"] for owner in config_map(town)["metadata"]["ownerReferences"]]


def forget(town: Town, name: str) -> None:
    """The operator's own copy lacks a service that the server holds."""
    held = town.get(SERVICE, key(name))
    assert held is not None
    town.stores.open(next(w for w in RouterController.children if w.kind == SERVICE)).remove(
        key(name), int(held["metadata"]["resourceVersion"])
    )


async def test_only_service_that_does_not_parse_keeps_its_router(town: Town) -> None:
    """Nothing is deleted, and nothing changes in what is routed."""
    before = await settled(town, "census")
    town.put(unreadable("census"))
    await town.turn("router", SPACE, NOW)
    assert config_map(town)["data"] == before["data"]
    assert owners(town) == ["census"]
    assert len(town.all(DEPLOYMENT)) == len(town.all(SECRET)) == 1


async def test_service_that_does_not_parse_keeps_its_route_beside_others(town: Town) -> None:
    """The others go on changing, its route and its ownership stay as they were."""
    await settled(town, "census", "income")
    kept = routes(town)["census"]
    town.put(unreadable("census"))
    town.put({**serving("income"), "status": {}})
    await town.turn("router", SPACE, NOW)
    assert routes(town)["census"] == kept
    assert routes(town)["income"]["revisions"] == []
    assert owners(town) == ["census", "income"]
    assert await town.turn("router", SPACE, NOW) == 0


async def test_table_that_cannot_be_read_either_is_left_alone(town: Town) -> None:
    """With an unreadable service, an unreadable table may hold its route: nobody writes over it."""
    before = await settled(town, "census", "income")
    town.put({**before, "data": {CONFIG_KEY: '{"schema": "gyre.routing.v2"}'}})
    town.put(unreadable("census"))
    assert await town.turn("router", SPACE, NOW) == 0
    assert config_map(town)["data"] == {CONFIG_KEY: '{"schema": "gyre.routing.v2"}'}


async def test_table_that_cannot_be_read_is_made_anew_where_every_service_can(town: Town) -> None:
    """A broken table is repaired as soon as nothing can be lost by it."""
    before = await settled(town, "census")
    town.put({**before, "data": {CONFIG_KEY: "{"}})
    await town.turn("router", SPACE, NOW)
    assert config_map(town)["data"] == before["data"]


async def test_service_that_never_parsed_begins_no_router(town: Town) -> None:
    """There is nothing to route for it, and its controller says why on it."""
    town.put(unreadable("census"))
    assert await town.turn("router", SPACE, NOW) == 0
    assert town.all(DEPLOYMENT) == town.all(CONFIG_MAP) == []


async def test_service_that_does_not_parse_hinders_no_other_ones_beginning(town: Town) -> None:
    """The others get their router, and both own it."""
    town.put(unreadable("census"))
    await settled(town, "income")
    assert list(routes(town)) == ["income"]
    assert owners(town) == ["census", "income"]


async def test_unseen_service_keeps_its_router(town: Town) -> None:
    """A copy without the only service deletes nothing as long as the server holds it."""
    before = await settled(town, "census")
    forget(town, "census")
    await town.turn("router", SPACE, NOW)
    assert config_map(town)["data"] == before["data"]
    assert len(town.all(DEPLOYMENT)) == len(town.all(SECRET)) == 1


async def test_unseen_service_keeps_its_route_beside_others(town: Town) -> None:
    """A copy that lacks one of two takes no route away."""
    before = await settled(town, "census", "income")
    forget(town, "census")
    await town.turn("router", SPACE, NOW)
    assert config_map(town)["data"] == before["data"]
    assert owners(town) == ["census", "income"]


async def test_service_that_is_gone_takes_its_route_along(town: Town) -> None:
    """What the server holds no more, parsed or not, keeps nothing."""
    await settled(town, "census", "income")
    town.put(unreadable("census"))
    await town.turn("router", SPACE, NOW)
    town.remove(Ref("gyre.dev/v1alpha1", "InferenceService", NAMESPACE, "census"))
    await town.turn("router", SPACE, NOW)
    assert list(routes(town)) == ["income"]


@pytest.mark.parametrize(
    "made", [pytest.param(serving, id="it parses"), pytest.param(unreadable, id="it does not parse")]
)
async def test_service_on_its_way_out_keeps_no_router(town: Town, made: Any) -> None:
    """Being deleted, it is no reason for a router, though the server still holds it."""
    await settled(town, "census")
    body_ = made("census")
    meta = {**body_["metadata"], "deletionTimestamp": "2026-11-21T12:00:00Z", "finalizers": ["foregroundDeletion"]}
    town.put({**body_, "metadata": meta})
    await town.turn("router", SPACE, NOW)
    assert town.all(DEPLOYMENT) == town.all(CONFIG_MAP) == town.all(SECRET) == []


SIGNATURE = {
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
    "outputs": [{"name": "y", "datatype": "INT64", "shape": [-1]}],
}


async def test_version_that_does_not_parse_keeps_its_signature(town: Town) -> None:
    """Requests go on being checked by the signature that stands, and the ConfigMap says why.

    The check was taken out of the table.
    """
    town.put(version("v1", signature=SIGNATURE))
    before = await settled(town, "census")
    town.put(version("v1", signature={**SIGNATURE, "inputs": "x"}))
    await town.turn("router", SPACE, NOW)
    assert config_map(town)["data"] == before["data"]
    said = config_map(town)["metadata"]["annotations"]["gyre.dev/kept"]
    assert said.startswith("signature of revision r-v1: ModelVersion v1 (spec.signature.inputs")
    assert said.endswith("cannot be read, correct it")
    assert await town.turn("router", SPACE, NOW) == 0

    town.put(version("v1", signature=SIGNATURE))
    await town.turn("router", SPACE, NOW)
    assert config_map(town)["data"] == before["data"]
    planned = await town.plan(SPACE, NOW)
    assert planned is not None
    assert [manifest["metadata"].get("annotations") for manifest in planned.apply] == [None] * len(planned.apply)


async def test_monitor_that_does_not_parse_keeps_the_payload_log(town: Town) -> None:
    """Rows go on being logged for the monitor, and the ConfigMap says why; with the monitor the log goes.

    The log was taken out of the table, and the monitor would have seen no rows once it was corrected.
    """
    town.put(monitor())
    before = await settled(town, "census", "income")
    assert routes(town)["census"]["payloads"]
    town.put(monitor({"target": {"inferenceService": ["census"]}}))
    await town.turn("router", SPACE, NOW)
    assert config_map(town)["data"] == before["data"]
    assert "payloads" not in routes(town)["income"]
    said = config_map(town)["metadata"]["annotations"]["gyre.dev/kept"]
    assert said.startswith("payload log of InferenceService census: DriftMonitor census (spec.target.inferenceService")

    town.remove(Ref("gyre.dev/v1alpha1", "DriftMonitor", NAMESPACE, "census"))
    await town.turn("router", SPACE, NOW)
    assert "payloads" not in routes(town)["census"]


async def test_monitor_that_names_its_service_keeps_only_that_ones_payload_log(town: Town) -> None:
    """Of two logged services, the one whose monitor goes loses its log although another monitor does not parse.

    Every log of the namespace was kept.
    """
    other = monitor({"target": {"inferenceService": "income"}})
    other = {**other, "metadata": {**other["metadata"], "name": "income", "uid": "uid-other"}}
    town.put(monitor())
    town.put(other)
    await settled(town, "census", "income")
    assert routes(town)["census"]["payloads"]
    town.put(monitor({"falseAlarmRate": "rarely"}))
    town.remove(Ref("gyre.dev/v1alpha1", "DriftMonitor", NAMESPACE, "income"))
    await town.turn("router", SPACE, NOW)
    assert routes(town)["census"]["payloads"]
    assert "payloads" not in routes(town)["income"]
    said = config_map(town)["metadata"]["annotations"]["gyre.dev/kept"]
    assert said.startswith("payload log of InferenceService census: DriftMonitor census (spec.falseAlarmRate")


async def test_table_that_cannot_be_read_is_left_alone_for_a_monitor_too(town: Town) -> None:
    """With an unreadable monitor, an unreadable table may hold its payload log: nobody writes over it."""
    town.put(monitor({"target": {"inferenceService": ["census"]}}))
    before = await settled(town, "census")
    town.put({**before, "data": {CONFIG_KEY: "{"}})
    assert await town.turn("router", SPACE, NOW) == 0
