"""Pieces of manifests that every pod of Gyre's own images has: restricted, with the store, owned."""

from collections.abc import Mapping
from typing import Any

from gyre_crds import names
from gyre_crds.base import Resource
from gyre_crds.contracts.store import StoreEnv, StoreSecret
from gyre_crds.v1alpha1.common import PodSettings, Resources
from gyre_operators.engine.plan import Manifest

USER = 10001
"""uid and gid of Gyre's own containers."""

TMP = "tmp"

_STORE = {
    StoreEnv.URI: StoreSecret.URI,
    StoreEnv.ENDPOINT: StoreSecret.ENDPOINT,
    StoreEnv.REGION: StoreSecret.REGION,
    StoreEnv.ACCESS_KEY_ID: StoreSecret.ACCESS_KEY_ID,
    StoreEnv.SECRET_ACCESS_KEY: StoreSecret.SECRET_ACCESS_KEY,
}


def owned_by(owner: Resource, *, controller: bool = True) -> dict[str, Any]:
    """The owner reference to one of Gyre's objects; its deletion takes the child along."""
    return {
        "apiVersion": owner.api_version,
        "kind": owner.kind,
        "name": owner.metadata.name,
        "uid": owner.metadata.uid,
        "controller": controller,
        "blockOwnerDeletion": controller,
    }


def meta(owner: Resource, name: str, labels: Mapping[str, str]) -> dict[str, Any]:
    """The metadata of an owned child; nothing of the owner's own labels is inherited."""
    return {
        "name": name,
        "namespace": owner.metadata.namespace,
        "labels": {names.MANAGED_BY: names.MANAGER, **labels},
        "ownerReferences": [owned_by(owner)],
    }


def store_env() -> list[dict[str, Any]]:
    """The store's coordinates, from the namespace's Secret; only the URI must be there."""
    return [
        {
            "name": str(variable),
            "valueFrom": {
                "secretKeyRef": {
                    "name": names.STORE_SECRET,
                    "key": str(key),
                    "optional": key is not StoreSecret.URI,
                }
            },
        }
        for variable, key in _STORE.items()
    ]


def hardened(container: Mapping[str, Any]) -> dict[str, Any]:
    """The container under Pod Security `restricted`, with a read-only root and a writable /tmp."""
    mounts = [*container.get("volumeMounts", []), {"name": TMP, "mountPath": "/tmp"}]  # noqa: S108  an emptyDir
    return {
        **container,
        "volumeMounts": mounts,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "terminationMessagePolicy": "File",
    }


def pod_security() -> dict[str, Any]:
    """The pod-wide part of `restricted`."""
    return {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "runAsGroup": USER,
        "fsGroup": USER,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def tmp_volume(size: str = "64Mi") -> dict[str, Any]:
    """The volume behind the containers' /tmp."""
    return {"name": TMP, "emptyDir": {"sizeLimit": size}}


def settings_of(spec: PodSettings) -> dict[str, Any]:
    """The pod fields that a user may set, as the pod spec spells them; unset ones are left out."""
    fields = spec.model_dump(
        mode="json",
        by_alias=True,
        exclude_none=True,
        include={"service_account_name", "image_pull_secrets", "node_selector", "tolerations", "priority_class_name"},
    )
    return {name: value for name, value in fields.items() if value}


def resources_of(wanted: Resources, **requests: str) -> dict[str, Any]:
    """Container resources; `requests` are the defaults where the user says neither request nor limit."""
    given = {name: str(value) for name, value in wanted.requests.items()}
    limits = {name: str(value) for name, value in wanted.limits.items()}
    missing = {name: value for name, value in requests.items() if name not in given and name not in limits}
    whole = {"requests": {**missing, **given}, "limits": limits}
    return {name: part for name, part in whole.items() if part}


_MERGE_KEYS = {
    "containers": "name", "initContainers": "name", "volumes": "name", "env": "name", "imagePullSecrets": "name",
    "volumeMounts": "mountPath", "ports": "containerPort", "hostAliases": "ip",
    "topologySpreadConstraints": "topologyKey",
}  # fmt: skip
"""How Kubernetes' strategic merge tells the entries of these lists apart; all other lists are replaced."""


def patched(template: Mapping[str, Any], patch: Mapping[str, Any] | None) -> dict[str, Any]:
    """A pod template with a user's strategic merge patch over it; null removes a field."""
    return _merge_maps(template, patch or {})


def _merge_maps(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(old)
    for name, value in new.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merge_values(name, merged.get(name), value)
    return merged


def _merge_values(name: str, old: Any, new: Any) -> Any:
    if isinstance(new, Mapping):
        return _merge_maps(old if isinstance(old, Mapping) else {}, new)
    key = _MERGE_KEYS.get(name)
    if key is not None and isinstance(old, list) and isinstance(new, list):
        return _merge_lists(key, old, new)
    return new


def _merge_lists(key: str, old: list[Any], new: list[Any]) -> list[Any]:
    merged = {item.get(key): item for item in old}
    for item in new:
        if item.get("$patch") == "delete":
            merged.pop(item.get(key), None)
        else:
            merged[item.get(key)] = _merge_maps(merged.get(item.get(key), {}), item)
    return list(merged.values())


def labelled(template: Mapping[str, Any], labels: Mapping[str, str]) -> Manifest:
    """The template with labels that no patch may take away: selectors and watches rely on them."""
    metadata = dict(template.get("metadata", {}))
    metadata["labels"] = {**metadata.get("labels", {}), **labels}
    return {**template, "metadata": metadata}
