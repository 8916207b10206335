"""Every way in which a training can go wrong, and what its object says then."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from gyre_crds.contracts.attempt import FailureReport
from tests.operators.training.cluster import IMAGE, Cluster, ended, waiting

Act = Callable[[Cluster], None]


@dataclass(frozen=True)
class Case:
    """What happens to attempt 1, and what the object says then."""

    act: Act
    reason: str
    says: tuple[str, ...]
    state: str = "Failed"
    spec: dict[str, Any] = field(default_factory=dict)


def unscheduled(message: str) -> Act:
    """The scheduler finds no node."""
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    return lambda cluster: cluster.pod(phase="Pending", conditions=[condition])


def waits(container: str, reason: str, message: str = "") -> Act:
    """A container cannot start."""
    return lambda cluster: cluster.containers(**{container: waiting(reason, message)})


def refused(message: str) -> Act:
    """The Job controller cannot create the pod."""
    return lambda cluster: cluster.happens(message)


def reported(container: str, code: int, reason: str, message: str, **more: Any) -> Act:
    """A container ends with a report, and pod and Job with it."""
    report = FailureReport(reason=reason, message=message, **more)

    def act(cluster: Cluster) -> None:
        cluster.runs()
        cluster.containers(**{container: ended(code, report=report)})
        cluster.pod(phase="Failed")
        cluster.job_failed()

    return act


def stopped(code: int = 1, text: str = "", **more: Any) -> Act:
    """The train container ends without a report."""

    def act(cluster: Cluster) -> None:
        cluster.runs()
        cluster.fails(code=code, text=text, **more)

    return act


def evicted(cluster: Cluster) -> None:
    """The kubelet ends the pod for what the pod itself did."""
    cluster.runs()
    cluster.pod(phase="Failed", reason="Evicted", message="Pod ephemeral local storage usage exceeds 1Gi.")
    cluster.containers(train={}, publish={})
    cluster.job_failed()


ONCE = {"retry": {"limit": 0}}
CASES = {
    "an image that does not exist": Case(
        waits("train", "ImagePullBackOff", 'Back-off pulling image "x": ... registry.example/census:1: not found'),
        "ImagePullFailed",
        (f"Image '{IMAGE}' of container train cannot be pulled: there is no such image or tag.", "imagePullSecrets"),
        state="Pending",
    ),
    "a registry that wants a login": Case(
        waits("train", "ErrImagePull", "failed to authorize: 401 Unauthorized"),
        "ImagePullFailed",
        ("the registry wants a login",),
        state="Pending",
    ),
    "a name that is no image": Case(
        waits("train", "InvalidImageName", "couldn't parse image name"),
        "ImagePullFailed",
        ("this is no valid image name", "Correct image"),
    ),
    "an env secret that does not exist": Case(
        waits("train", "CreateContainerConfigError", 'secret "token" not found'),
        "ReferenceMissing",
        ("Secret 'token', which container train needs, does not exist. Create it.",),
        state="Pending",
    ),
    "a secret without the key": Case(
        waits("train", "CreateContainerConfigError", "couldn't find key password in Secret team/token"),
        "ReferenceMissing",
        ("Secret 'token' has no key 'password', which container train needs. Add the key.",),
        state="Pending",
    ),
    "a namespace without a store": Case(
        waits("prepare", "CreateContainerConfigError", 'secret "gyre-store" not found'),
        "ReferenceMissing",
        ("Secret 'gyre-store'", "does not exist", "Add this namespace to the list workloads.namespaces"),
        state="Pending",
    ),
    "no node with enough memory": Case(
        unscheduled("0/3 nodes are available: 1 Insufficient memory, 2 Insufficient cpu. preemption: not helpful"),
        "Unschedulable",
        ("None of 3 nodes takes the pod: 1 has too little free memory; 2 have too little free cpu.", "ask for less"),
        state="Pending",
    ),
    "more memory than any node has": Case(
        unscheduled(
            "0/1 nodes are available: 1 Insufficient memory. no new claims to deallocate, preemption: 0/1 nodes are "
            "available: 1 Preemption is not helpful for scheduling."
        ),
        "Unschedulable",
        ("1 has too little free memory. Waiting does not help, as no node is that large: add a larger one",),
        state="Pending",
    ),
    "a label that no node has": Case(
        unscheduled(
            "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. no new claims to "
            "deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
        ),
        "Unschedulable",
        ("1 has no label that nodeSelector or the GPU choice asks for. Correct nodeSelector or tolerations",),
        state="Pending",
    ),
    "every node tainted": Case(
        unscheduled("0/1 nodes are available: 1 node(s) had untolerated taint {gpu: true}."),
        "Unschedulable",
        ("1 has a taint the pod does not tolerate (gpu)",),
        state="Pending",
    ),
    "a claim that does not exist": Case(
        unscheduled('0/1 nodes are available: persistentvolumeclaim "rows" not found.'),
        "Unschedulable",
        ("PersistentVolumeClaim 'rows' does not exist.", "data[].claim.name"),
        state="Pending",
    ),
    "a quota that is used up": Case(
        refused(
            'Error creating: pods "census-a1-0-x" is forbidden: exceeded quota: small, '
            "requested: limits.memory=4Gi, used: limits.memory=1Gi, limited: limits.memory=2Gi"
        ),
        "QuotaExceeded",
        ("ResourceQuota 'small' forbids the pod: it asks for limits.memory=4Gi", "raise the quota"),
        state="Pending",
    ),
    "a quota that counts limits which containers lack": Case(
        refused('pods "x" is forbidden: failed quota: lims: must specify limits.cpu for: prepare,publish'),
        "QuotaExceeded",
        ("ResourceQuota 'lims' counts what containers", "limits.cpu for: prepare,publish", "Put a LimitRange"),
        state="Pending",
    ),
    "a patch that asks for root in a restricted namespace": Case(
        refused(
            'Error creating: pods "x" is forbidden: violates PodSecurity "restricted:latest": '
            "runAsUser=0 (pod must not set runAsUser=0)"
        ),
        "NeedsRoot",
        ("Pod Security level 'restricted:latest' forbids the pod: runAsUser=0", "podTemplatePatch"),
        state="Pending",
    ),
    "a patch that asks for the host": Case(
        refused('Error creating: pods "x" is forbidden: violates PodSecurity "restricted:latest": hostPath volumes'),
        "Forbidden",
        ("hostPath volumes",),
        state="Pending",
    ),
    "a service account that does not exist": Case(
        refused(
            'Error creating: pods "x" is forbidden: error looking up service account team/bob: '
            'serviceaccount "bob" not found'
        ),
        "Forbidden",
        ("ServiceAccount 'bob' does not exist. Correct serviceAccountName or create it.",),
        state="Pending",
    ),
    "an image without python": Case(
        stopped(128, 'exec: "python3": executable file not found in $PATH', reason="StartError"),
        "CommandNotFound",
        ("Program 'python3' is not in image", "Python 3.9"),
    ),
    "a command that is not in the image": Case(
        reported("train", 127, "CommandNotFound", "'trian' is not in the image; correct command[0]."),
        "CommandNotFound",
        ("'trian' is not in the image; correct command[0].",),
    ),
    "an image with a user's name": Case(
        waits(
            "train",
            "CreateContainerConfigError",
            "container has runAsNonRoot and image has non-numeric user (app), cannot verify user is non-root",
        ),
        "NeedsRoot",
        ("runs as user 'app'", "USER 10001"),
    ),
    "data that is not there": Case(
        reported("prepare", 64, "DataNotFound", "data[rows].uri: s3://x/y holds nothing; check the path."),
        "DataNotFound",
        ("data[rows].uri: s3://x/y holds nothing; check the path.",),
    ),
    "data with another digest": Case(
        reported("prepare", 64, "DataDigestMismatch", "data[rows].sha256 is sha256:aa, the file has sha256:bb."),
        "DataDigestMismatch",
        ("the file has sha256:bb",),
    ),
    "a wrong store credential": Case(
        reported("publish", 64, "StoreDenied", "the store refuses the key of Secret gyre-store."),
        "StoreDenied",
        ("the store refuses the key of Secret gyre-store",),
    ),
    "two models and no output": Case(
        reported("train", 1, "ArtifactAmbiguous", "2 models were logged; write one to $GYRE_OUTPUT."),
        "ArtifactAmbiguous",
        ("2 models were logged; write one to $GYRE_OUTPUT.",),
    ),
    "a model that cannot predict": Case(
        reported("train", 1, "PredictFailed", "predicting the golden rows failed: shape mismatch."),
        "PredictFailed",
        ("shape mismatch",),
    ),
    "a container killed for memory": Case(
        stopped(137, "", reason="OOMKilled"),
        "OutOfMemory",
        ("The training needed more memory than its limit of 2Gi.", "onOutOfMemory: Grow"),
    ),
    "only a child killed for memory": Case(
        reported("train", 1, "OutOfMemory", "A child process was killed for memory; the peak was 1.9 GiB."),
        "OutOfMemory",
        ("A child process was killed for memory", "limit of 2Gi", "resources.limits.memory"),
    ),
    "a hang": Case(
        reported("train", 1, "Hung", "No sign of life for 10m."),
        "Hung",
        ("No sign of life for 10m.",),
        spec=ONCE,
    ),
    "an exception": Case(
        reported("train", 1, "UserError", "The command ended with exit code 1.", tail=["ValueError: boom"]),
        "UserError",
        ("The command ended with exit code 1.", "Last output:\nValueError: boom"),
        spec=ONCE,
    ),
    "a crash without a report": Case(
        stopped(139, "Segmentation fault", signal=11),
        "UserError",
        ("The command ended by signal 11 with exit code 139.", "Segmentation fault"),
        spec=ONCE,
    ),
    "a disk that fills": Case(
        evicted,
        "UserError",
        ("Pod ephemeral local storage usage exceeds 1Gi.",),
        spec=ONCE,
    ),
    "a reason nobody knows": Case(
        reported("train", 1, "Sunspots", "They were large."),
        "UserError",
        ("They were large.",),
        spec=ONCE,
    ),
}  # fmt: skip
