"""Which version a service should serve, and the revision that serving it would be."""

import json
from dataclasses import dataclass

from gyre_crds import names
from gyre_crds.base import seconds
from gyre_crds.reasons import Inference
from gyre_crds.v1alpha1.inference import InferenceService, InferenceServiceSpec
from gyre_crds.v1alpha1.model import Model
from gyre_crds.v1alpha1.version import ModelVersion
from gyre_operators.inference.observed import Observed

_HASH_LENGTH = 10
_POD_FIELDS = {
    "service_account_name", "image_pull_secrets", "node_selector", "tolerations", "priority_class_name",
    "pod_template_patch", "runtime", "resources", "batching",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Target:
    """The revision that is wanted."""

    revision: str
    version: ModelVersion
    digest: str
    uri: str
    number: str | None


@dataclass(frozen=True, slots=True)
class Missing:
    """Why there is none yet."""

    reason: Inference
    message: str
    stays: bool = False
    """It is there and cannot be read: what is under way stays, because nobody took it back."""


def target_of(seen: Observed) -> Target | Missing:
    """What the service should serve now."""
    spec = seen.service.spec
    if seen.model is None and spec.model.version is None:
        return _unread(seen, f"{Model.KIND} {spec.model.name}") or Missing(
            Inference.WAITING_FOR_VERSION,
            f"spec.model.name: there is no Model {spec.model.name} in this namespace yet; apply it",
        )
    name = wanted_version(spec, seen.model, seen.service.metadata.name)
    if name is None:
        return Missing(Inference.WAITING_FOR_VERSION, _no_version_yet(spec, seen.model))
    version = seen.versions.get(name)
    if version is None:
        return _unread(seen, f"{ModelVersion.KIND} {name}") or Missing(
            Inference.WAITING_FOR_VERSION,
            f"there is no ModelVersion {name} of model {spec.model.name}; see `kubectl get mv`",
        )
    return _target(spec, version)


def _unread(seen: Observed, what: str) -> Missing | None:
    problem = seen.unread.get(what)
    if problem is None:
        return None
    return Missing(Inference.WAITING_FOR_VERSION, f"{what} cannot be read ({problem}): correct it", stays=True)


def wanted_version(spec: InferenceServiceSpec, model: Model | None, service: str) -> str | None:
    """The name of the version to serve: fixed, by alias, or the champion.

    The service that proves a Model's versions serves the challenger while there is one.
    """
    if spec.model.version is not None:
        return spec.model.version
    status = model.status if model is not None else None
    if model is None or status is None:
        return None
    champion = status.champion.name if status.champion else None
    challenger = status.challenger.name if status.challenger else None
    if spec.model.alias is not None:
        return champion if spec.model.alias == "champion" else challenger or champion
    promotion = model.spec.promotion
    proves = promotion.mode == "Auto" and promotion.proven_by == service
    return (challenger or champion) if proves else champion


def revision_of(spec: InferenceServiceSpec, digest: str) -> str:
    """The revision's hash: the same version, runtime and pod settings are the same revision.

    Images that the operator's settings choose are left out: an upgrade of Gyre restarts no server.
    """
    settings = spec.model_dump(mode="json", by_alias=True, exclude_none=True, include=_POD_FIELDS)
    return names.short_hash(digest, json.dumps(settings, sort_keys=True), length=_HASH_LENGTH)


def wish_of(service: InferenceService) -> str:
    """Hash of what a person asks of model, rollout and mirror: with a new wish, refused revisions are tried again."""
    spec = service.spec.model_dump(
        mode="json", by_alias=True, exclude_none=True, include={"model": True, "rollout": True, "traffic": {"mirror"}}
    )
    return names.short_hash(json.dumps(spec, sort_keys=True), length=_HASH_LENGTH)


def max_delay_ms(spec: InferenceServiceSpec) -> float:
    """The batching delay in milliseconds."""
    return seconds(spec.batching.max_delay) * 1000


def _target(spec: InferenceServiceSpec, version: ModelVersion) -> Target | Missing:
    status, name = version.status, version.metadata.name
    digest = version.spec.digest or (status.digest if status else None)
    uri = version.spec.source.uri or (status.uri if status else None)
    if digest is None or uri is None:
        return Missing(Inference.VERSION_NOT_READY, f"ModelVersion {name} is still being adopted from MLflow")
    refused = _broken(version)
    if refused is not None:
        return Missing(Inference.VERSION_NOT_READY, f"ModelVersion {name} is not ready: {refused}")
    number = status.registry.version if status and status.registry else None
    return Target(revision=revision_of(spec, digest), version=version, digest=digest, uri=uri, number=number)


def _broken(version: ModelVersion) -> str | None:
    """Why the version may not be served.

    Gates are the Model's business: it makes no version challenger before they passed, and a person
    who names a version may serve it before. Nobody serves other bytes than the version's.
    """
    verification = version.status.verification if version.status else None
    if verification is not None and verification.verified is False:
        return verification.message or "its stored bytes differ from its digest"
    return None


def _no_version_yet(spec: InferenceServiceSpec, model: Model | None) -> str:
    state = model.status.state if model is not None and model.status is not None else ""
    doing = f"; the Model is {state}" if state else ""
    return f"model {spec.model.name} has no {spec.model.alias or 'champion'} yet{doing}"
