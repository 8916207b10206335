"""How an attempt ended: rules in a list, the first that fits tells outcome, reason and sentence."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from gyre_crds.contracts.attempt import EXIT_INFRA, FailureReport
from gyre_crds.reasons import Training
from gyre_crds.v1alpha1.training import AttemptStatus
from gyre_operators.training.pulling import refusal
from gyre_operators.workload.messages import failure, last_lines
from gyre_operators.workload.pending import START_REASONS, needs_root, not_started, why_pending
from gyre_operators.workload.views import Job, Pod, Terminated

RETRIED = frozenset({Training.USER_ERROR, Training.HUNG, Training.OUT_OF_MEMORY, Training.INTERNAL})
"""Failures that another run may not meet again. They are charged, also a fault of Gyre's own: one that
repeats itself after each training would otherwise cost many."""
_KILLED = 137
_ROOT_SIGNS = ("permission denied", "operation not permitted", "must be root", "read-only file system", "eacces")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended."""

    outcome: Literal["Succeeded", "Failed", "Disrupted"]
    reason: str
    message: str
    tail: Sequence[str] = ()
    exit_code: int | None = None
    retry: bool = False
    """Whether another attempt can end differently."""


@dataclass(frozen=True, slots=True)
class Ended:
    """An attempt that will not go on by itself."""

    attempt: AttemptStatus
    job: Job | None
    pod: Pod | None
    image: str
    as_uid: int | None
    """The user id given to an image that names none; None when the image's own user ran."""


def judge(ended: Ended) -> Outcome:
    """The first rule that fits."""
    for rule in RULES:
        outcome = rule(ended)
        if outcome is not None:
            return outcome
    return _unexplained(ended)


def refused_root(pod: Pod) -> str | None:
    """The kubelet's message when it refuses to start the user's container as root."""
    why = why_pending(pod)
    container = pod.container("train")
    if why is None or why.reason != Training.NEEDS_ROOT or container is None or container.state.waiting is None:
        return None
    return container.state.waiting.message


def root_by_default(message: str) -> bool:
    """Whether the image names no user, or 0: then it may well run as another one.

    The kubelet says the same for both, so a number of ours is tried before giving up.
    """
    return "image will run as root" in message


def _root(ended: Ended) -> Outcome | None:
    message = refused_root(ended.pod) if ended.pod else None
    if message is None:
        return None
    if root_by_default(message) and ended.as_uid is None:
        return Outcome(
            "Disrupted",
            Training.NEEDS_ROOT,
            f"Image {ended.image!r} names no user or root; the next attempt runs it as user 10001.",
            retry=True,
        )
    return Outcome("Failed", Training.NEEDS_ROOT, needs_root(ended.image, message))


def _no_image(ended: Ended) -> Outcome | None:
    message = refusal(ended.pod) if ended.pod else None
    return Outcome("Failed", Training.IMAGE_PULL_FAILED, message) if message else None


def _disrupted(ended: Ended) -> Outcome | None:
    condition = ended.pod.disruption if ended.pod else None
    if condition is not None:
        where = f" on node {ended.pod.spec.node_name}" if ended.pod and ended.pod.spec.node_name else ""
        why = condition.message or condition.reason
        return Outcome("Disrupted", Training.DISRUPTED, f"The cluster ended the pod{where}: {why}", retry=True)
    if ended.job is None:
        return Outcome("Disrupted", Training.DISRUPTED, f"Job {ended.attempt.job} was deleted.", retry=True)
    failed = ended.job.failed
    if ended.pod is None and failed is not None and failed.reason == "PodFailurePolicy":
        return Outcome("Disrupted", Training.DISRUPTED, f"The cluster ended the pod: {failed.message}", retry=True)
    return None


def _out_of_memory(ended: Ended) -> Outcome | None:
    train = _terminated(ended, "train")
    said = failure(train)
    if train is None or not (train.reason == "OOMKilled" or (said and said.reason == Training.OUT_OF_MEMORY)):
        return None
    had = f" of {ended.attempt.memory}" if ended.attempt.memory else ""
    sentence = f"The training needed more memory than its limit{had}."
    if said is not None and train.reason != "OOMKilled":
        sentence = f"{said.message.rstrip('.')} (limit{had})." if had else said.message
    return Outcome("Failed", Training.OUT_OF_MEMORY, sentence, last_lines(train), train.exit_code, retry=True)


def _did_not_start(ended: Ended) -> Outcome | None:
    for name in ("prepare", "publish", "train"):
        end = _terminated(ended, name)
        if end is not None and end.reason in START_REASONS:
            why = not_started(name, ended.image if name == "train" else name, end.message)
            return Outcome("Failed", why.reason, why.message, exit_code=end.exit_code)
    return None


def _prepare(ended: Ended) -> Outcome | None:
    return _own_container(ended, "prepare")


def _train(ended: Ended) -> Outcome | None:
    train = _terminated(ended, "train")
    if train is None or train.exit_code == 0:
        return None
    said = failure(train)
    if said is None:
        signal = f" by signal {train.signal or train.exit_code - 128}" if train.exit_code >= _KILLED else ""
        sentence = f"The command ended{signal} with exit code {train.exit_code}."
        outcome = Outcome("Failed", Training.USER_ERROR, sentence, last_lines(train), train.exit_code, retry=True)
    else:
        code = said.exit_code if said.exit_code is not None else train.exit_code
        reason = _reason(said)
        if reason == Training.DISRUPTED:
            return Outcome("Disrupted", reason, said.message, last_lines(train), code, retry=True)
        outcome = Outcome("Failed", reason, said.message, last_lines(train), code, retry=reason in RETRIED)
    return _with_fallback_user(ended, outcome)


def _with_fallback_user(ended: Ended, outcome: Outcome) -> Outcome:
    """A program that ran as a user its image does not know may have failed for that alone."""
    if ended.as_uid is None:
        return outcome
    text = " ".join([outcome.message, *outcome.tail]).lower()
    if outcome.reason == Training.USER_ERROR and any(sign in text for sign in _ROOT_SIGNS):
        message = (
            f"Image {ended.image!r} needs root, which Gyre and the Pod Security level restricted forbid: "
            f"it failed as user {ended.as_uid}. Make its files readable and put USER {ended.as_uid} in its Dockerfile."
        )
        return Outcome("Failed", Training.NEEDS_ROOT, message, outcome.tail, outcome.exit_code)
    message = f"{outcome.message} (Its image names no user, so it ran as user {ended.as_uid}.)"
    return Outcome(outcome.outcome, outcome.reason, message, outcome.tail, outcome.exit_code, outcome.retry)


def _publish(ended: Ended) -> Outcome | None:
    return _own_container(ended, "publish")


def _own_container(ended: Ended, name: str) -> Outcome | None:
    """One of Gyre's own containers: a report of EXIT_USER is final, all else are the surroundings."""
    end = _terminated(ended, name)
    if end is None or end.exit_code == 0:
        return None
    said = failure(end)
    if said is None:
        killed = "was killed for memory" if end.reason == "OOMKilled" else f"ended with exit code {end.exit_code}"
        message = f"Container {name} {killed} and left no report."
        return Outcome("Disrupted", Training.DISRUPTED, message, last_lines(end), retry=True)
    if said.reason == Training.NO_NEW_DATA:
        return Outcome("Succeeded", Training.NO_NEW_DATA, said.message)
    if end.exit_code == EXIT_INFRA and said.reason != Training.INTERNAL:
        return Outcome("Disrupted", said.reason, said.message, last_lines(end), retry=True)
    reason = _reason(said)
    return Outcome("Failed", reason, said.message, last_lines(end), said.exit_code, retry=reason == Training.INTERNAL)


def _pod(ended: Ended) -> Outcome | None:
    """The kubelet ended the pod for something the pod itself did, such as filling its disk."""
    pod = ended.pod
    if pod is None or pod.status.phase != "Failed" or not pod.status.reason:
        return None
    message = pod.status.message or f"The pod ended with {pod.status.reason}."
    return Outcome("Failed", Training.USER_ERROR, message, retry=True)


def _unexplained(ended: Ended) -> Outcome:
    failed = ended.job.failed if ended.job else None
    if failed is not None and ended.pod is None:
        return Outcome("Disrupted", Training.DISRUPTED, f"The pod is gone; its Job says: {failed.message}", retry=True)
    if ended.job is not None and ended.job.complete:
        message = "The pod ended well, but the store holds no result of it."
        return Outcome("Disrupted", Training.DISRUPTED, message, retry=True)
    return Outcome("Failed", Training.USER_ERROR, "The pod ended and left no report.", retry=True)


RULES: tuple[Callable[[Ended], Outcome | None], ...] = (
    _root,
    _disrupted,
    _no_image,
    _out_of_memory,
    _did_not_start,
    _prepare,
    _train,
    _publish,
    _pod,
)


def _terminated(ended: Ended, name: str) -> Terminated | None:
    return ended.pod.terminated(name) if ended.pod else None


def _reason(said: FailureReport) -> str:
    return said.reason if said.reason in set(Training) else Training.USER_ERROR
