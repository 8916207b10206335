"""A small but whole controller: one ConfigMap kept as wanted, one Job made once, a status."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

import msgspec

from gyre_crds.conditions import Condition, merge, summary
from gyre_crds.v1alpha1 import TrainingJob
from gyre_operators.engine.clock import rfc3339
from gyre_operators.engine.controller import APPLY, CREATE, DELETE, Controller, Grant, Services
from gyre_operators.engine.kinds import CONFIG_MAP, JOB
from gyre_operators.engine.plan import Event, Key, Manifest, Plan
from gyre_operators.engine.store import Stores
from gyre_operators.engine.watch import Watch, by_owner

LABEL = "gyre.dev/job"


class Named(msgspec.Struct):
    """The metadata this controller reads."""

    name: str
    uid: str


class JobStatus(msgspec.Struct):
    """The status this controller reads."""

    succeeded: int = 0


class JobView(msgspec.Struct):
    """A Job, as far as it is read."""

    metadata: Named
    status: JobStatus = msgspec.field(default_factory=JobStatus)


JOBS = Watch(JOB, JobView, by_owner(TrainingJob), labels=LABEL)
MAPS: Watch[dict[str, Any]] = Watch(CONFIG_MAP, dict, by_owner(TrainingJob), labels=LABEL)


@dataclass(frozen=True, slots=True)
class Seen:
    """The object and its Job."""

    subject: TrainingJob
    job: JobView | None


class OnceController(Controller[Seen]):
    """Params into a ConfigMap, one Job per TrainingJob, the Job's uid into the status."""

    name = "once"
    kind = TrainingJob
    children: ClassVar[tuple[Watch[Any], ...]] = (JOBS, MAPS)
    grants: ClassVar[tuple[Grant, ...]] = (Grant(JOB, CREATE + DELETE), Grant(CONFIG_MAP, APPLY + DELETE))

    def __init__(self, _services: Services | None = None) -> None:
        self.observed = 0

    async def observe(self, key: Key, stores: Stores) -> Seen | None:
        """The TrainingJob and the Job of its name."""
        self.observed += 1
        subject = stores.of_kind(TrainingJob).get(key)
        if subject is None:
            return None
        jobs = stores.of(JOBS).by_owner(subject.metadata.uid)
        return Seen(subject, jobs[0] if jobs else None)

    def plan(self, observed: Seen, now: datetime) -> Plan:
        """Record the intent, make the Job, record its uid, then only watch."""
        subject, job = observed.subject, observed.job
        recorded = _recorded(subject)
        uid = recorded or (job.metadata.uid if job else None)
        done = job is not None and job.status.succeeded > 0
        story = _story(uid, done=done)
        _, reason, sentence = story
        old = subject.status.conditions if subject.status else []
        was = next((c.reason for c in old if c.type == "Ready"), None)
        return Plan(
            apply=(config_map(subject),),
            create=() if uid else (job_manifest(subject),),
            status=status(subject, old, story, uid, now),
            events=(Event(reason, sentence),) if was != reason else (),
        )


def _story(uid: str | None, *, done: bool) -> tuple[str, str, str]:
    if done:
        return "Ready", "Succeeded", "The job succeeded; look at status.attempts"
    if uid:
        return "Progressing", "Running", "The job runs; wait for it"
    return "Progressing", "Pending", "The job is about to be made; wait for it"


def _recorded(subject: TrainingJob) -> str | None:
    attempts = subject.status.attempts if subject.status else []
    return attempts[0].uid if attempts else None


def status(
    subject: TrainingJob,
    old: list[Condition],
    story: tuple[str, str, str],
    uid: str | None,
    now: datetime,
) -> dict[str, Any]:
    """The whole status; `story` is state, reason and sentence."""
    state, reason, sentence = story
    generation = subject.metadata.generation
    attempt: dict[str, Any] = {"number": 1, "job": f"{subject.metadata.name}-a1"}
    attempt |= {"outcome": "Succeeded" if state == "Ready" else "Running", "charged": True}
    if uid:
        attempt["uid"] = uid
    conditions = merge(old, summary(state, reason, sentence), now=rfc3339(now), generation=generation)
    return {
        "observedGeneration": generation,
        "state": state,
        "reason": reason,
        "attempts": [attempt],
        "suspendedSeconds": 0,
        "conditions": [condition.dump() for condition in conditions],
    }


def _meta(subject: TrainingJob, name: str) -> dict[str, Any]:
    owner = {
        "apiVersion": "gyre.dev/v1alpha1",
        "kind": "TrainingJob",
        "name": subject.metadata.name,
        "uid": subject.metadata.uid,
        "controller": True,
    }
    return {
        "name": name,
        "namespace": subject.metadata.namespace,
        "labels": {LABEL: subject.metadata.name},
        "ownerReferences": [owner],
    }


def config_map(subject: TrainingJob) -> Manifest:
    """The params as strings."""
    params = {name: str(value) for name, value in (subject.spec.params or {}).items()}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _meta(subject, f"{subject.metadata.name}-params"),
        "data": params,
    }


def job_manifest(subject: TrainingJob) -> Manifest:
    """One pod that runs the image."""
    container = {
        "name": "train",
        "image": subject.spec.image,
        "resources": {"requests": {"cpu": "0.5", "memory": "1024Mi"}},
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": _meta(subject, f"{subject.metadata.name}-a1"),
        "spec": {
            "backoffLimit": 0,
            "template": {"spec": {"restartPolicy": "Never", "containers": [container]}},
        },
    }


def training_job(name: str, *, namespace: str = "default", **spec: Any) -> Manifest:
    """A TrainingJob as a user writes it."""
    return {
        "apiVersion": "gyre.dev/v1alpha1",
        "kind": "TrainingJob",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"model": "census", "image": "example/train:1", "command": ["true"], "params": {"rate": 0.1}, **spec},
    }
