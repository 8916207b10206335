"""Pieces that children of any controller have: owned, hardened, with a scratch volume."""

from collections.abc import Mapping
from typing import Any

from gyre_crds import names
from gyre_crds.base import Resource
from gyre_crds.v1alpha1.common import Resources
from gyre_operators.engine.plan import Manifest
from gyre_operators.jobs.containers import own_security, strategic_merge

_TMP = "tmp"


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
