"""What runs for a revision: pods under Pod Security restricted that lose no request when they go."""

from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from gyre_crds.contracts.serving import ENV, FetchOrder
from gyre_crds.v1alpha1 import InferenceService, ModelVersion
from gyre_operators.inference.manifests import deployment, endpoint, headless, selector_text
from gyre_operators.inference.metrics import Metrics
from gyre_operators.inference.observed import Ground
from gyre_operators.inference.revision import Target, revision_of
from tests.operators.builders import digest_of, service, version

GROUND = Ground(serving_image="serving:1", triton_image="triton:1")


def made(spec: dict[str, Any] | None = None, **of_version: Any) -> dict[str, Any]:
    """The Deployment of v1."""
    parsed = InferenceService.model_validate(service(spec))
    wanted = Target("r1", ModelVersion.model_validate(version("v1", **of_version)), digest_of("v1"), "s3://x/v1", "3")
    return dict(deployment(parsed, wanted, GROUND, replicas=2))


def pod(spec: dict[str, Any] | None = None, **of_version: Any) -> dict[str, Any]:
    """Its pod spec."""
    found: dict[str, Any] = made(spec, **of_version)["spec"]["template"]["spec"]
    return found


def order(spec: dict[str, Any] | None = None, **of_version: Any) -> FetchOrder:
    """What the init container is told."""
    [fetch] = pod(spec, **of_version)["initContainers"]
    return FetchOrder.model_validate_json(next(e["value"] for e in fetch["env"] if e["name"] == ENV))


@pytest.mark.parametrize("kind", ["Triton", "Python"])
def test_every_container_is_restricted(kind: str) -> None:
    """No root, no privilege, no capability, read-only root; no token, no store credential beside a model."""
    found = pod({"runtime": {"kind": kind}})
    assert found["securityContext"]["runAsNonRoot"] is True
    assert found["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert found["automountServiceAccountToken"] is False
    for container in [*found["initContainers"], *found["containers"]]:
        context = container["securityContext"]
        assert (context["allowPrivilegeEscalation"], context["readOnlyRootFilesystem"]) == (False, True)
        assert context["capabilities"] == {"drop": ["ALL"]}
    for container in found["containers"]:
        assert all("valueFrom" not in variable for variable in container["env"])


@pytest.mark.parametrize(
    ("kind", "containers", "probe"),
    [
        pytest.param("Triton", ["server", "agent"], ("agent", 8090), id="the agent proves Triton's golden rows"),
        pytest.param("Python", ["server"], ("server", 8000), id="the built-in server proves its own"),
    ],
)
def test_ready_means_that_the_golden_rows_came_out(kind: str, containers: list[str], probe: tuple[str, int]) -> None:
    """Exactly one readiness probe, on /readyz of whoever answers the golden rows."""
    found = pod({"runtime": {"kind": kind}})["containers"]
    assert [container["name"] for container in found] == containers
    probes = [(c["name"], c["readinessProbe"]["httpGet"]) for c in found if "readinessProbe" in c]
    assert probes == [(probe[0], {"path": "/readyz", "port": probe[1]})]


def test_pods_go_only_after_their_successors_answer_and_requests_have_ended() -> None:
    """No gap in a rolling update; SIGTERM waits for the routers, and the grace for the longest answer."""
    found = made({"limits": {"timeout": "45s"}})["spec"]
    assert found["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    template = found["template"]["spec"]
    delays = {container["lifecycle"]["preStop"]["sleep"]["seconds"] for container in template["containers"]}
    assert delays == {10}
    assert template["terminationGracePeriodSeconds"] >= 10 + 45


def test_pod_is_told_which_version_to_serve_and_how() -> None:
    """Digest, format, name and batching stand in the order; an adopted version's format is the one found out."""
    told = order({"batching": {"maxSize": 8, "maxDelay": "5ms"}})
    assert (told.name, told.version, told.digest) == ("census", "v1", digest_of("v1"))
    assert (told.max_batch, told.max_delay_ms, told.runtime, told.format) == (8, 5.0, "Triton", "ONNX")
    assert order({}, status={"format": "MLflow"}).format == "MLflow"


def test_options_of_triton_reach_order_and_server() -> None:
    """What a version's configuration needs stands in the order; what the server must know, in its arguments."""
    options = {"instances": 2, "rateLimit": [{"name": "R", "count": 1, "available": 1}], "responseCache": 1 << 20}
    asked = {"runtime": {"kind": "Triton", "options": options}}
    told = order(asked)
    assert told.options is not None
    assert told.options.instances == 2
    [server, _] = pod(asked)["containers"]
    assert server["args"] == [
        "--rate-limit=execution_count", "--rate-limit-resource=R:1", "--cache-config=local,size=1048576",
    ]  # fmt: skip
    assert "args" not in pod({"runtime": {"kind": "Triton", "options": {"instances": 2}}})["containers"][0]


def test_users_pod_settings_reach_the_pods_and_labels_stay() -> None:
    """The typed fields, and a patch for the rest; selectors keep what they select."""
    patch = {
        "metadata": {"labels": {"team": "a", "gyre.dev/revision": "mine"}},
        "spec": {"containers": [{"name": "server", "env": [{"name": "OMP_NUM_THREADS", "value": "1"}]}]},
    }
    found = made({"nodeSelector": {"disk": "fast"}, "podTemplatePatch": patch})["spec"]
    template = found["template"]
    assert template["spec"]["nodeSelector"] == {"disk": "fast"}
    assert template["metadata"]["labels"]["team"] == "a"
    assert found["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    server = next(c for c in template["spec"]["containers"] if c["name"] == "server")
    assert {variable["name"] for variable in server["env"]} == {"GYRE_FETCH", "OMP_NUM_THREADS"}


def test_services_lead_users_to_routers_and_routers_to_pods() -> None:
    """The user's Service selects routers on 80, TLS on 443, gRPC on 8082 and 8444; the headless one the pods."""
    parsed = InferenceService.model_validate(service())
    front, back = endpoint(parsed), headless(parsed, "r1")
    assert front["spec"]["selector"] == {"gyre.dev/role": "router"}
    ports = {one["name"]: (one["port"], one["targetPort"]) for one in front["spec"]["ports"]}
    assert ports == {"http": (80, 8080), "https": (443, 8443), "grpc": (8082, 8082), "grpcs": (8444, 8444)}
    grpc = next(one for one in front["spec"]["ports"] if one["name"] == "grpc")
    assert grpc["appProtocol"] == "kubernetes.io/h2c"
    assert back["spec"]["clusterIP"] == "None"
    assert selector_text("census", "r1") == ",".join(f"{k}={v}" for k, v in sorted(back["spec"]["selector"].items()))


@pytest.mark.parametrize(
    ("spec", "same"),
    [
        pytest.param({"replicas": 9}, True, id="replicas are no new revision"),
        pytest.param({"rollout": {"strategy": "Recreate"}}, True, id="how to roll out is no new revision"),
        pytest.param({"limits": {"timeout": "5s"}}, True, id="the router's limits are no new revision"),
        pytest.param({"resources": {"limits": {"cpu": "2"}}}, False, id="resources are"),
        pytest.param({"runtime": {"kind": "Python"}}, False, id="the runtime is"),
        pytest.param({"batching": {"maxSize": 2}}, False, id="batching is"),
        pytest.param({"podTemplatePatch": {"spec": {"hostname": "a"}}}, False, id="a patch is"),
    ],
)
def test_what_makes_a_revision(spec: dict[str, Any], *, same: bool) -> None:
    """What changes the pods' answers or their cost is a rollout; what does not is none."""
    plain = InferenceService.model_validate(service()).spec
    changed = InferenceService.model_validate(service(spec)).spec
    assert (revision_of(plain, digest_of("v1")) == revision_of(changed, digest_of("v1"))) is same


def test_metrics_follow_the_status_and_go_with_the_service() -> None:
    """Ready replicas, the candidate's weight, refusals; no series of a service that is gone."""
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    ref = {"revision": "r1", "version": "v1", "digest": digest_of("v1"), "readyReplicas": 2}
    status = {"stable": ref, "candidate": {**ref, "strata": [{"weight": 10}]}}
    metrics.show(InferenceService.model_validate(service(status=status)))
    labels = {"namespace": "default", "service": "census"}
    assert registry.get_sample_value("gyre_inference_ready_replicas", labels) == 2
    assert registry.get_sample_value("gyre_rollout_candidate_weight", labels) == 10
    metrics.forget("default", "census")
    assert registry.get_sample_value("gyre_inference_ready_replicas", labels) is None
