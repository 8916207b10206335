"""Why a pod does not run yet, in words with the next action: rules in a list, the first hit tells."""

import re
from collections.abc import Callable
from typing import NamedTuple

from gyre_crds.names import STORE_SECRET
from gyre_crds.reasons import Common, Training
from gyre_operators.workload.views import Container, Pod

INVALID_IMAGE = "InvalidImageName"
IMAGE_REASONS = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        INVALID_IMAGE,
        "ErrImageNeverPull",
        "ImageInspectError",
        "RegistryUnavailable",
    }
)
_FOR_A_PERSON = (
    ("not found", "there is no such image or tag"),
    ("repository does not exist", "there is no such repository, or it wants a login"),
    ("authorization failed", "the registry wants a login"),
    ("401 Unauthorized", "the registry wants a login"),
    ("403 Forbidden", "the registry refuses this login"),
    ("couldn't parse image", "this is no valid image name"),
    ("is not present with pull policy of Never", "it is not on the node and pull policy is Never"),
)
_FOR_TIME = (
    ("no such host", "the registry's host name is unknown"),
    ("connection refused", "the registry does not answer"),
    ("i/o timeout", "the registry does not answer"),
)
START_REASONS = frozenset({"StartError", "RunContainerError", "ContainerCannotRun", "CreateContainerError"})
_MISSING_KEY = re.compile(r"couldn't find key (\S+) in (Secret|ConfigMap) (?:\S+/)?(\S+)")
_MISSING_OBJECT = re.compile(r'(secret|configmap) "([^"]+)" not found')
_NO_STORE = (
    f"Secret '{STORE_SECRET}', which says where this namespace's bytes are, does not exist: the Helm release lists the "
    "namespaces that get one. Add this namespace to the list workloads.namespaces of chart gyre and run helm upgrade."
)
_NOT_FOUND = re.compile(
    r'exec: "?([^":]+)"?: (?:executable file not found|.*no such file or directory|permission denied)'
)
_QUOTA = re.compile(r"exceeded quota: (\S+), requested: (.+), used: (.+), limited: (.+)", re.DOTALL)
_QUOTA_WANTS = re.compile(r"failed quota: ([^\s:]+): must specify (.+)", re.DOTALL)
_SECURITY = re.compile(r'violates PodSecurity "([^"]+)": (.+)', re.DOTALL)


class Why(NamedTuple):
    """A reason word and a sentence that names field and cure."""

    reason: str
    message: str


def why_pending(pod: Pod) -> Why | None:
    """What the pod waits for, or None when it runs, has ended, or nothing is known yet."""
    if pod.ended:
        return None
    for rule in _POD_RULES:
        why = rule(pod)
        if why is not None:
            return why
    return None


def _unscheduled(pod: Pod) -> Why | None:
    for condition in pod.status.conditions:
        if condition.type == "PodScheduled" and condition.status == "False" and condition.reason == "Unschedulable":
            return Why(Training.UNSCHEDULABLE, unschedulable(condition.message))
    return None


def _container(pod: Pod) -> Why | None:
    for container in pod.containers:
        waiting = container.state.waiting
        if waiting is None:
            continue
        for rule in _CONTAINER_RULES:
            why = rule(container, waiting.reason, waiting.message)
            if why is not None:
                return why
    return None


def _image(container: Container, reason: str, message: str) -> Why | None:
    if reason not in IMAGE_REASONS:
        return None
    cause = _image_cause(message) or "the registry gave no cause"
    return Why(
        Training.IMAGE_PULL_FAILED,
        f"Image {container.image!r} of container {container.name} cannot be pulled: {cause}. "
        "Correct image, push it, or set imagePullSecrets.",
    )


def _image_cause(message: str) -> str:
    """The last, most telling part of the runtime's chain of errors."""
    for needle, words in (*_FOR_TIME, *_FOR_A_PERSON):
        if needle in message:
            return words
    return message.removeprefix("Back-off pulling image").strip(' :"')[-200:]


def needs_a_person(container: Container) -> bool:
    """Whether its image will not come by waiting: the registry has answered, and the answer was no."""
    waiting = container.state.waiting
    if waiting is None or waiting.reason not in IMAGE_REASONS:
        return False
    passing = any(needle in waiting.message for needle, _ in _FOR_TIME)
    final = any(needle in waiting.message for needle, _ in _FOR_A_PERSON)
    return waiting.reason == INVALID_IMAGE or (final and not passing)


def _root(container: Container, reason: str, message: str) -> Why | None:
    if reason != "CreateContainerConfigError" or ("runAsNonRoot" not in message and "non-root" not in message):
        return None
    return Why(Training.NEEDS_ROOT, needs_root(container.image, message))


def needs_root(image: str, message: str) -> str:
    """The sentence for an image that the kubelet refuses to start as non-root."""
    if "non-numeric user" in message:
        name = re.search(r"non-numeric user \(([^)]*)\)", message)
        user = name.group(1) if name else "a name"
        return (
            f"Image {image!r} runs as user {user!r}, and Kubernetes cannot tell from a name that this is not root. "
            "Write a number in the image's USER line (USER 10001), or set "
            "podTemplatePatch.spec.securityContext.runAsUser."
        )
    return (
        f"Image {image!r} runs as root, which Gyre's pods and the Pod Security level restricted forbid. "
        "Add USER 10001 to its Dockerfile, or set podTemplatePatch.spec.securityContext.runAsUser to a number above 0."
    )


def _reference(container: Container, reason: str, message: str) -> Why | None:
    if reason != "CreateContainerConfigError":
        return None
    key = _MISSING_KEY.search(message)
    if key:
        return Why(
            Training.REFERENCE_MISSING,
            f"{key.group(2)} {key.group(3)!r} has no key {key.group(1)!r}, which container {container.name} needs. "
            "Add the key.",
        )
    missing = _MISSING_OBJECT.search(message)
    if missing and missing.group(2) == STORE_SECRET:
        return Why(Training.REFERENCE_MISSING, _NO_STORE)
    if missing:
        kind = {"secret": "Secret", "configmap": "ConfigMap"}[missing.group(1)]
        return Why(
            Training.REFERENCE_MISSING,
            f"{kind} {missing.group(2)!r}, which container {container.name} needs, does not exist. Create it.",
        )
    return Why(Training.PENDING, f"Container {container.name} cannot be configured: {message}")


def _start(container: Container, reason: str, message: str) -> Why | None:
    if reason not in START_REASONS:
        return None
    return not_started(container.name, container.image, message)


def not_started(name: str, image: str, message: str) -> Why:
    """The sentence for a container whose first program could not be started."""
    found = _NOT_FOUND.search(message)
    if found:
        program = found.group(1)
        more = "; Gyre's wrapper needs Python 3.9 or later" if program == "python3" else ""
        return Why(
            Training.COMMAND_NOT_FOUND,
            f"Program {program!r} is not in image {image!r} or cannot be executed{more}. Install it in the image.",
        )
    return Why(Training.COMMAND_NOT_FOUND, f"Container {name} of image {image!r} cannot be started: {message}")


_POD_RULES: tuple[Callable[[Pod], Why | None], ...] = (_unscheduled, _container)
_CONTAINER_RULES: tuple[Callable[[Container, str, str], Why | None], ...] = (_image, _root, _reference, _start)


_UNSCHEDULABLE: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"^Insufficient (\S+)$"), "too little free {0}"),
    (
        re.compile(r"^node\(s\) had untolerated taint\(?s?\)?(?: \{([^:}]+).*\})?$"),
        "a taint the pod does not tolerate ({0})",
    ),
    (re.compile(r"^node\(s\) didn't match Pod's node affinity/selector$"), "no label that nodeSelector or the GPU choice asks for"),  # noqa: E501
    (re.compile(r"^node\(s\) were unschedulable$"), "been cordoned"),
    (re.compile(r"^node\(s\) had volume node affinity conflict$"), "no access to a volume the pod mounts"),
    (re.compile(r"^Too many pods$"), "as many pods as they may have"),
)  # fmt: skip


def unschedulable(message: str) -> str:
    """The scheduler's message as a sentence with a cure."""
    claim = re.search(r'persistentvolumeclaim "([^"]+)" not found', message)
    if claim:
        return f"PersistentVolumeClaim {claim.group(1)!r} does not exist. Create it, or correct data[].claim.name."
    if "unbound immediate PersistentVolumeClaims" in message:
        return "A PersistentVolumeClaim of data[] is not bound yet: it waits for a volume."
    head, _, rest = message.partition(": ")
    total = re.match(r"0/(\d+) nodes", head)
    if total is None or not rest:
        return f"No node takes the pod: {message}"
    parts = rest.split(". ")[0].rstrip(".").split(", ")
    causes = "; ".join(_cause(part) for part in parts)
    return f"None of {total.group(1)} nodes takes the pod: {causes}. {_cure(parts, rest, total.group(1))}"


def _cure(parts: list[str], message: str, nodes: str) -> str:
    """What helps; of a node that is too small even when empty the scheduler says that preemption does not help."""
    small = [" Insufficient " in part for part in parts]
    if all(small) and f"{nodes} Preemption is not helpful" in message:
        return "Waiting does not help, as no node is that large: add a larger one, or ask for less in resources."
    if any(small):
        return "Wait for capacity, add a node, or ask for less in resources."
    return "Correct nodeSelector or tolerations, or add a node that fits."


def _cause(part: str) -> str:
    counted = re.match(r"(\d+) (.+)", part)
    if counted is None:
        return part
    count, text = counted.groups()
    have = "has" if count == "1" else "have"
    for pattern, words in _UNSCHEDULABLE:
        found = pattern.match(text)
        if found:
            return f"{count} {have} {words.format(*(group or '' for group in found.groups()))}".replace(" ()", "")
    return f"{count}: {text}"


def why_no_pod(message: str) -> Why:
    """Why a Job's controller could not create the pod, from its FailedCreate event."""
    text = message.removeprefix("Error creating: ")
    quota = _QUOTA.search(text)
    if quota:
        name, requested, used, limited = (part.strip() for part in quota.groups())
        return Why(
            Common.QUOTA_EXCEEDED,
            f"ResourceQuota {name!r} forbids the pod: it asks for {requested}; {used} of {limited} is used. "
            "Free some of it, raise the quota, or ask for less in resources.",
        )
    wants = _QUOTA_WANTS.search(text)
    if wants:
        return Why(
            Common.QUOTA_EXCEEDED,
            f"ResourceQuota {wants.group(1)!r} counts what containers do not name: {wants.group(2).strip()}. "
            "Put a LimitRange with default and defaultRequest into the namespace, which fills it in.",
        )
    security = _SECURITY.search(text)
    if security:
        level, violations = security.group(1), security.group(2)
        reason = (
            Training.NEEDS_ROOT if "runAsUser=0" in violations or "runAsNonRoot" in violations else Common.FORBIDDEN
        )
        return Why(
            reason,
            f"The namespace's Pod Security level {level!r} forbids the pod: {violations}. "
            "Correct podTemplatePatch, or lower the namespace's level.",
        )
    account = re.search(r'serviceaccount "([^"]+)" not found', text)
    if account:
        return Why(
            Common.FORBIDDEN,
            f"ServiceAccount {account.group(1)!r} does not exist. Correct serviceAccountName or create it.",
        )
    return Why(Common.FORBIDDEN, f"The API server refuses the pod: {text}")
