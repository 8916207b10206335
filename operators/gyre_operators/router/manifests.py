"""The router's objects in a namespace. Their rights: this one ConfigMap and the EndpointSlices."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from gyre_crds import names
from gyre_crds.base import API_VERSION
from gyre_crds.contracts import routing
from gyre_crds.v1alpha1.inference import InferenceService
from gyre_operators.engine.plan import Manifest
from gyre_operators.router.keeping import KEPT
from gyre_operators.workload import tokens
from gyre_operators.workload.template import hardened, pod_security, store_env, tmp_volume

FEEDBACK_SECRET = f"{names.ROUTER}-feedback"  # the Secret's name, not a secret
FEEDBACK_KEY = "key"
ROLE = "router"

_SELECTOR = {names.ROLE: ROLE}
_LABELS = {names.MANAGED_BY: names.MANAGER, **_SELECTOR}


@dataclass(frozen=True, slots=True)
class Ground:
    """What the settings say of routers."""

    image: str
    pull_policy: str = "IfNotPresent"
    replicas: int = 2


class Owner(NamedTuple):
    """An InferenceService, by what is known of one that cannot be read too."""

    name: str
    uid: str


def objects(
    namespace: str, owners: Sequence[Owner], table: str, ground: Ground, secrets: Sequence[str] = (), *, kept: str = ""
) -> tuple[Manifest, ...]:
    """All objects of a namespace's router, whole; `secrets` hold the tokens of callers.

    `kept` says what of the table was kept as it was, and why.

    Every InferenceService owns them together: with the last one they go, also where no operator runs
    any more.
    """

    def made(api: str, kind: str, **parts: Any) -> Manifest:
        references = [_owned_by(owner) for owner in owners]
        meta = {"name": names.ROUTER, "namespace": namespace, "labels": _LABELS, "ownerReferences": references}
        return {"apiVersion": api, "kind": kind, "metadata": meta, **parts}

    rbac = "rbac.authorization.k8s.io"
    subject = {"kind": "ServiceAccount", "name": names.ROUTER, "namespace": namespace}
    return (
        made("v1", "ServiceAccount", automountServiceAccountToken=False),
        made(f"{rbac}/v1", "Role", rules=_rules()),
        made(
            f"{rbac}/v1",
            "RoleBinding",
            roleRef={"apiGroup": rbac, "kind": "Role", "name": names.ROUTER},
            subjects=[subject],
        ),
        _with_reason(made("v1", "ConfigMap", data={routing.CONFIG_KEY: table}), kept),
        made("v1", "Service", spec=_service()),
        # One at a time: with two or more replicas somebody always routes.
        made("policy/v1", "PodDisruptionBudget", spec={"maxUnavailable": 1, "selector": {"matchLabels": _SELECTOR}}),
        made("apps/v1", "Deployment", spec=_deployment(ground, secrets)),
    )


def _with_reason(manifest: Manifest, kept: str) -> Manifest:
    meta = {**manifest["metadata"], **({"annotations": {KEPT: kept}} if kept else {})}
    return {**manifest, "metadata": meta}


def _owned_by(owner: Owner) -> dict[str, Any]:
    kind = {"apiVersion": API_VERSION, "kind": InferenceService.KIND, "name": owner.name, "uid": owner.uid}
    return {**kind, "controller": False, "blockOwnerDeletion": False}


def feedback_secret(namespace: str, key: str) -> Manifest:
    """The key that signs feedback ids; made once, because ids that it signed must stay valid."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": FEEDBACK_SECRET, "namespace": namespace, "labels": _LABELS},
        "type": "Opaque",
        "stringData": {FEEDBACK_KEY: key},
    }


def _rules() -> list[dict[str, Any]]:
    return [
        {
            "apiGroups": [""],
            "resources": ["configmaps"],
            "resourceNames": [names.ROUTER],
            "verbs": ["get", "list", "watch"],
        },
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["get", "list", "watch"]},
    ]


def _service() -> dict[str, Any]:
    return {
        "selector": _SELECTOR,
        "ports": [
            {"name": "http", "port": 80, "targetPort": routing.DATA_PORT, "protocol": "TCP"},
            https_port(),
            *grpc_ports(),
            {"name": "control", "port": routing.CONTROL_PORT, "targetPort": routing.CONTROL_PORT, "protocol": "TCP"},
        ],
    }


def https_port() -> dict[str, Any]:
    """Port for TLS of a Service in front of the routers; nothing listens there before there is a certificate."""
    return {"name": "https", "port": 443, "targetPort": routing.TLS_PORT, "protocol": "TCP"}


def grpc_ports() -> list[dict[str, Any]]:
    """Ports for gRPC V2 of a Service in front of the routers; appProtocol tells gateways of HTTP/2 without TLS."""
    plain = {"name": "grpc", "port": routing.GRPC_PORT, "targetPort": routing.GRPC_PORT, "protocol": "TCP"}
    secure = {"name": "grpcs", "port": routing.GRPC_TLS_PORT, "targetPort": routing.GRPC_TLS_PORT, "protocol": "TCP"}
    return [plain | {"appProtocol": "kubernetes.io/h2c"}, secure]


def _deployment(ground: Ground, secrets: Sequence[str]) -> dict[str, Any]:
    spread = {"weight": 100, "podAffinityTerm": {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": _SELECTOR}}}  # fmt: skip  # noqa: E501
    return {
        "replicas": ground.replicas,
        "revisionHistoryLimit": 2,
        "selector": {"matchLabels": _SELECTOR},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "template": {
            "metadata": {"labels": _LABELS},
            "spec": {
                "serviceAccountName": names.ROUTER,
                "automountServiceAccountToken": True,
                "enableServiceLinks": False,
                "securityContext": pod_security(),
                # After SIGTERM the router itself takes requests until nobody sends any (5 s), then ends them (30 s).
                "terminationGracePeriodSeconds": 60,
                "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [spread]}},
                "containers": [_container(ground, secrets)],
                "volumes": [tmp_volume("256Mi"), tokens.tls_volume(), *map(tokens.volume, secrets)],
            },
        },
    }


def _container(ground: Ground, secrets: Sequence[str]) -> Mapping[str, Any]:
    return hardened(
        {
            "name": "router",
            "image": ground.image,
            "imagePullPolicy": ground.pull_policy,
            "args": ["router", "--tls-directory", routing.TLS_ROOT, "--grpc-port", str(routing.GRPC_PORT)],
            "env": [
                {"name": "GYRE_POD_UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}},
                {
                    "name": "GYRE_FEEDBACK_KEY",
                    "valueFrom": {"secretKeyRef": {"name": FEEDBACK_SECRET, "key": FEEDBACK_KEY}},
                },
                *store_env(),
            ],
            "volumeMounts": [tokens.tls_mount(), *map(tokens.mount, secrets)],
            "ports": [
                {"name": "http", "containerPort": routing.DATA_PORT},
                {"name": "https", "containerPort": routing.TLS_PORT},
                {"name": "grpc", "containerPort": routing.GRPC_PORT},
                {"name": "grpcs", "containerPort": routing.GRPC_TLS_PORT},
                {"name": "control", "containerPort": routing.CONTROL_PORT},
            ],
            "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
            "readinessProbe": {
                "httpGet": {"path": "/readyz", "port": routing.CONTROL_PORT},
                "periodSeconds": 2,
                "timeoutSeconds": 2,
            },
            "livenessProbe": {
                "httpGet": {"path": "/healthz", "port": routing.CONTROL_PORT},
                "periodSeconds": 10,
                "timeoutSeconds": 5,
                "failureThreshold": 6,
            },
        }
    )
