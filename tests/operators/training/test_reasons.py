"""Every way in which a training can go wrong ends as one reason and one sentence with the cure."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from gyre_crds.contracts.attempt import FailureReport
from tests.operators.training.cluster import IMAGE, Cluster, ended, waiting
from tests.operators.training.conftest import Make

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
        refused('Error creating: pods "x" is forbidden: error looking up service account team/bob: serviceaccount "bob" not found'),  # noqa: E501
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


GRACE = 300
PULLS = {
    "a tag that the registry does not have": ("ErrImagePull", "registry.example/census:1: not found", "Failed"),
    "a registry that wants a login": ("ImagePullBackOff", "ErrImagePull: 401 Unauthorized", "Failed"),
    "a registry that is away": ("ImagePullBackOff", "dial tcp 10.0.0.1:443: connection refused", "Pending"),
    "a cause that nobody knows": ("ErrImagePull", "unexpected EOF", "Pending"),
}


@pytest.mark.parametrize(("reason", "message", "state"), PULLS.values(), ids=PULLS)
async def test_the_wait_for_an_image(reason: str, message: str, state: str, make: Make) -> None:
    """A registry's no ends the job after the grace, and its Job goes; trouble that passes is waited for."""
    cluster = make()
    await cluster.settle()
    cluster.pod(phase="Pending")
    cluster.containers(prepare=ended(), publish={"running": {}}, train=waiting(reason, message))
    assert (await cluster.settle(GRACE - 1))["state"] == "Pending"
    assert cluster.ready()[0] == "ImagePullFailed"
    if state == "Failed":
        assert (await cluster.plan()).requeue == timedelta(seconds=1)
    status = await cluster.settle(1)
    assert (status["state"], cluster.ready()[0]) == (state, "ImagePullFailed")
    assert len(cluster.jobs()) == (state == "Pending")


@pytest.mark.parametrize(
    ("case", "said"),
    [
        pytest.param("no node with enough memory", "too little free memory", id="a pod without a node"),
        pytest.param("a quota that is used up", "raise the quota", id="a pod that a quota forbids"),
        pytest.param("an exception", "exit code 1; its output ends with: ValueError: boom", id="a command that fails"),
    ],
)
async def test_trouble_is_told_once_on_one_line(case: str, said: str, make: Make) -> None:
    """Trouble warns by one Event with its cause on one line; it once passed for a start, or ended before the cause."""
    cluster = make(**CASES[case].spec)
    await cluster.settle()
    CASES[case].act(cluster)
    (event,) = (await cluster.plan()).events
    assert (event.type, event.reason) == ("Warning", CASES[case].reason)
    assert said in event.message
    assert "\n" not in event.message
    await cluster.settle()
    assert (await cluster.plan()).events == ()


async def test_our_own_image_is_waited_for(make: Make) -> None:
    """A wrong image of Gyre's own is the installation's fault: no training fails for it."""
    cluster = make()
    await cluster.settle()
    cluster.pod(phase="Pending")
    cluster.containers(prepare=waiting("ErrImagePull", "pipelines:9: not found"))
    assert (await cluster.settle(2 * GRACE))["state"] == "Pending"


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_reason_and_sentence(case: Case, make: Make) -> None:
    """The Ready condition carries the reason and a sentence that names field and cure; repeating changes nothing."""
    cluster = make(**case.spec)
    await cluster.settle()
    case.act(cluster)
    status = await cluster.settle()
    reason, message = cluster.ready()
    assert (status["state"], reason, status["reason"]) == (case.state, case.reason, case.reason)
    for part in case.says:
        assert part in message
    before = cluster.world._version
    await cluster.settle(1)
    assert cluster.world._version == before


@pytest.mark.parametrize(
    "case", [c for c in CASES.values() if c.state == "Failed"], ids=[n for n, c in CASES.items() if c.state == "Failed"]
)
async def test_failures_stand_in_the_attempt(case: Case, make: Make) -> None:
    """A failed job is Stalled and Failed for kstatus, and its attempt holds reason and diagnosis."""
    cluster = make(**case.spec)
    await cluster.settle()
    case.act(cluster)
    status = await cluster.settle()
    conditions = {each["type"]: each["status"] for each in status["conditions"]}
    assert conditions == {"Ready": "False", "Reconciling": "False", "Stalled": "True", "Failed": "True"}
    (attempt,) = status["attempts"]
    assert (attempt["outcome"], attempt["reason"], attempt["charged"]) == ("Failed", case.reason, True)
    assert attempt["diagnosis"]
    assert status["finishedAt"]
