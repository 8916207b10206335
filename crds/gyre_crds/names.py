"""Every name that Gyre gives, made in one place: a truncated prefix, a hash where needed, <= 63."""

import hashlib
import re

LIMIT = 63
LABEL = "gyre.dev"
MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGER = "gyre"

# Labels on children. `MODEL`, `SERVICE` ... hold the owner's name (<= 48 characters by the caps).
MODEL = f"{LABEL}/model"
TRAINING_JOB = f"{LABEL}/training-job"
ATTEMPT = f"{LABEL}/attempt"
VERSION = f"{LABEL}/model-version"
SERVICE = f"{LABEL}/inference-service"
REVISION = f"{LABEL}/revision"
MONITOR = f"{LABEL}/drift-monitor"
WINDOW = f"{LABEL}/window"
ROLE = f"{LABEL}/role"
"""What the child is for: attempt, gate, verify, profile, look, server, router."""

RETRAIN = f"{LABEL}/retrain"
"""Annotation on a Model: any new value asks for a training now (trigger Manual)."""

ROUTER = "gyre-router"
"""The router's Deployment, Service, ServiceAccount and routing-table ConfigMap of a namespace."""

STORE_SECRET = "gyre-store"  # noqa: S105  the Secret's name, not a secret
"""Secret of a namespace with its store: keys in `gyre_crds.contracts.store.StoreSecret`."""


def short_hash(*parts: str, length: int = 8) -> str:
    """A stable short hash (hex) of the parts."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:length]


def child(prefix: str, *parts: str, suffix: str = "") -> str:
    """`prefix` cut to fit, a hash of prefix and parts, and the suffix: deterministic and <= 63."""
    tail = f"-{short_hash(prefix, *parts)}{suffix}"
    return prefix[: LIMIT - len(tail)].rstrip("-.") + tail


def attempt(job: str, number: int) -> str:
    """The Job of a training's attempt: `<job>-a<number>`, counted from 1."""
    return f"{job}-a{number}"


def version(model: str, tree_digest: str) -> str:
    """The ModelVersion of these bytes: `<model>-<first 12 hex of the tree digest>`."""
    return f"{model}-{tree_digest.removeprefix('sha256:')[:12]}"


def revision(service: str, revision_hash: str) -> str:
    """The Deployment and Service of one revision of an InferenceService."""
    return f"{service}-{revision_hash}"


def training_job(model: str, trigger: str, decision: str) -> str:
    """The TrainingJob of one decision: the same decision always names the same job (<= 48)."""
    return f"{model[:39].rstrip('-')}-{short_hash(model, trigger, decision)}"


def report(monitor: str, window_start: str) -> str:
    """The DriftReport of one look: the same window always names the same report (<= 63)."""
    return child(monitor, window_start)


def registered_model(namespace: str, model: str) -> str:
    """The registered model's name in MLflow, which allows neither `/` nor `:`."""
    return f"{namespace}.{model}"


def is_label_value(text: str) -> bool:
    """Whether the text may be a label's value."""
    return bool(re.fullmatch(r"([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9]", text))
