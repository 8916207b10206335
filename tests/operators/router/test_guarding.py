"""Tokens turned on and off: no moment in which a service is open that must not be, and none in which it is shut."""

import json
from datetime import timedelta
from typing import Any

import pytest

from gyre_crds.contracts.routing import CONFIG_KEY, TLS_SECRET, TOKEN_ROOT
from gyre_crds.v1alpha1 import InferenceService
from gyre_operators.engine.kinds import CONFIG_MAP, DEPLOYMENT, gyre
from gyre_operators.engine.plan import Key, Ref
from gyre_operators.router.controller import RouterController
from gyre_operators.workload.tokens import TLS_VOLUME, volume_name
from tests.operators.builders import NAMESPACE, NOW, FakeApi, Town, body, digest_of, key, services, text, version

SPACE = Key(NAMESPACE, "")
STATUS = {
    "stable": {"revision": "r-v1", "version": "v1", "digest": digest_of("v1")},
    "traffic": [{"revision": "r-v1", "wanted": 100}],
}


def asking(secret: str | None, **more: Any) -> dict[str, Any]:
    """The service's spec with its tokens."""
    auth = {"auth": {"tokens": {"secret": secret}, **more}} if secret else {}
    return {"model": {"name": "census"}, **auth}


def pod(name: str, *secrets: str, **meta: Any) -> dict[str, Any]:
    """A router pod with these Secrets mounted."""
    labels = {"gyre.dev/role": "router"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE, "uid": f"uid-{name}", "labels": labels, **meta},
        "spec": {"volumes": [{"name": "tmp"}, *({"name": volume_name(secret)} for secret in secrets)]},
        "status": {"phase": "Running"},
    }


class City(Town):
    """A namespace with two router pods, whose Deployment somebody else carries out."""

    def __init__(self) -> None:
        api = FakeApi()
        super().__init__(RouterController(services(api=api)))
        api.world = self
        for made in (version("v1"), pod("a"), pod("b")):
            self.put(made)

    def serve(self, spec: dict[str, Any], status: dict[str, Any] | None = None) -> None:
        """Make or replace the service."""
        self.put(body("InferenceService", "census", spec, STATUS if status is None else status, uid="uid-census"))

    def want(self, spec: dict[str, Any]) -> None:
        """Change its spec."""
        held = self.object(InferenceService, "census")
        self.put({**held, "spec": spec})

    async def turned(self) -> dict[str, Any]:
        """The service's route after the controller has nothing more to do."""
        await self.turn("router", SPACE, NOW)
        config_map = self.get(CONFIG_MAP, key("gyre-router"))
        assert config_map is not None
        route: dict[str, Any] = json.loads(config_map["data"][CONFIG_KEY])["services"][0]
        return route

    def mounts(self) -> list[str]:
        """Secrets that the Deployment's pods have mounted."""
        deployment = self.get(DEPLOYMENT, key("gyre-router"))
        assert deployment is not None
        volumes = deployment["spec"]["template"]["spec"]["volumes"]
        named = [one["secret"]["secretName"] for one in volumes if "secret" in one]
        return [name for name in named if name != TLS_SECRET]


@pytest.fixture
def city() -> City:
    """A namespace with two router pods."""
    return City()


def tokens_of(route: dict[str, Any]) -> str | None:
    """The Secret that the route asks for."""
    auth = route.get("auth")
    return auth["tokens"].removeprefix(f"{TOKEN_ROOT}/") if auth else None


async def test_service_in_use_stays_open_until_every_router_has_the_tokens(city: City) -> None:
    """The mount comes at once, the demand after the last pod without it is gone."""
    city.serve(asking(None))
    await city.turned()
    city.want(asking("callers"))
    assert tokens_of(await city.turned()) is None
    assert city.mounts() == ["callers"]
    city.put(pod("a", "callers"))
    assert tokens_of(await city.turned()) is None
    city.put(pod("b", "callers"))
    route = await city.turned()
    assert tokens_of(route) == "callers"
    assert len(route["revisions"]) == 1


async def test_new_service_is_not_open_for_a_moment(city: City) -> None:
    """Its route leads nowhere, and asks for tokens, until the routers have them."""
    city.serve(asking("callers"))
    route = await city.turned()
    assert (tokens_of(route), route.get("revisions", [])) == ("callers", [])
    assert city.mounts() == ["callers"]
    for name in ("a", "b"):
        city.put(pod(name, "callers"))
    route = await city.turned()
    assert (tokens_of(route), len(route["revisions"])) == ("callers", 1)


async def test_shut_route_copies_to_nobody(city: City) -> None:
    """A mirror without its revision would make routers refuse the table, and with it every service's change."""
    city.put(version("v2"))
    candidate = {"revision": "r-v2", "version": "v2", "digest": digest_of("v2")}
    spec = {"rollout": {"strategy": "Shadow"}, **asking("callers")}
    traffic = [*STATUS["traffic"], {"revision": "r-v2", "wanted": 0}]
    city.serve(spec, {**STATUS, "candidate": candidate, "traffic": traffic})
    route = await city.turned()
    assert (route.get("revisions", []), route.get("mirror")) == ([], None)
    for name in ("a", "b"):
        city.put(pod(name, "callers"))
    route = await city.turned()
    assert route["mirror"]["revision"] == "r-v2"


async def test_namespace_without_router_pods_waits_for_nothing(city: City) -> None:
    """Whatever pod comes, comes from a Deployment that has the mount."""
    for name in ("a", "b"):
        city.remove(Ref("v1", "Pod", NAMESPACE, name))
    city.serve(asking("callers"))
    route = await city.turned()
    assert (tokens_of(route), len(route["revisions"])) == ("callers", 1)


@pytest.mark.parametrize(
    ("left", "asked"),
    [
        pytest.param(timedelta(seconds=20), None, id="a pod that ends may still get a request"),
        pytest.param(timedelta(seconds=-1), "callers", id="past its grace period it cannot"),
    ],
)
async def test_pod_that_ends_counts_until_its_grace_period_is_over(
    city: City, left: timedelta, asked: str | None
) -> None:
    """Also where its node is gone and nobody ever removes it."""
    city.serve(asking(None))
    await city.turned()
    city.want(asking("callers"))
    city.put(pod("a", "callers"))
    city.put(pod("b", deletionTimestamp=text(NOW + left)))
    assert tokens_of(await city.turned()) == asked


async def test_tokens_are_dropped_from_the_table_before_the_mount_goes(city: City) -> None:
    """One write comes after the other: no router without the Secret ever runs a table that asks for it."""
    city.serve(asking("callers"))
    for name in ("a", "b"):
        city.put(pod(name, "callers"))
    await city.turned()
    city.want(asking(None))
    await city.once("router", SPACE, NOW)
    assert city.mounts() == ["callers"]
    assert tokens_of(await city.turned()) is None
    assert city.mounts() == []


async def test_other_secret_takes_over_when_every_router_has_it(city: City) -> None:
    """Until then the former tokens are asked for, and both are mounted."""
    city.serve(asking("callers"))
    for name in ("a", "b"):
        city.put(pod(name, "callers"))
    await city.turned()
    city.want(asking("partners"))
    assert tokens_of(await city.turned()) == "callers"
    assert city.mounts() == ["callers", "partners"]
    for name in ("a", "b"):
        city.put(pod(name, "callers", "partners"))
    assert tokens_of(await city.turned()) == "partners"
    assert city.mounts() == ["partners"]


async def test_table_that_cannot_be_read_opens_nothing(city: City) -> None:
    """Whether the service was open nobody knows then: it is answered once the routers can ask."""
    city.serve(asking(None))
    await city.turned()
    city.patch(CONFIG_MAP, key("gyre-router"), data={CONFIG_KEY: "{"})
    city.want(asking("callers"))
    route = await city.turned()
    assert (tokens_of(route), route.get("revisions", [])) == ("callers", [])


async def test_service_made_anew_with_tokens_inherits_no_open_route(city: City) -> None:
    """Deleted and made again under its name between two looks."""
    city.serve(asking(None))
    await city.turned()
    city.remove(Ref("gyre.dev/v1alpha1", "InferenceService", NAMESPACE, "census"))
    city.serve(asking("callers"), {})
    assert (await city.turned()).get("revisions", []) == []
    city.patch(gyre(InferenceService), key("census"), status=STATUS)
    route = await city.turned()
    assert (tokens_of(route), route.get("revisions", [])) == ("callers", [])


WAYS = {
    "tokenReview": {"audiences": ["census"], "allow": [{"serviceAccount": "shop/web"}]},
    "mtls": {"allow": [{"commonName": "web"}]},
}


@pytest.mark.parametrize("way", WAYS, ids=["tokens of Kubernetes", "certificates"])
async def test_routers_of_an_earlier_gyre_are_not_told_what_they_do_not_know(city: City, way: str) -> None:
    """They would refuse the table; the service stays as it was until the last of them is replaced."""
    city.serve(asking(None))
    await city.turned()
    city.want({"model": {"name": "census"}, "auth": {way: WAYS[way]}})
    assert (await city.turned()).get("auth") is None
    for name, told in (("a", False), ("b", True)):
        newer = pod(name)
        newer["spec"]["volumes"].append({"name": TLS_VOLUME})
        city.put(newer)
        assert bool((await city.turned()).get("auth")) == told
    assert city.mounts() == []
