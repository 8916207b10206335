"""When the next attempt comes, what it gets, and what is charged to the job."""

from datetime import timedelta
from typing import Any

import pytest

from gyre_crds.contracts.attempt import FailureReport
from gyre_operators.engine.kinds import JOB, POD
from gyre_operators.engine.plan import Key, ref
from tests.operators.training.cluster import DIGEST, KEY, Cluster, ended, waiting
from tests.operators.training.conftest import Make

ROOT = "container has runAsNonRoot and image will run as root (pod: x, container: train)"


def node(memory: str, **labels: str) -> dict[str, Any]:
    """A ready node."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": f"node-{memory.lower()}", "labels": labels},
        "status": {"allocatable": {"memory": memory}, "conditions": [{"type": "Ready", "status": "True"}]},
    }


def train(cluster: Cluster, number: int = 1) -> dict[str, Any]:
    """The train container of an attempt."""
    containers = cluster.job(number)["spec"]["template"]["spec"]["containers"]
    found: dict[str, Any] = containers[1]
    return found


async def test_waits_double_and_retries_end(make: Make) -> None:
    """Limit 2, backoff 10 s: waits of 10 s and 20 s, then the end with the count in the sentence."""
    cluster = make(retry={"limit": 2, "backoff": "10s"})
    await cluster.settle()
    cluster.fails(1, text="boom", finishedAt="2026-11-20T10:00:00Z")
    await cluster.settle(9)
    assert cluster.jobs() == ["census-a1"]
    await cluster.settle(1)
    cluster.fails(2, text="boom", finishedAt="2026-11-20T10:00:10Z")
    await cluster.settle(19)
    assert cluster.jobs() == ["census-a1", "census-a2"]
    await cluster.settle(1)
    cluster.fails(3, text="boom", finishedAt="2026-11-20T10:00:40Z")
    status = await cluster.settle(5)
    assert cluster.ready()[0] == "UserError"
    assert cluster.ready()[1].startswith("All 3 attempts that retry.limit 2 allows have failed, the last so: ")
    (failed,) = (each for each in status["conditions"] if each["type"] == "Failed")
    assert failed["reason"] == "RetriesExhausted"


@pytest.mark.parametrize("reason", ["PreemptionByScheduler", "DeletionByTaintManager", "TerminationByKubelet"])
async def test_disruptions_are_not_charged(make: Make, reason: str) -> None:
    """Preemption, node loss and eviction start a new attempt even where no retry is allowed."""
    cluster = make(retry={"limit": 0, "backoff": "10s"})
    await cluster.settle()
    cluster.runs()
    condition = {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": "node node-1 is going away"}
    cluster.pod(phase="Failed", conditions=[condition])
    cluster.job_failed(1, "PodFailurePolicy")
    status = await cluster.settle()
    (attempt,) = status["attempts"]
    assert (attempt["outcome"], attempt["charged"], status["state"]) == ("Disrupted", False, "Retrying")
    assert "on node node-1" in attempt["diagnosis"]
    await cluster.settle(20)
    assert cluster.jobs() == ["census-a1", "census-a2"]


async def test_surroundings_that_fail_are_not_charged_but_bounded(make: Make) -> None:
    """A store that never answers is retried sixteen times, then the job ends with its sentence."""
    cluster = make(retry={"limit": 0, "backoff": "1s"}, deadline="30d")
    report = FailureReport(reason="StoreUnreachable", message="the store does not answer.")
    for number in range(1, 17):
        await cluster.settle(700)
        cluster.containers(number, prepare=ended(75, report=report))
        cluster.pod(number, phase="Failed")
        cluster.job_failed(number)
    status = await cluster.settle(1)
    assert len(status["attempts"]) == 16
    assert cluster.ready() == (
        "StoreUnreachable",
        "16 attempts were disrupted, the last so: the store does not answer.",
    )


async def test_lost_job_is_a_disruption(make: Make) -> None:
    """A Job that somebody deleted is no failure of the user's, and is not made again under its name."""
    cluster = make()
    await cluster.settle()
    cluster.runs()
    await cluster.settle()
    cluster.world.remove(ref(cluster.job()))
    cluster.world.remove(ref(cluster.world.all(POD)[0])) if cluster.world.all(POD) else None
    await cluster.settle()
    await cluster.settle(20)
    assert cluster.status["attempts"][0]["diagnosis"] == "Job census-a1 was deleted."
    assert cluster.jobs() == ["census-a2"]


async def test_pins_hold_for_later_attempts(make: Make) -> None:
    """What prepare resolved first is what every later attempt is told to fetch."""
    cluster = make()
    await cluster.settle()
    cluster.runs()
    await cluster.settle()
    cluster.fails(1, text="boom")
    await cluster.settle()
    await cluster.settle(20)
    (prepare,) = cluster.job(2)["spec"]["template"]["spec"]["initContainers"]
    order = next(each["value"] for each in prepare["env"] if each["name"] == "GYRE_ATTEMPT")
    assert f'"inputDigest":"{DIGEST}"' in order
    assert '"number":2' in order


@pytest.mark.parametrize(
    ("nodes", "memories"),
    [
        (["64Gi"], ["2Gi", "3072Mi", "4608Mi"]),
        (["3Gi"], ["2Gi", "2816Mi"]),
        ([], ["2Gi", "3072Mi", "4608Mi"]),
    ],
    ids=["room for one and a half times, twice", "up to the largest node, less what publish takes", "no node known"],
)
async def test_memory_grows(make: Make, nodes: list[str], memories: list[str]) -> None:
    """Out of memory with Grow: one and a half times as much each time, up to the largest node."""
    cluster = make(*(node(size) for size in nodes), onOutOfMemory="Grow", retry={"limit": 2, "backoff": "1s"})
    for number, memory in enumerate(memories, 1):
        await cluster.settle(30)
        assert cluster.status["attempts"][-1]["memory"] == memory
        resources = train(cluster, number)["resources"]
        assert (resources["limits"]["memory"], resources["requests"]["memory"]) == (memory, memory)
        cluster.fails(number, code=137, reason="OOMKilled")
    await cluster.settle(30)
    assert cluster.ready()[0] == "OutOfMemory"
    assert cluster.status["finishedAt"]


async def test_image_without_a_user_runs_as_ours(make: Make) -> None:
    """An image that names no user is started again at once, uncharged, as user 10001."""
    cluster = make(retry={"limit": 0})
    await cluster.settle()
    assert "runAsUser" not in train(cluster)["securityContext"]
    cluster.containers(train=waiting("CreateContainerConfigError", ROOT), publish={"running": {}})
    await cluster.settle()
    assert cluster.jobs() == ["census-a2"] or cluster.world.get(JOB, Key(KEY.namespace, "census-a1")) is None
    cluster.world.remove(ref(cluster.world.all(POD)[0])) if cluster.world.all(POD) else None
    await cluster.settle(1)
    assert train(cluster, 2)["securityContext"]["runAsUser"] == 10001
    assert cluster.status["attempts"][0]["charged"] is False


@pytest.mark.parametrize(
    ("text", "reason", "says"),
    [
        ("PermissionError: [Errno 13] Permission denied: '/root/x'", "NeedsRoot", "it failed as user 10001"),
        ("ValueError: boom", "UserError", "names no user, so it ran as user 10001"),
    ],
    ids=["it needs root", "it fails for another reason"],
)
async def test_failure_as_our_user(make: Make, text: str, reason: str, says: str) -> None:
    """A program that fails as user 10001 is told that this may be why; a refused access is taken for it."""
    cluster = make(retry={"limit": 0})
    await cluster.settle()
    cluster.containers(train=waiting("CreateContainerConfigError", ROOT))
    await cluster.settle()
    for pod in cluster.world.all(POD):
        cluster.world.remove(ref(pod))
    await cluster.settle(1)
    cluster.fails(2, text=text)
    await cluster.settle()
    assert cluster.ready()[0] == reason
    assert says in cluster.ready()[1]


async def test_suspend_and_resume(make: Make) -> None:
    """Suspending deletes the Job and stops the deadline's clock; resuming is a new attempt with the same memory."""
    cluster = make(deadline="1h")
    await cluster.settle()
    cluster.runs()
    await cluster.settle(60)
    cluster.spec(suspend=True)
    status = await cluster.settle(0)
    assert (cluster.jobs(), status["state"], status["attempts"][0]["outcome"]) == ([], "Suspended", "Suspended")
    await cluster.settle(7200)
    for pod in cluster.world.all(POD):
        cluster.world.remove(ref(pod))
    cluster.spec(suspend=False)
    status = await cluster.settle(0)
    assert (status["state"], cluster.jobs(), status["suspendedSeconds"]) == ("Pending", ["census-a2"], 7200)
    await cluster.settle(3600 - 61)
    assert cluster.status["state"] == "Pending"
    await cluster.settle(2)
    assert cluster.ready()[0] == "DeadlineExceeded"
    assert cluster.jobs() == []


async def test_deadline_tells_what_it_waited_for(make: Make) -> None:
    """A job that never started says why it never did."""
    cluster = make(deadline="10m")
    await cluster.settle()
    cluster.containers(train=waiting("ImagePullBackOff", "connection refused"))
    await cluster.settle(60)
    await cluster.settle(600)
    reason, message = cluster.ready()
    assert reason == "DeadlineExceeded"
    assert "The deadline of 10m" in message
    assert "before that, ImagePullFailed: Image" in message


async def test_deadline_during_a_backoff_removes_pods_after_the_ttl_too(make: Make) -> None:
    """The write of the end is followed by no look, so its plan says when the Jobs go: they stayed until the resync."""
    cluster = make(deadline="10m", ttlAfterFinished="5m", retry={"limit": 2, "backoff": "20m"})
    await cluster.settle()
    cluster.fails(text="boom")
    cluster.job_failed()
    assert (await cluster.settle())["state"] == "Retrying"
    cluster.now += timedelta(minutes=20)
    plan = await cluster.plan()
    assert plan.status is not None
    assert (plan.status["reason"], plan.requeue) == ("DeadlineExceeded", timedelta(minutes=5))
    await cluster.settle()
    await cluster.settle(300)
    assert cluster.jobs() == []


async def test_job_without_a_gpu_is_looked_at_each_minute(make: Make) -> None:
    """A node that came while the status was written woke nobody, and the job waited for its deadline."""
    cluster = make(gpu={"memory": "8Gi"}, deadline="2h")
    await cluster.settle()
    plan = await cluster.plan()
    assert (cluster.ready()[0], plan.requeue) == ("NoGpuFits", timedelta(minutes=1))
    cluster.now += timedelta(hours=2) - timedelta(seconds=20)
    assert (await cluster.plan()).requeue == timedelta(seconds=20)


async def test_ttl_removes_pods_and_keeps_the_object(make: Make) -> None:
    """After ttlAfterFinished the Jobs go; the object stays and nothing trains again."""
    cluster = make(ttlAfterFinished="10m", retry={"limit": 0})
    await cluster.settle()
    cluster.fails(text="boom")
    await cluster.settle(1)
    await cluster.settle(590)
    assert cluster.jobs() == ["census-a1"]
    await cluster.settle(10)
    assert cluster.jobs() == []
    await cluster.settle(3600)
    assert (cluster.jobs(), cluster.status["state"]) == ([], "Failed")


async def test_old_pod_must_be_gone(make: Make) -> None:
    """While a pod of the last attempt still trains, the next one waits: they share checkpoints."""
    cluster = make()
    await cluster.settle()
    cluster.runs()
    await cluster.settle()
    cluster.spec(suspend=True)
    pod = cluster.world.all(POD)[0]
    await cluster.settle()
    dying = {**pod, "metadata": {**pod["metadata"], "deletionTimestamp": "2026-11-20T10:00:00Z"}}
    cluster.world.put(dying)
    cluster.spec(suspend=False)
    cluster.now = cluster.now.replace(second=30)
    await cluster.settle(0)
    assert cluster.jobs() == []
    await cluster.settle(31)
    assert cluster.jobs() == ["census-a2"]


async def test_store_away_at_the_end(make: Make) -> None:
    """A store that does not answer leaves the attempt undecided, as Unknown, until it is back."""
    cluster = make()
    await cluster.settle()
    cluster.succeeds()
    target = cluster.root / KEY.namespace / "jobs" / "job-uid" / "result.json"
    content = target.read_text()
    target.write_text("{}")
    status = await cluster.settle()
    ready = next(each for each in status["conditions"] if each["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("Unknown", "StoreUnreachable")
    target.write_text(content)
    assert (await cluster.settle(15))["state"] == "Succeeded"


@pytest.mark.parametrize("container", ["prepare", "publish"])
async def test_fault_of_our_own_is_charged(make: Make, container: str) -> None:
    """A fault in prepare or publish that repeats itself costs no more trainings than retry.limit allows."""
    cluster = make(retry={"limit": 1, "backoff": "1s"})
    report = FailureReport(reason="InternalError", message="KeyError: 'x'.")
    for number in (1, 2):
        await cluster.settle(30)
        cluster.runs(number)
        cluster.containers(number, **{container: ended(75, report=report)})
        cluster.pod(number, phase="Failed")
        cluster.job_failed(number)
    await cluster.settle(30)
    assert cluster.ready()[0] == "InternalError"
    assert cluster.status["finishedAt"]


async def test_program_that_was_told_to_go_is_disrupted(make: Make) -> None:
    """A wrapper that was ended from outside says so, and its attempt is not charged."""
    cluster = make(retry={"limit": 0})
    await cluster.settle()
    cluster.runs()
    cluster.fails(
        code=75, text="", message='{"schema": "gyre.failure.v1", "reason": "Disrupted", "message": "SIGTERM."}'
    )
    status = await cluster.settle()
    assert (status["state"], status["attempts"][0]["charged"]) == ("Retrying", False)
