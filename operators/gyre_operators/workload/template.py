"""Parts of children and their pod templates: ownership, Pod Security `restricted`, the store's coordinates, /tmp."""

from collections.abc import Mapping
from typing import Any

from gyre_crds import names
from gyre_crds.base import Resource
from gyre_crds.contracts.store import StoreEnv, StoreSecret
from gyre_crds.v1alpha1.common import PodSettings, Resources
from gyre_operators.engine.plan import Manifest
from gyre_operators.workload.merge import strategic_merge

_TMP = "tmp"
UID = 10001
"""User of Gyre's own containers, and of a user's image that names none."""

_STORE = (
    (StoreEnv.URI, StoreSecret.URI),
    (StoreEnv.ENDPOINT, StoreSecret.ENDPOINT),
    (StoreEnv.REGION, StoreSecret.REGION),
    (StoreEnv.ACCESS_KEY_ID, StoreSecret.ACCESS_KEY_ID),
    (StoreEnv.SECRET_ACCESS_KEY, StoreSecret.SECRET_ACCESS_KEY),
)


def env(name: str, value: str) -> dict[str, Any]:
    """A literal variable."""
    return {"name": name, "value": value}


def secret_env(name: str, secret: str, key: str, *, optional: bool = True) -> dict[str, Any]:
    """A variable from a Secret's key; absent when the key is."""
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key, "optional": optional}}}


def store_env() -> list[dict[str, Any]]:
    """The namespace's store, for Gyre's own containers only. Without `uri` a pod says so and waits."""
    return [
        secret_env(variable, names.STORE_SECRET, key, optional=key is not StoreSecret.URI) for variable, key in _STORE
    ]


def container_security() -> dict[str, Any]:
    """What the Pod Security level restricted asks of a container."""
    return {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def own_security() -> dict[str, Any]:
    """The same for Gyre's own containers, which write to their volumes only."""
    return {**container_security(), "runAsUser": UID, "readOnlyRootFilesystem": True}


def pod_security() -> dict[str, Any]:
    """What the Pod Security level restricted asks of a pod; the group makes volumes writable for all its users."""
    return {
        "runAsNonRoot": True,
        "fsGroup": UID,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def pod_fields(settings: PodSettings) -> dict[str, Any]:
    """The pod-level fields a user may set, in the pod's own words."""
    fields: dict[str, Any] = {
        "serviceAccountName": settings.service_account_name,
        "imagePullSecrets": [{"name": secret.name} for secret in settings.image_pull_secrets],
        "nodeSelector": dict(settings.node_selector),
        "tolerations": [toleration.dump() for toleration in settings.tolerations],
        "priorityClassName": settings.priority_class_name,
    }
    return {name: value for name, value in fields.items() if value}


def owned_by(owner: Resource, *, controller: bool = True) -> dict[str, Any]:
    """The owner reference to one of Gyre's objects; its deletion takes the child along.

    No child holds its owner back: that would take the right to set the owner's finalizers on clusters that check it.
    """
    return {
        "apiVersion": owner.api_version,
        "kind": owner.kind,
        "name": owner.metadata.name,
        "uid": owner.metadata.uid,
        "controller": controller,
        "blockOwnerDeletion": False,
    }


def meta(owner: Resource, name: str, labels: Mapping[str, str]) -> dict[str, Any]:
    """The metadata of an owned child; nothing of the owner's own labels is inherited."""
    return {
        "name": name,
        "namespace": owner.metadata.namespace,
        "labels": {names.MANAGED_BY: names.MANAGER, **labels},
        "ownerReferences": [owned_by(owner)],
    }


def hardened(container: Mapping[str, Any]) -> dict[str, Any]:
    """The container under Pod Security `restricted`, with a read-only root and a writable /tmp."""
    mounts = [*container.get("volumeMounts", []), {"name": _TMP, "mountPath": "/tmp"}]  # noqa: S108  an emptyDir
    return {**container, "volumeMounts": mounts, "securityContext": own_security(), "terminationMessagePolicy": "File"}


def tmp_volume(size: str = "64Mi") -> dict[str, Any]:
    """The volume behind the containers' /tmp."""
    return {"name": _TMP, "emptyDir": {"sizeLimit": size}}


def resources_of(wanted: Resources, **requests: str) -> dict[str, Any]:
    """Container resources; `requests` are the defaults where the user says neither request nor limit."""
    given = {name: str(value) for name, value in wanted.requests.items()}
    limits = {name: str(value) for name, value in wanted.limits.items()}
    missing = {name: value for name, value in requests.items() if name not in given and name not in limits}
    whole = {"requests": {**missing, **given}, "limits": limits}
    return {name: part for name, part in whole.items() if part}


def patched(template: Mapping[str, Any], patch: Mapping[str, Any] | None, labels: Mapping[str, str]) -> Manifest:
    """A pod template with a user's strategic merge patch, and labels that no patch takes away: watches rely on them."""
    merged: dict[str, Any] = strategic_merge(template, patch or {})
    metadata = dict(merged.get("metadata", {}))
    metadata["labels"] = {**metadata.get("labels", {}), **labels}
    return {**merged, "metadata": metadata}
