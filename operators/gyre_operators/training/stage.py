"""Where an attempt stands that has not ended: rules in a list, the first that fits tells."""

from collections.abc import Callable

from gyre_crds.reasons import Training
from gyre_crds.v1alpha1.training import AttemptStatus
from gyre_operators.training.report import Say
from gyre_operators.training.seen import Observed
from gyre_operators.workload.pending import why_no_pod, why_pending
from gyre_operators.workload.views import Pod


def starting(attempt: AttemptStatus) -> Say:
    """What is said from the intent until there is more to say: a quick start costs no write."""
    return Say("Pending", "Progressing", Training.PENDING, f"Attempt {attempt.number} starts.")


def stage(seen: Observed, attempt: AttemptStatus) -> Say:
    """The attempt's state, reason and sentence."""
    pod = seen.pod(attempt)
    if pod is None:
        if seen.refused is None:
            return starting(attempt)
        reason, message = why_no_pod(seen.refused)
        return Say("Pending", "Progressing", reason, message)
    for rule in _RULES:
        say = rule(pod, attempt)
        if say is not None:
            return say
    return starting(attempt)


def _waiting(pod: Pod, _attempt: AttemptStatus) -> Say | None:
    why = why_pending(pod)
    return Say("Pending", "Progressing", why.reason, why.message) if why else None


def _running(pod: Pod, attempt: AttemptStatus) -> Say | None:
    if not pod.runs("train"):
        return None
    return Say(
        "Running", "Progressing", Training.RUNNING, f"Attempt {attempt.number} runs on node {pod.spec.node_name}."
    )


def _publishing(pod: Pod, attempt: AttemptStatus) -> Say | None:
    train = pod.terminated("train")
    if train is None or train.exit_code != 0:
        return None
    message = f"The result of attempt {attempt.number} is digested and copied to the store."
    return Say("Publishing", "Progressing", Training.PUBLISHING, message)


def _preparing(pod: Pod, attempt: AttemptStatus) -> Say | None:
    if not pod.runs("prepare") and pod.terminated("prepare") is None:
        return None
    return Say(
        "Preparing", "Progressing", Training.PREPARING, f"Data of attempt {attempt.number} is fetched and verified."
    )


_RULES: tuple[Callable[[Pod, AttemptStatus], Say | None], ...] = (_running, _waiting, _publishing, _preparing)
