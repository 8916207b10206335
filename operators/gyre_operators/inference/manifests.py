"""Children of an InferenceService: per revision a Deployment and a headless Service, and the user's Service."""

import json
from collections.abc import Mapping
from typing import Any, Literal

from gyre_crds import names
from gyre_crds.base import seconds
from gyre_crds.contracts import routing, serving
from gyre_crds.v1alpha1.inference import InferenceService
from gyre_operators.engine.plan import Manifest
from gyre_operators.inference.observed import Ground
from gyre_operators.inference.revision import Target, max_delay_ms
from gyre_operators.router.manifests import grpc_ports, https_port
from gyre_operators.workload.template import (
    hardened,
    meta,
    patched,
    pod_fields,
    pod_security,
    resources_of,
    store_env,
    tmp_volume,
)

SERVER_ROLE = "server"
ENDPOINT_ROLE = "endpoint"
"""Role label of the user's Service, so that the router never takes it for a backend."""

_DRAIN_SECONDS = 10
"""Between leaving the EndpointSlices and SIGTERM: longer than routers need to hear of it."""

_MODELS = {"name": "models", "mountPath": serving.MODEL_ROOT}
_SHARED_MEMORY = {"name": "shm", "mountPath": "/dev/shm"}  # noqa: S108  Triton's Python backend needs it


def revision_labels(service: str, revision: str) -> dict[str, str]:
    """Labels by which Services and routers find a revision's pods; they never change."""
    return {names.ROLE: SERVER_ROLE, names.SERVICE: service, names.REVISION: revision}


def selector_text(service: str, revision: str) -> str:
    """The same as a label selector, for /scale."""
    return ",".join(f"{key}={value}" for key, value in sorted(revision_labels(service, revision).items()))


def deployment(service: InferenceService, target: Target, ground: Ground, *, replicas: int) -> Manifest:
    """The pods of one revision."""
    name = service.metadata.name
    labels = revision_labels(name, target.revision)
    known = {**labels, names.VERSION: target.version.metadata.name}
    template = patched(_template(service, target, ground), service.spec.pod_template_patch, known)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": meta(service, names.revision(name, target.revision), labels),
        "spec": {
            "replicas": replicas,
            "revisionHistoryLimit": 2,
            "selector": {"matchLabels": labels},
            # A pod goes only after its successor answered the golden rows.
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": template,
        },
    }


def rescaled(live: Manifest, replicas: int) -> Manifest:
    """The live Deployment with other replicas.

    Its template stays as it was made: an upgrade of Gyre, or a changed spec that is another revision
    already, must restart no pod that serves.
    """
    kept = {field: live["metadata"][field] for field in ("name", "namespace", "labels", "ownerReferences")}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": kept,
        "spec": {**live["spec"], "replicas": replicas},
    }


def headless(service: InferenceService, revision: str) -> Manifest:
    """The Service whose EndpointSlices tell the routers a revision's pods."""
    labels = revision_labels(service.metadata.name, revision)
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": meta(service, names.revision(service.metadata.name, revision), labels),
        "spec": {
            "clusterIP": "None",
            "selector": labels,
            "ports": [{"name": "http", "port": serving.SERVER_PORT, "targetPort": "http", "protocol": "TCP"}],
        },
    }


def endpoint(service: InferenceService) -> Manifest:
    """The Service that users call: it leads to the namespace's routers and never changes."""
    labels = {names.ROLE: ENDPOINT_ROLE, names.SERVICE: service.metadata.name}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": meta(service, service.metadata.name, labels),
        "spec": {
            "selector": {names.ROLE: "router"},
            "ports": [
                {"name": "http", "port": 80, "targetPort": routing.DATA_PORT, "protocol": "TCP"},
                https_port(),
                *grpc_ports(),
            ],
        },
    }


def fetch_order(service: InferenceService, target: Target) -> serving.FetchOrder:
    """What the pod is told to serve."""
    spec = service.spec
    return serving.FetchOrder(
        uri=target.uri,
        digest=target.digest,
        name=service.metadata.name,
        version=target.version.metadata.name,
        runtime=spec.runtime.kind,
        format=_format(target),
        options=spec.runtime.options,
        max_batch=spec.batching.max_size,
        max_delay_ms=max_delay_ms(spec),
    )


def _format(target: Target) -> Literal["ONNX", "MLflow", "Python"]:
    """An adopted version's format is found out by adoption; its spec holds only the default."""
    status = target.version.status
    return (status.format if status else None) or target.version.spec.format


def _template(service: InferenceService, target: Target, ground: Ground) -> Mapping[str, Any]:
    order = {"name": serving.ENV, "value": json.dumps(fetch_order(service, target).dump(), sort_keys=True)}
    triton = service.spec.runtime.kind == "Triton"
    containers = (
        [_triton(service, ground, order), _agent(ground, order)] if triton else [_python(service, ground, order)]
    )
    shared = [{"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "256Mi"}}] if triton else []
    return {
        "metadata": {},
        "spec": {
            **pod_fields(service.spec),
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": pod_security(),
            "terminationGracePeriodSeconds": _DRAIN_SECONDS + int(seconds(service.spec.limits.timeout)) + 5,
            "initContainers": [_fetch(ground, order)],
            "containers": containers,
            "volumes": [{"name": "models", "emptyDir": {}}, tmp_volume(), *shared],
        },
    }


def _fetch(ground: Ground, order: Mapping[str, Any]) -> Mapping[str, Any]:
    return hardened(
        {
            "name": "fetch",
            "image": ground.serving_image,
            "imagePullPolicy": ground.pull_policy,
            "args": ["fetch"],
            "env": [order, *store_env()],
            "resources": {"requests": {"cpu": "50m", "memory": "96Mi"}},
            "volumeMounts": [_MODELS],
        }
    )


def _triton(service: InferenceService, ground: Ground, order: Mapping[str, Any]) -> Mapping[str, Any]:
    options = service.spec.runtime.options
    return hardened(
        {
            **_server(service, service.spec.runtime.image or ground.triton_image, ground, order),
            **({"args": options.arguments()} if options is not None and options.arguments() else {}),
            "volumeMounts": [_MODELS, _SHARED_MEMORY],
        }
    )


def _python(service: InferenceService, ground: Ground, order: Mapping[str, Any]) -> Mapping[str, Any]:
    server = _server(service, service.spec.runtime.image or ground.serving_image, ground, order)
    return hardened(
        {
            **server,
            "args": ["serve"],
            "readinessProbe": _readiness(serving.SERVER_PORT),
            "volumeMounts": [_MODELS],
        }
    )


def _server(service: InferenceService, image: str, ground: Ground, order: Mapping[str, Any]) -> dict[str, Any]:
    alive = {"httpGet": {"path": "/v2/health/live", "port": serving.SERVER_PORT}}
    return {
        "name": "server",
        "image": image,
        "imagePullPolicy": ground.pull_policy,
        "env": [order],
        "ports": [{"name": "http", "containerPort": serving.SERVER_PORT}],
        "resources": resources_of(service.spec.resources, cpu="100m", memory="256Mi"),
        # Loading may take minutes; a server that ran once and stops answering is restarted.
        "startupProbe": {**alive, "periodSeconds": 2, "failureThreshold": 300, "timeoutSeconds": 2},
        "livenessProbe": {**alive, "periodSeconds": 10, "failureThreshold": 6, "timeoutSeconds": 5},
        "lifecycle": {"preStop": {"sleep": {"seconds": _DRAIN_SECONDS}}},
    }


def _agent(ground: Ground, order: Mapping[str, Any]) -> Mapping[str, Any]:
    """Loads the version into Triton and makes the pod ready once the golden rows come out as recorded."""
    return hardened(
        {
            "name": "agent",
            "image": ground.serving_image,
            "imagePullPolicy": ground.pull_policy,
            "args": ["agent"],
            "env": [order],
            "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}},
            "readinessProbe": _readiness(serving.AGENT_PORT),
            "lifecycle": {"preStop": {"sleep": {"seconds": _DRAIN_SECONDS}}},
            "volumeMounts": [_MODELS],
        }
    )


def _readiness(port: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": "/readyz", "port": port},
        "periodSeconds": 2,
        "timeoutSeconds": 2,
        "failureThreshold": 3,
    }
