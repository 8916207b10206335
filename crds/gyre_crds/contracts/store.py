"""Where things are in the object store, and how a pod gets to it.

One store per namespace: Secret `gyre-store` (`gyre_crds.names.STORE_SECRET`) with the keys of
`StoreSecret`. Pods get them as environment variables of the names in `StoreEnv`.
"""

from enum import StrEnum


class StoreSecret(StrEnum):
    """Keys of the namespace's store Secret."""

    URI = "uri"
    """Root of the namespace, e.g. `s3://gyre/team-a`; `file:///...` works on a laptop."""
    ENDPOINT = "endpoint"
    """S3 endpoint, e.g. `http://gyre-s3.gyre-system:7070`; empty for the provider's own."""
    REGION = "region"
    ACCESS_KEY_ID = "access_key_id"
    SECRET_ACCESS_KEY = "secret_access_key"  # noqa: S105  a key's name


class StoreEnv(StrEnum):
    """Environment variables that carry the store's coordinates into Gyre's containers."""

    URI = "GYRE_STORE_URI"
    ENDPOINT = "GYRE_STORE_ENDPOINT"
    REGION = "GYRE_STORE_REGION"
    ACCESS_KEY_ID = "GYRE_STORE_ACCESS_KEY_ID"
    SECRET_ACCESS_KEY = "GYRE_STORE_SECRET_ACCESS_KEY"  # noqa: S105  a variable's name


def tree_prefix(tree_digest: str) -> str:
    """Content-addressed prefix of a version's tree, relative to the namespace's root."""
    digest = tree_digest.removeprefix("sha256:")
    return f"sha256/{digest[:2]}/{digest[2:]}"


def evidence_prefix(tree_digest: str) -> str:
    """Rows and profile kept beside a version."""
    return f"versions/{tree_digest.removeprefix('sha256:')}"


def profile_path(tree_digest: str) -> str:
    """The drift profile of a version's reference rows, where spec.evidence.profile names no other."""
    return f"{evidence_prefix(tree_digest)}/profile.json"


def job_prefix(job_uid: str) -> str:
    """Everything a TrainingJob pins: resolved data, holdout rows, checkpoints, publish result."""
    return f"jobs/{job_uid}"


def checkpoint_prefix(job_uid: str) -> str:
    """Checkpoint files of a TrainingJob, shared by its attempts."""
    return f"{job_prefix(job_uid)}/checkpoints"


def payload_prefix(service: str) -> str:
    """Payload parts: `<prefix>/<yyyy-mm-dd-hh>/<first ms>-<last ms>-<router id>-<seq>.parquet`."""
    return f"payloads/{service}"


def feedback_prefix(service: str) -> str:
    """Feedback parts, named as payload parts."""
    return f"feedback/{service}"


def report_prefix(monitor: str, window_start: str) -> str:
    """Report files (`report.json`, `report.html`, `evidently.html`) of one look."""
    return f"reports/{monitor}/{window_start.replace(':', '')}"


def history_prefix(monitor: str) -> str:
    """All reports of a monitor: the engine's baseline."""
    return f"reports/{monitor}"


def import_prefix(monitor: str) -> str:
    """What a monitor took over of Evidently's files: `<prefix>/<window start>/<key>.json`."""
    return f"imports/{monitor}"


def stamp(window_start: str) -> str:
    """A window's start as part of a path; stamps sort as the windows do."""
    return window_start.replace(":", "")
