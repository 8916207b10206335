"""What an attempt's Job and pod tell that must outlive them."""

from gyre_crds.contracts.attempt import PrepareReport
from gyre_crds.v1alpha1.training import AttemptStatus, Resolved
from gyre_operators.training.seen import Observed
from gyre_operators.workload.messages import report
from gyre_operators.workload.views import Pod


def pins(seen: Observed) -> dict[str, object]:
    """The change of `status.resolved`: set by the first prepare, completed with the image's digest, then fixed."""
    attempt = seen.attempt
    pod = seen.pod(attempt) if attempt else None
    old = seen.job.status.resolved if seen.job.status else None
    if pod is None:
        return {}
    prepared = report(PrepareReport, pod.terminated("prepare")) if old is None else None
    resolved = prepared.resolved if prepared else old
    if resolved is None:
        return {}
    if resolved.image is None:
        resolved = resolved.model_copy(update={"image": _image(seen, pod)})
    return {"resolved": resolved} if resolved != old else {}


def pinned(seen: Observed) -> Resolved | None:
    """What is pinned by now."""
    resolved = pins(seen).get("resolved", seen.job.status.resolved if seen.job.status else None)
    return resolved if isinstance(resolved, Resolved) else None


def _image(seen: Observed, pod: Pod) -> str | None:
    """The image with its digest, as the node ran it."""
    train = pod.container("train")
    if train is None or "sha256:" not in train.image_id:
        return None
    digest = "sha256:" + train.image_id.rpartition("sha256:")[2]
    return f"{seen.job.spec.image.partition('@')[0]}@{digest}"


def as_seen(seen: Observed, attempt: AttemptStatus) -> AttemptStatus:
    """The attempt with uid, node and start as its Job and pod tell them."""
    child, pod = seen.child(attempt), seen.pod(attempt)
    update: dict[str, object] = {}
    if child is not None:
        update["uid"] = child.metadata.uid
    if pod is not None and pod.spec.node_name:
        update["node"] = pod.spec.node_name
    began = _began(pod) if pod else None
    if began is not None:
        update["start"] = began
    return attempt.model_copy(update=update)


def _began(pod: Pod) -> str | None:
    train = pod.container("train")
    state = train.state if train else None
    if state is not None and state.terminated is not None:
        return state.terminated.started_at
    return state.running.started_at if state is not None and state.running is not None else None
