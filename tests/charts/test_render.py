"""What the chart renders, for every way of installing it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gyre_crds.contracts.routing import CONTROL_PORT
from gyre_crds.names import ROLE
from gyre_operators.inference.manifests import SERVER_ROLE
from gyre_operators.settings import Settings
from tests.charts.conftest import Render

Json = dict[str, Any]

SEEN_BY = ("gyre-system", "watch")
"""Namespaces of the operator and of Prometheus in these tests."""

WAYS = {
    "all embedded, whole cluster": (),
    "only two namespaces": ("--set", "watchNamespaces={a,b}", "--set", "workloads.namespaces={a,b}"),
    "external store and registry": (
        "--set", "store.external.uri=s3://bucket/prefix", "--set", "store.external.existingSecret=mine",
        "--set", "mlflow.externalUrl=https://mlflow.example.com",
    ),
    "two operators, no volumes": (
        "--set", "operator.replicas=2", "--set", "store.embedded.persistence.enabled=false",
        "--set", "mlflow.embedded.persistence.enabled=false",
    ),
}  # fmt: skip


def _pods(objects: list[Json]) -> Iterator[Json]:
    for item in objects:
        if item["kind"] == "Deployment":
            yield item["spec"]["template"]["spec"]


@pytest.mark.parametrize("options", WAYS.values(), ids=WAYS.keys())
def test_every_pod_passes_pod_security_restricted(render: Render, options: tuple[str, ...]) -> None:
    """No pod of the chart needs a right that `restricted` withholds, and each says what it needs."""
    for pod in _pods(render(*options)):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in [*pod["containers"], *pod.get("initContainers", [])]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["requests"]
            assert container["resources"]["limits"]["memory"]


@pytest.mark.parametrize("options", WAYS.values(), ids=WAYS.keys())
def test_the_operator_can_read_its_settings(
    render: Render, options: tuple[str, ...], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ConfigMap is a settings file that the operator's own parser takes."""
    objects = render(*options)
    (config,) = [item for item in objects if item["kind"] == "ConfigMap"]
    (tmp_path / "settings.yaml").write_text(config["data"]["settings.yaml"])
    monkeypatch.setenv("GYRE_SETTINGS", str(tmp_path / "settings.yaml"))

    settings = Settings.load()

    assert settings.images.triton.startswith("ghcr.io/gyre-dev/triton:")
    assert settings.namespace == "gyre-system"


def test_each_namespace_gets_a_prefix_of_its_own(render: Render) -> None:
    """Two namespaces share the credential of the embedded server, never a prefix."""
    objects = render("--set", "workloads.namespaces={a,b}")
    secrets = {item["metadata"].get("namespace"): item["stringData"] for item in objects if item["kind"] == "Secret"}

    assert {name: data["uri"] for name, data in secrets.items()} == {
        None: "s3://gyre",
        "a": "s3://gyre/a",
        "b": "s3://gyre/b",
    }
    assert len({data["secret_access_key"] for data in secrets.values()}) == 1


def test_a_namespaced_install_reads_nodes_and_nothing_else_cluster_wide(render: Render) -> None:
    """With watchNamespaces, cluster-wide rights only read what has no namespace: the nodes."""
    objects = render("--set", "watchNamespaces={a,b}")
    bound = {item["metadata"].get("namespace") for item in objects if item["kind"] == "RoleBinding"}
    (wide,) = [item for item in objects if (item["kind"], item["metadata"]["name"]) == ("ClusterRole", "gyre-operator")]

    assert bound == {"a", "b", None}
    assert [(rule["resources"], rule["verbs"]) for rule in wide["rules"]] == [(["nodes"], ["get", "list", "watch"])]


def test_rights_hold_no_wildcard_and_no_escalation(render: Render) -> None:
    """No rule says `*`, escalate, bind or impersonate."""
    roles = [item for item in render() if item["kind"] in {"ClusterRole", "Role"}]
    words = {
        word
        for role in roles
        for rule in role["rules"]
        for key in ("apiGroups", "resources", "verbs")
        for word in rule.get(key, [])
    }

    assert not words & {"*", "escalate", "bind", "impersonate"}
    assert any(role["rules"] for role in roles if role["metadata"]["name"] == "gyre-operator")


def test_external_parts_are_not_installed(render: Render) -> None:
    """One value each replaces the embedded MLflow and S3 server."""
    names = {
        item["metadata"]["name"]
        for item in render(*WAYS["external store and registry"])
        if item["kind"] == "Deployment"
    }

    assert names == {"gyre-operator"}


@pytest.mark.parametrize(
    ("option", "word"),
    [
        ("store.external.uri=ftp://x", "store"),
        ("operator.replicas=-1", "operator"),
        ("image.pullPolicy=Sometimes", "image"),
        ("unknown=1", "unknown"),
        ("monitoring=null", "missing property 'monitoring'"),
        ("networkPolicy.metricsFrom=null", "missing property 'metricsFrom'"),
    ],
    ids=[
        "a store of no known scheme",
        "less than no operator",
        "a pull policy that is none",
        "an unknown value",
        "a section whose lines are all commented out",
        "a list whose lines are all commented out",
    ],
)
def test_a_wrong_value_is_refused_by_name(render: Render, option: str, word: str) -> None:
    """The values schema names the value that does not fit."""
    with pytest.raises(AssertionError, match=word):
        render("--set", option)


def test_crds_are_kept_unless_asked_otherwise(render: Render) -> None:
    """`helm uninstall gyre-crds` leaves every object alone, unless keep is false."""
    kept = render(chart="charts/gyre-crds")
    gone = render("--set", "keep=false", chart="charts/gyre-crds")

    assert {item["metadata"]["annotations"].get("helm.sh/resource-policy") for item in kept} == {"keep"}
    assert {item["metadata"]["annotations"].get("helm.sh/resource-policy") for item in gone} == {None}


def test_requests_of_a_default_install_stay_below_one_gibibyte(render: Render) -> None:
    """Trying Gyre out asks for at most 1 GiB of memory."""
    total = 0
    for pod in _pods(render()):
        total += sum(
            int(container["resources"]["requests"]["memory"].removesuffix("Mi")) for container in pod["containers"]
        )

    assert total <= 1024


def test_the_alert_rules_travel_with_the_chart(render: Render) -> None:
    """Asked for, the PrometheusRule holds the very rules that monitoring tests."""
    objects = render("--set", "monitoring.prometheusRule=true")
    (rule,) = [item for item in objects if item["kind"] == "PrometheusRule"]

    assert rule["spec"] == yaml.safe_load(Path("monitoring/gyre_monitoring/alerts/rules.yaml").read_text())


def test_the_scrape_keeps_the_namespace_of_each_series(render: Render) -> None:
    """Prometheus must not put the operator's namespace in place of the monitor's, by which the rules join and page."""
    objects = render("--set", "monitoring.serviceMonitor=true")
    monitor = next(item for item in objects if item["kind"] == "ServiceMonitor")
    assert [one["honorLabels"] for one in monitor["spec"]["endpoints"]] == [True]


def test_routers_are_scraped_where_their_models_are(render: Render) -> None:
    """Prometheus is asked to read the control port of every router, by the label and the port's name that they have."""
    objects = render("--set", "monitoring.serviceMonitor=true")
    (monitor,) = [item for item in objects if item["kind"] == "PodMonitor"]
    assert monitor["spec"]["selector"]["matchLabels"] == {"gyre.dev/role": "router"}
    assert monitor["spec"]["namespaceSelector"] == {"any": True}
    assert [one["port"] for one in monitor["spec"]["podMetricsEndpoints"]] == ["control"]


def test_dashboards_reach_grafana_as_they_are(render: Render) -> None:
    """Asked for, one ConfigMap with the sidecar's label holds the very dashboards that monitoring tests."""
    objects = render("--set", "monitoring.dashboards=true")
    (found,) = [item for item in objects if item.get("metadata", {}).get("labels", {}).get("grafana_dashboard")]
    boards = Path("monitoring/gyre_monitoring/alerts/dashboards").glob("*.json")
    assert {name: json.loads(text) for name, text in found["data"].items()} == {
        f"gyre-{board.name}": json.loads(board.read_text()) for board in boards
    }


def test_the_argo_patch_is_plain_yaml(render: Render) -> None:
    """The health patch holds one entry for each of the six kinds."""
    assert render
    with open("charts/argocd/argocd-cm.yaml") as stream:  # noqa: PTH123  one line is enough
        data = yaml.safe_load(stream)["data"]

    assert len(data) == 6


def test_only_named_namespaces_review_tokens(render: Render) -> None:
    """Unasked nothing of it; else one right, of the routers' accounts alone, and never of the operator's."""
    rules = [rule for item in render() for rule in item.get("rules", [])]
    assert not [rule for rule in rules if "tokenreviews" in rule.get("resources", [])]

    objects = render("--set", "tokenReview.namespaces={a,b}")

    (role,) = [item for item in objects if item["kind"] == "ClusterRole" and "token-review" in item["metadata"]["name"]]
    (binding,) = [item for item in objects if item.get("roleRef", {}).get("name") == role["metadata"]["name"]]
    right = {"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]}
    assert role["rules"] == [right]
    assert binding["kind"] == "ClusterRoleBinding"
    assert binding["subjects"] == [
        {"kind": "ServiceAccount", "name": "gyre-router", "namespace": name} for name in ("a", "b")
    ]


def _policies(objects: list[Json], name: str) -> dict[str, Json]:
    """What the policies of a name say, by namespace."""
    named = [one for one in objects if one["kind"] == "NetworkPolicy" and one["metadata"]["name"] == name]
    return {one["metadata"]["namespace"]: one["spec"] for one in named}


def test_nobody_goes_past_the_routers(render: Render) -> None:
    """Model servers, which ask nobody who they are, answer routers, the operator and Prometheus, not the namespace."""
    objects = render("--set", "workloads.namespaces={a,b}", "--set", "networkPolicy.metricsFrom={watch}")
    found = _policies(objects, "gyre-servers")
    assert sorted(found) == ["a", "b"]
    for spec in found.values():
        assert spec["podSelector"] == {"matchLabels": {ROLE: SERVER_ROLE}}
        assert spec["policyTypes"] == ["Ingress"]
        names = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": n}}} for n in SEEN_BY]
        assert spec["ingress"] == [{"from": [{"podSelector": {"matchLabels": {ROLE: "router"}}}, *names]}]


def test_control_port_of_routers_is_not_for_everybody(render: Render) -> None:
    """Every other port is open to all; the control port to the operator, to Prometheus and to the namespace itself."""
    objects = render("--set", "workloads.namespaces={a,b}", "--set", "networkPolicy.metricsFrom={watch}")
    found = _policies(objects, "gyre-router")
    assert sorted(found) == ["a", "b"]
    for spec in found.values():
        assert spec["podSelector"] == {"matchLabels": {ROLE: "router"}}
        everybody, control = spec["ingress"]
        assert "from" not in everybody
        opened = [port for rule in everybody["ports"] for port in range(rule["port"], rule["endPort"] + 1)]
        assert sorted({*range(1, 65536)} - {*opened}) == [CONTROL_PORT] == [port["port"] for port in control["ports"]]
        names = [peer.get("namespaceSelector", {}).get("matchLabels", {}) for peer in control["from"]]
        assert [one.get("kubernetes.io/metadata.name") for one in names] == [None, "gyre-system", "watch"]
        assert control["from"][0] == {"podSelector": {}}


def test_without_network_policies_there_are_none(render: Render) -> None:
    """Where something else guards the network."""
    objects = render("--set", "networkPolicy.enabled=false")
    assert [item for item in objects if item["kind"] == "NetworkPolicy"] == []
