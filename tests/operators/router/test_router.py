"""The router of a namespace: its table, its objects, and that they come and go with the services."""

import json
from typing import Any

import pytest

from gyre_crds import names
from gyre_crds.contracts.routing import CONFIG_KEY, RoutingTable
from gyre_crds.v1alpha1 import DriftMonitor, InferenceService, ModelVersion
from gyre_operators.engine.kinds import CONFIG_MAP, DEPLOYMENT, ROLE, SECRET, SERVICE, gyre
from gyre_operators.engine.plan import Key, Ref
from gyre_operators.router.controller import RouterController
from gyre_operators.router.table import table
from tests.operators.builders import NAMESPACE, NOW, FakeApi, Town, digest_of, key, monitor, service, services, version

SPACE = Key(NAMESPACE, "")
SIGNATURE = {
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
    "outputs": [{"name": "y", "datatype": "INT64", "shape": [-1]}],
}


def ref(name: str, **more: Any) -> dict[str, Any]:
    """One revision in a status."""
    return {"revision": f"r-{name}", "version": name, "digest": digest_of(name), **more}


def stable() -> dict[str, Any]:
    """The status of a service that serves v1."""
    return {"stable": ref("v1"), "traffic": [{"revision": "r-v1", "wanted": 100}]}


def canary() -> dict[str, Any]:
    """The status of a service with v2 at 10 %."""
    traffic = [{"revision": "r-v1", "wanted": 90}, {"revision": "r-v2", "wanted": 10}]
    return {"stable": ref("v1"), "candidate": ref("v2", strata=[{"weight": 10}]), "traffic": traffic}


def composed(body: dict[str, Any], *, watched: frozenset[str] = frozenset()) -> RoutingTable:
    """The table of one service."""
    versions = {name: ModelVersion.model_validate(version(name, signature=SIGNATURE)) for name in ("v1", "v2")}
    return table(
        NAMESPACE, [InferenceService.model_validate(body)], versions, watched=watched, store="s3://gyre/default"
    )


@pytest.mark.parametrize(
    ("status", "weights"),
    [
        pytest.param({}, {}, id="a service without a revision has an empty list, so requests get 503"),
        pytest.param(stable(), {"v1": 100}, id="the stable revision has all traffic"),
        pytest.param(canary(), {"v1": 90, "v2": 10}, id="a canary has its share"),
        pytest.param(
            {**canary(), "traffic": [{"revision": "r-v1", "wanted": 90}]},
            {},
            id="weights that do not add up are not published",
        ),
    ],
)
def test_weights_come_from_the_status_and_sum_to_100(status: dict[str, Any], weights: dict[str, int]) -> None:
    """The table repeats what the service wants, or nothing."""
    route = composed(service(status=status)).services[0]
    assert {revision.version: revision.weight for revision in route.revisions} == weights


def test_route_carries_what_requests_are_checked_and_sent_by() -> None:
    """Signature, headless Service, upstream model and limits stand in the route."""
    limits = {"timeout": "1m30s", "clients": {"rate": 2.5, "header": "x-user"}}
    spec = {"limits": limits, "traffic": {"sticky": {"header": "x-user"}}, "validation": "Warn", "accessLog": 0.5}
    spec |= {"cache": {"ttl": "5m", "staleIfError": "1h"}, "batch": {"maxRows": 500}, "batching": {"maxSize": 32}}
    route = composed(service(spec, canary())).services[0]
    assert route.revisions[0].service == names.revision("census", "r-v1")
    assert route.revisions[0].model == "census"
    assert route.revisions[0].signature is not None
    assert (route.limits.timeout_seconds, route.sticky_header, route.validation) == (90.0, "x-user", "Warn")
    clients = route.limits.clients
    assert clients is not None
    assert (clients.rate, clients.burst, clients.header) == (2.5, 10, "x-user")
    assert composed(service({}, canary())).services[0].limits.clients is None
    assert route.access_sample == 0.5
    assert route.cache is not None
    assert (route.batch.rows, route.batch.max_rows, route.batch.concurrency) == (32, 500, 4)
    assert (route.cache.ttl_seconds, route.cache.max_bytes) == (300.0, 16777216)
    assert route.cache.stale_if_error_seconds == 3600.0
    assert composed(service({}, canary())).services[0].cache is None


@pytest.mark.parametrize(
    ("spec", "status", "revisions"),
    [
        pytest.param({}, canary(), None, id="unasked there is none"),
        pytest.param({"fallback": {}}, canary(), ["r-v1"], id="the stable revision answers for a candidate"),
        pytest.param({"fallback": {"stable": False}}, canary(), [], id="unless told otherwise"),
        pytest.param({"fallback": {}}, {}, [], id="before the first revision nobody does"),
    ],
)
def test_fallback_leads_to_the_stable_revision(
    spec: dict[str, Any], status: dict[str, Any], revisions: list[str] | None
) -> None:
    """The role becomes the revision that has it now."""
    fallback = composed(service(spec, status)).services[0].fallback
    assert (fallback.revisions if fallback else None) == revisions


def test_salt_is_the_leading_revision_before_and_after_it_took_over() -> None:
    """Keys move once, towards the candidate: promoting it must not shuffle them."""
    promoted = {"stable": ref("v2"), "traffic": [{"revision": "r-v2", "wanted": 100}]}
    before, after = composed(service(status=canary())), composed(service(status=promoted))
    assert before.services[0].salt == after.services[0].salt == "r-v2"


@pytest.mark.parametrize(
    ("status", "matches"),
    [
        pytest.param(canary(), [("beta", "r-v2"), ("plain", "r-v1")], id="both roles during a canary"),
        pytest.param(stable(), [("plain", "r-v1")], id="without a candidate its header means nothing"),
        pytest.param({}, [], id="before the first revision there is nowhere to go"),
        pytest.param(
            {**canary(), "traffic": [{"revision": "r-v1", "wanted": 100}]},
            [("plain", "r-v1")],
            id="a candidate that the routers do not know yet is not named",
        ),
    ],
)
def test_header_routes_lead_to_revisions_of_the_table(status: dict[str, Any], matches: list[tuple[str, str]]) -> None:
    """A role becomes the revision that has it now; routers would refuse a table with any other."""
    headers = [
        {"header": "x-group", "values": ["beta"]},
        {"header": "x-group", "values": ["plain"], "to": "Stable"},
    ]
    route = composed(service({"traffic": {"headers": headers}}, status)).services[0]
    assert [(match.values[0], match.revision) for match in route.matches] == matches


@pytest.mark.parametrize(
    ("spec", "watched", "prefix"),
    [
        pytest.param({}, frozenset(), None, id="nothing is logged unasked"),
        pytest.param({"payloads": {}}, frozenset(), "s3://gyre/default/payloads/census", id="the user asks"),
        pytest.param({}, frozenset({"census"}), "s3://gyre/default/payloads/census", id="a monitor asks"),
    ],
)
def test_payloads_are_logged_when_asked(spec: dict[str, Any], watched: frozenset[str], prefix: str | None) -> None:
    """A monitor without rows sees nothing, so targeting a service turns its log on."""
    payloads = composed(service(spec, stable()), watched=watched).services[0].payloads
    assert (payloads.prefix if payloads else None) == prefix


def test_shares_of_the_payload_log_stand_in_the_table() -> None:
    """What is logged and what of it is marked for labelling are the service's."""
    spec = {"payloads": {"sample": 0.5, "labelSample": 0.25}}
    payloads = composed(service(spec, stable())).services[0].payloads
    assert payloads is not None
    assert (payloads.sample, payloads.label_sample) == (0.5, 0.25)


def test_equal_content_is_an_equal_generation() -> None:
    """The generation says what is in the table, not when it was made."""
    assert composed(service(status=stable())).generation == composed(service(status=stable())).generation
    assert composed(service(status=stable())).generation != composed(service(status=canary())).generation


@pytest.fixture
def town() -> Town:
    """A namespace with one service and its monitor."""
    api = FakeApi()
    made = Town(RouterController(services(api=api)))
    api.world = made
    for body in (service(status=stable()), version("v1", signature=SIGNATURE), monitor()):
        made.put(body)
    return made


@pytest.mark.parametrize(
    ("options", "said"),
    [
        pytest.param({"sequence": {}}, True, id="answers that depend on those before"),
        pytest.param({"instances": 2}, False, id="other options"),
        pytest.param(None, False, id="no options"),
    ],
)
def test_route_says_that_requests_belong_together(options: Any, said: Any) -> None:
    """The router hears of sequences, so that it cuts no call into requests that lose their order."""
    spec = {"runtime": {"options": options}, "traffic": {"sticky": {"header": "x-user"}}}
    assert composed(service(spec, stable())).services[0].sequences is said


async def test_router_comes_with_the_first_service_and_then_rests(town: Town) -> None:
    """All objects are made, owned by the services together, and the next round changes nothing."""
    await town.turn("router", SPACE, NOW)
    config_map = town.get(CONFIG_MAP, key("gyre-router"))
    assert config_map is not None
    assert json.loads(config_map["data"][CONFIG_KEY])["services"][0]["name"] == "census"
    owners = config_map["metadata"]["ownerReferences"]
    assert [(owner["name"], owner["controller"]) for owner in owners] == [("census", False)]
    assert await town.turn("router", SPACE, NOW) == 0


async def test_key_that_signs_feedback_ids_is_made_once(town: Town) -> None:
    """Ids that were issued stay valid whatever else changes."""
    await town.turn("router", SPACE, NOW)
    first = town.get(SECRET, key("gyre-router-feedback"))
    town.patch(gyre(InferenceService), key("census"), status=canary())
    await town.turn("router", SPACE, NOW)
    assert town.get(SECRET, key("gyre-router-feedback")) == first
    assert first is not None
    assert len(first["stringData"]["key"]) == 64


async def test_router_may_read_its_table_and_endpoints_and_nothing_else(town: Town) -> None:
    """Least rights: one ConfigMap by name, EndpointSlices, only reading."""
    await town.turn("router", SPACE, NOW)
    role = town.get(ROLE, key("gyre-router"))
    assert role is not None
    assert {verb for rule in role["rules"] for verb in rule["verbs"]} == {"get", "list", "watch"}
    assert [rule.get("resourceNames") for rule in role["rules"]] == [["gyre-router"], None]
    assert [rule["resources"] for rule in role["rules"]] == [["configmaps"], ["endpointslices"]]


async def test_tokens_of_callers_reach_the_router_as_files(town: Town) -> None:
    """The Secret that a service names is mounted, optionally, where its route looks for it; no right is added."""
    town.patch(
        gyre(InferenceService), key("census"), spec={"auth": {"tokens": {"secret": "callers"}, "feedback": False}}
    )
    await town.turn("router", SPACE, NOW)
    deployment, config_map = town.get(DEPLOYMENT, key("gyre-router")), town.get(CONFIG_MAP, key("gyre-router"))
    assert deployment is not None
    assert config_map is not None
    pod = deployment["spec"]["template"]["spec"]
    tls, volume = (one for one in pod["volumes"] if "secret" in one)
    assert tls["secret"] == {"secretName": "gyre-router-tls", "optional": True}
    assert volume["secret"] == {"secretName": "callers", "optional": True}
    mounts = {one["name"]: one["mountPath"] for one in pod["containers"][0]["volumeMounts"]}
    auth = json.loads(config_map["data"][CONFIG_KEY])["services"][0]["auth"]
    assert auth == {"tokens": mounts[volume["name"]], "certificates": [], "predict": True, "feedback": False}
    arguments = pod["containers"][0]["args"]
    assert arguments[arguments.index("--tls-directory") + 1] == mounts[tls["name"]]
    assert await town.turn("router", SPACE, NOW) == 0


async def test_ways_of_proof_reach_the_route_in_kubernetes_own_names(town: Town) -> None:
    """ServiceAccounts by their usernames, certificates by the sort of their name; both services have port 443."""
    allow = [{"serviceAccount": "shop/web"}, {"user": "jane"}, {"group": "system:serviceaccounts:ops"}]
    names = [{"uri": "spiffe://x/web"}, {"dns": "web.shop.svc"}, {"commonName": "web"}]
    spec = {"auth": {"tokenReview": {"audiences": ["census"], "allow": allow}, "mtls": {"allow": names}}}
    town.patch(gyre(InferenceService), key("census"), spec=spec)
    await town.turn("router", SPACE, NOW)
    config_map, service = town.get(CONFIG_MAP, key("gyre-router")), town.get(SERVICE, key("gyre-router"))
    assert config_map is not None
    assert service is not None
    auth = json.loads(config_map["data"][CONFIG_KEY])["services"][0]["auth"]
    users = ["system:serviceaccount:shop:web", "jane"]
    assert auth["review"] == {"audiences": ["census"], "users": users, "groups": ["system:serviceaccounts:ops"]}
    assert auth["certificates"] == ["uri:spiffe://x/web", "dns:web.shop.svc", "cn:web"]
    assert "tokens" not in auth
    assert (443, 8443) in {(port["port"], port["targetPort"]) for port in service["spec"]["ports"]}


async def test_router_pod_is_restricted_and_never_replaced_before_its_successor_is_ready(town: Town) -> None:
    """Pod Security restricted, and no gap in a rolling update."""
    await town.turn("router", SPACE, NOW)
    deployment = town.get(DEPLOYMENT, key("gyre-router"))
    assert deployment is not None
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    pod = deployment["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    container = pod["containers"][0]["securityContext"]
    assert (container["allowPrivilegeEscalation"], container["readOnlyRootFilesystem"]) == (False, True)
    assert container["capabilities"] == {"drop": ["ALL"]}


async def test_router_goes_with_the_last_service(town: Town) -> None:
    """Nothing is left of it, not even the key."""
    await town.turn("router", SPACE, NOW)
    town.remove(Ref("gyre.dev/v1alpha1", "InferenceService", NAMESPACE, "census"))
    await town.turn("router", SPACE, NOW)
    assert town.all(DEPLOYMENT) == []
    assert town.all(CONFIG_MAP) == []
    assert town.all(SECRET) == []
    assert town.all(gyre(DriftMonitor)) != []
