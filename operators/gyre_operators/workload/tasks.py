"""Run-once task Jobs (`gyre_crds.contracts.task`): one container, its order in, one report out.

A task is a pure function of its order, so a Job that vanished is simply made again under its name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from gyre_crds import names
from gyre_crds.base import ApiModel
from gyre_crds.contracts.attempt import EXIT_USER, FailureReport
from gyre_crds.contracts.task import ENV
from gyre_crds.reasons import Training
from gyre_operators.engine.plan import Manifest
from gyre_operators.workload.messages import failure, report
from gyre_operators.workload.pending import Why, why_pending
from gyre_operators.workload.template import env, own_security, pod_security, store_env
from gyre_operators.workload.views import Job, Pod

CONTAINER = "task"
KEPT_SECONDS = 3600
"""A finished Job stays this long for its log; its report is in the owner's status by then."""
_TRIES = 4

R = TypeVar("R", bound=ApiModel)


@dataclass(frozen=True, slots=True)
class Task:
    """One task to run."""

    name: str
    """The Job's name."""
    namespace: str
    owner: Mapping[str, Any]
    labels: Mapping[str, str]
    image: str
    pull_policy: str
    command: tuple[str, ...]
    order: ApiModel
    variables: Mapping[str, str] = field(default_factory=dict)
    """More variables, such as MLFLOW_TRACKING_URI."""
    memory: str = "2Gi"
    """Memory limit."""


def task_job(task: Task) -> Manifest:
    """The Job: tried again by itself while the surroundings fail, given up at once when asking again is useless."""
    labels = {names.MANAGED_BY: names.MANAGER, **task.labels}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": task.name,
            "namespace": task.namespace,
            "labels": labels,
            "ownerReferences": [dict(task.owner)],
        },
        "spec": {
            "backoffLimit": _TRIES,
            "ttlSecondsAfterFinished": KEPT_SECONDS,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {
                "rules": [
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                    {
                        "action": "FailJob",
                        "onExitCodes": {"containerName": CONTAINER, "operator": "In", "values": [EXIT_USER]},
                    },
                ],
            },
            "template": {"metadata": {"labels": labels}, "spec": _pod(task)},
        },
    }


def _pod(task: Task) -> dict[str, Any]:
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": pod_security(),
        "containers": [
            {
                "name": CONTAINER,
                "image": task.image,
                "imagePullPolicy": task.pull_policy,
                "command": list(task.command),
                "env": [
                    env(ENV, task.order.model_dump_json(by_alias=True, exclude_none=True)),
                    env("HOME", "/tmp"),  # noqa: S108  an emptyDir of the pod's own
                    *(env(name, value) for name, value in sorted(task.variables.items())),
                    *store_env(),
                ],
                "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": task.memory}},
                "securityContext": own_security(),
                "terminationMessagePolicy": "FallbackToLogsOnError",
                "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108  an emptyDir of the pod's own
            },
        ],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    }


def outcome(kind: type[R], job: Job | None, pods: Sequence[Pod]) -> R | FailureReport | None:
    """The task's report, its failure when it was given up, or None while it is under way."""
    if job is None:
        return None
    mine = _newest_first(job, pods)
    for pod in mine:
        done = pod.terminated(CONTAINER)
        if done is not None and done.exit_code == 0:
            return report(kind, done) or FailureReport(
                reason=Training.INTERNAL,
                message=f"the task ended well and left no {kind.__name__}: {done.message[:200]!r}",
            )
    if job.failed is not None:
        said = next((each for pod in mine if (each := failure(pod.terminated(CONTAINER)))), None)
        return said or FailureReport(reason=Training.DISRUPTED, message=job.failed.message or job.failed.reason)
    if job.complete:
        return FailureReport(reason=Training.DISRUPTED, message="the task's pod was removed before it was read")
    return None


def hindrance(job: Job | None, pods: Sequence[Pod]) -> Why | None:
    """What keeps a task's pod from running."""
    mine = _newest_first(job, pods) if job else []
    return why_pending(mine[0]) if mine else None


def _newest_first(job: Job, pods: Sequence[Pod]) -> list[Pod]:
    mine = [pod for pod in pods if pod.owned_by(job.metadata.uid)]
    return sorted(mine, key=lambda pod: (pod.metadata.creation_timestamp or "", pod.metadata.name), reverse=True)
