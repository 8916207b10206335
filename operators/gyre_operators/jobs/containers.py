"""Parts of pod templates: restricted Pod Security, the store's coordinates, Gyre's own containers."""

from collections.abc import Mapping, Sequence
from typing import Any

from gyre_crds import names
from gyre_crds.contracts.store import StoreEnv, StoreSecret
from gyre_crds.v1alpha1.common import PodSettings

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


def owner(kind: str, name: str, uid: str) -> dict[str, Any]:
    """A controlling owner reference to one of Gyre's kinds; the garbage collector follows it."""
    return {
        "apiVersion": "gyre.dev/v1alpha1",
        "kind": kind,
        "name": name,
        "uid": uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }


def strategic_merge(base: Any, patch: Any) -> Any:
    """A strategic merge in the subset that pod templates need.

    Maps merge, a null removes, lists of objects with `name` (or `mountPath` ...) merge by it and
    drop what carries `$patch: delete`, all other lists are replaced.
    """
    if isinstance(base, Mapping) and isinstance(patch, Mapping):
        merged = dict(base)
        for name, value in patch.items():
            if value is None:
                merged.pop(name, None)
            else:
                merged[name] = strategic_merge(merged[name], value) if name in merged else value
        return merged
    if isinstance(base, list) and isinstance(patch, list):
        return _merge_lists(base, patch)
    return patch


def _merge_lists(base: Sequence[Any], patch: Sequence[Any]) -> list[Any]:
    key = _merge_key(base, patch)
    if key is None:
        return list(patch)
    merged = {item[key]: item for item in base}
    for item in patch:
        name = item[key]
        if item.get("$patch") == "delete":
            merged.pop(name, None)
        else:
            merged[name] = strategic_merge(merged[name], item) if name in merged else item
    return list(merged.values())


def _merge_key(base: Sequence[Any], patch: Sequence[Any]) -> str | None:
    items = [*base, *patch]
    for key in ("mountPath", "devicePath", "containerPort", "name", "ip", "topologyKey"):
        if items and all(isinstance(item, Mapping) and key in item for item in items):
            return key
    return None
