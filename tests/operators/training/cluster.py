"""A TrainingJob in memory: its objects, and what a cluster would do to its Job and pod."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
from prometheus_client import CollectorRegistry

from gyre_crds import names
from gyre_crds.base import ApiModel
from gyre_crds.contracts.attempt import PrepareReport, PublishReport, PublishResult
from gyre_crds.v1alpha1.training import Resolved, ResolvedData, TrainingJob
from gyre_operators.engine.controller import Services
from gyre_operators.engine.kinds import JOB, POD, gyre
from gyre_operators.engine.objects import Objects
from gyre_operators.engine.plan import Key, Plan
from gyre_operators.engine.testing import World
from gyre_operators.settings import Settings, StoreSettings
from gyre_operators.training.controller import TrainingController

NOW = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
KEY = Key("team", "census")
DIGEST = "sha256:" + "ab" * 32
UID = "job-uid"
PREPARED = Resolved(
    data=[ResolvedData(name="rows", uri="s3://gyre/team/jobs/x/rows", digest=DIGEST, rows=100)], input_digest=DIGEST
)
IMAGE = "registry.example/census:1"


def training_job(**spec: Any) -> dict[str, Any]:
    """A TrainingJob as its user applies it."""
    wanted = {"model": "census", "image": IMAGE, "command": ["python3", "train.py"], **spec}
    return {
        "apiVersion": "gyre.dev/v1alpha1",
        "kind": "TrainingJob",
        "metadata": {"name": KEY.name, "namespace": KEY.namespace, "uid": UID},
        "spec": wanted,
    }


class NoApi:
    """No read beyond the watches is expected."""

    async def get(self, kind: Any, key: Key) -> None:
        """Nothing."""
        raise AssertionError(f"unexpected read of {kind} {key}")

    async def heads(self, kind: Any, namespace: str) -> tuple[()]:
        """Nothing."""
        raise AssertionError(f"unexpected read of all {kind} in {namespace}")

    async def logs(self, pod: Key, container: str, *, lines: int = 20, limit: int = 16_384) -> None:
        """Nothing."""
        raise AssertionError(f"unexpected read of logs of {pod} {container} {lines} {limit}")


class Cluster:
    """One controller over one TrainingJob, a real local object store, and a pod to move by hand."""

    def __init__(self, root: Path, http: aiohttp.ClientSession, *objects: dict[str, Any], **spec: Any) -> None:
        self.root = root
        self.now = NOW
        settings = Settings(namespace="gyre-system", store=StoreSettings(uri=f"file://{root}"))
        services = Services(
            settings=settings,
            clock=lambda: self.now,
            api=NoApi(),
            http=http,
            objects=Objects(settings.store),
            metrics=CollectorRegistry(),
        )
        self.world = World(TrainingController(services), *objects, training_job(**spec))

    async def settle(self, after: float = 0) -> dict[str, Any]:
        """Let `after` seconds pass and reconcile to rest; the TrainingJob's status."""
        self.now += timedelta(seconds=after)
        await self.world.settle(KEY, self.now)
        return self.status

    async def plan(self) -> Plan:
        """The next plan."""
        plan = await self.world.plan(KEY, self.now)
        assert plan is not None
        return plan

    @property
    def status(self) -> dict[str, Any]:
        """The TrainingJob's status."""
        body = self.world.get(gyre(TrainingJob), KEY)
        assert body is not None
        status: dict[str, Any] = body.get("status", {})
        return status

    def ready(self) -> tuple[str, str]:
        """Reason and sentence of the Ready condition."""
        (ready,) = (each for each in self.status["conditions"] if each["type"] == "Ready")
        return ready["reason"], ready["message"]

    def spec(self, **change: Any) -> None:
        """Edit the spec, as its user would."""
        self.world.patch(gyre(TrainingJob), KEY, spec=change)

    def job(self, number: int = 1) -> dict[str, Any]:
        """An attempt's Job."""
        body = self.world.get(JOB, Key(KEY.namespace, names.attempt(KEY.name, number)))
        assert body is not None
        return body

    def jobs(self) -> list[str]:
        """The names of the Jobs that exist."""
        return [body["metadata"]["name"] for body in self.world.all(JOB)]

    def pod(self, number: int = 1, *, labels: bool = True, **status: Any) -> None:
        """Make or change the attempt's pod."""
        job = self.job(number)
        name = f"{job['metadata']['name']}-0"
        old = self.world.get(POD, Key(KEY.namespace, name))
        self.world.put(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    "name": name,
                    "namespace": KEY.namespace,
                    "creationTimestamp": "2026-11-20T10:00:01Z",
                    "labels": job["spec"]["template"]["metadata"]["labels"] if labels else {},
                    "ownerReferences": [
                        {
                            "apiVersion": "batch/v1",
                            "kind": "Job",
                            "name": job["metadata"]["name"],
                            "uid": job["metadata"]["uid"],
                            "controller": True,
                        }
                    ],
                },
                "spec": {"nodeName": "node-1"},
                "status": {**(old or {}).get("status", {}), **status},
            }
        )

    def containers(self, number: int = 1, /, **states: dict[str, Any]) -> None:
        """Set container states by name; prepare, publish and train stay as they were."""
        old = self.world.get(POD, Key(KEY.namespace, f"{names.attempt(KEY.name, number)}-0")) or {}
        was = old.get("status", {})
        named = {
            each["name"]: each["state"]
            for each in [*was.get("initContainerStatuses", []), *was.get("containerStatuses", [])]
        } | states
        digest = f"{IMAGE}@{DIGEST}"
        self.pod(
            number,
            initContainerStatuses=[{"name": "prepare", "state": named.get("prepare", {})}],
            containerStatuses=[
                {"name": "publish", "state": named.get("publish", {})},
                {"name": "train", "image": IMAGE, "imageID": digest, "state": named.get("train", {})},
            ],
        )

    def runs(self, number: int = 1) -> None:
        """The pod's prepare is done and its train container runs."""
        self.pod(number, phase="Running")
        self.containers(
            number,
            prepare=ended(report=PrepareReport(resolved=PREPARED)),
            publish={"running": {"startedAt": "2026-11-20T10:00:02Z"}},
            train={"running": {"startedAt": "2026-11-20T10:00:03Z"}},
        )

    def fails(self, number: int = 1, **train: Any) -> None:
        """The train container and with it pod and Job end badly."""
        self.containers(number, train=ended(**{"code": 1, **train}), publish=ended(code=0))
        self.pod(number, phase="Failed")
        self.job_failed(number)

    def succeeds(self, number: int = 1, *, published: bool = True) -> None:
        """Every container ends well and the result is in the store."""
        report = publish_result()
        self.containers(number, train=ended(), publish=ended(report=report.report))
        self.pod(number, phase="Succeeded")
        if published:
            self.publish(report)
        self.condition(number, "Complete", "CompletionsReached")

    def publish(self, result: PublishResult) -> None:
        """What publish leaves in the store."""
        target = self.root / KEY.namespace / "jobs" / UID / "result.json"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(result.dump()))

    def job_failed(self, number: int = 1, reason: str = "BackoffLimitExceeded", message: str = "") -> None:
        """The Job controller gives the Job up."""
        self.condition(number, "Failed", reason, message)

    def condition(self, number: int, kind: str, reason: str, message: str = "") -> None:
        """Set a condition of the Job."""
        condition = {"type": kind, "status": "True", "reason": reason, "message": message}
        self.world.patch(JOB, Key(KEY.namespace, names.attempt(KEY.name, number)), status={"conditions": [condition]})

    def happens(self, message: str, number: int = 1) -> None:
        """A FailedCreate event about the attempt's Job."""
        job = self.job(number)
        self.world.put(
            {
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": {"name": f"event-{number}", "namespace": KEY.namespace},
                "involvedObject": {"kind": "Job", "name": job["metadata"]["name"], "uid": job["metadata"]["uid"]},
                "reason": "FailedCreate",
                "message": message,
                "lastTimestamp": "2026-11-20T10:00:05Z",
            }
        )


def ended(code: int = 0, *, report: ApiModel | None = None, text: str = "", **more: Any) -> dict[str, Any]:
    """A terminated container state."""
    message = json.dumps(report.dump()) if report is not None else text
    return {"terminated": {"exitCode": code, "message": message, "finishedAt": "2026-11-20T10:00:00Z", **more}}


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    """A waiting container state."""
    return {"waiting": {"reason": reason, "message": message}}


def publish_result() -> PublishResult:
    """What publish writes of a good training."""
    report = PublishReport(
        tree_digest=DIGEST,
        payload_digest=DIGEST,
        uri=f"s3://gyre/team/sha256/ab/{'ab' * 31}",
        result=f"s3://gyre/team/jobs/{UID}/result.json",
        size=1234,
        run_id="run-1",
    )
    return PublishResult(
        report=report, format="ONNX", metrics={"accuracy": 0.79}, trained_at="2026-11-20T10:05:00Z", cut_off=None
    )
