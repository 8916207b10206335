"""A ModelVersion in memory: its Model, the registry, and what a cluster would do to its task Jobs."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
from prometheus_client import CollectorRegistry

from gyre_crds.base import ApiModel
from gyre_crds.contracts.attempt import FailureReport
from gyre_crds.contracts.task import AdoptReport, GateReport, ProfileReport, VerifyReport
from gyre_crds.v1alpha1.model import Model
from gyre_crds.v1alpha1.version import ModelVersion
from gyre_operators.engine.controller import Services
from gyre_operators.engine.kinds import JOB, gyre
from gyre_operators.engine.objects import Objects
from gyre_operators.engine.plan import Key, Plan
from gyre_operators.engine.testing import World
from gyre_operators.settings import Settings, StoreSettings
from gyre_operators.version.controller import VersionController
from tests.operators.mlflow.memory import MemoryRegistry

NOW = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
NAMESPACE = "team"
DIGEST = "sha256:" + "ab" * 32
OTHER = "sha256:" + "cd" * 32
KEY = Key(NAMESPACE, "census-abababababab")
CHAMPION = Key(NAMESPACE, "census-cdcdcdcdcdcd")
REGISTERED = "team.census"
SIGNATURE = {
    "inputs": [{"name": "input", "datatype": "FP32", "shape": [-1, 3], "columns": ["a", "b", "c"]}],
    "outputs": [{"name": "label", "datatype": "INT64", "shape": [-1]}],
}
CONTRACT = {"key": "id", "label": {"column": "employed"}}


def version(name: str = KEY.name, digest: str = DIGEST, **spec: Any) -> dict[str, Any]:
    """A ModelVersion as the TrainingJob controller makes it."""
    made = "2026-11-20T09:00:00Z" if digest == DIGEST else "2026-11-20T08:00:00Z"
    return {
        "apiVersion": "gyre.dev/v1alpha1",
        "kind": "ModelVersion",
        "metadata": {"name": name, "namespace": NAMESPACE, "creationTimestamp": made},
        "spec": {
            "model": "census",
            "source": {"uri": f"s3://gyre/team/sha256/{digest[7:9]}/{digest[9:]}"},
            "digest": digest,
            "signature": SIGNATURE,
            "evidence": {"reference": "s3://gyre/team/versions/x/reference.parquet"},
            "lineage": {"job": "census-1"},
            **spec,
        },
    }


def model(gates: list[dict[str, Any]] | None = None, **status: Any) -> dict[str, Any]:
    """Its Model."""
    spec: dict[str, Any] = {"contract": CONTRACT}
    if gates is not None:
        spec["gates"] = gates
    return {
        "apiVersion": "gyre.dev/v1alpha1",
        "kind": "Model",
        "metadata": {"name": "census", "namespace": NAMESPACE},
        "spec": spec,
        "status": status,
    }


class Cluster:
    """One controller over one ModelVersion and a registry in memory."""

    def __init__(self, root: Path, http: aiohttp.ClientSession, *objects: dict[str, Any]) -> None:
        self.now = NOW
        self.registry = MemoryRegistry()
        settings = Settings(namespace="gyre-system", store=StoreSettings(uri=f"file://{root}"))
        self.controller = VersionController(
            Services(
                settings=settings,
                clock=lambda: self.now,
                api=None,  # type: ignore[arg-type]  # it reads nothing beyond its watches
                http=http,
                objects=Objects(settings.store),
                metrics=CollectorRegistry(),
            )
        )
        self.controller._desk._mlflow = self.registry  # type: ignore[assignment]
        self.world = World(self.controller, *objects)

    async def settle(self, after: float = 30) -> dict[str, Any]:
        """Let `after` seconds pass and reconcile to rest; the version's status."""
        self.now += timedelta(seconds=after)
        await self.world.settle(KEY, self.now)
        return self.status()

    async def plan(self) -> Plan:
        """The next plan."""
        plan = await self.world.plan(KEY, self.now)
        assert plan is not None
        return plan

    def status(self, key: Key = KEY) -> dict[str, Any]:
        """A version's status."""
        body = self.world.get(gyre(ModelVersion), key)
        assert body is not None
        status: dict[str, Any] = body.get("status", {})
        return status

    def ready(self) -> tuple[str, str, str]:
        """Status, reason and sentence of the Ready condition."""
        ready = self.condition("Ready")
        return ready["status"], ready["reason"], ready["message"]

    def condition(self, kind: str) -> dict[str, Any]:
        """One condition."""
        (found,) = (each for each in self.status()["conditions"] if each["type"] == kind)
        condition: dict[str, Any] = found
        return condition

    def gate(self, name: str) -> dict[str, Any]:
        """One gate's status."""
        (found,) = (each for each in self.status()["gates"] if each["name"] == name)
        gate: dict[str, Any] = found
        return gate

    def model_says(self, **status: Any) -> None:
        """The Model's controller decides."""
        self.world.patch(gyre(Model), Key(NAMESPACE, "census"), status=status)

    def promote(self, name: str = KEY.name) -> None:
        """The Model makes a version champion now."""
        since = self.now.strftime("%Y-%m-%dT%H:%M:%SZ")
        self.model_says(champion={"name": name, "since": since}, challenger=None)

    def jobs(self, role: str = "") -> list[str]:
        """Names of the task Jobs of a role."""
        return [
            body["metadata"]["name"]
            for body in self.world.all(JOB)
            if not role or body["metadata"]["labels"]["gyre.dev/role"] == role
        ]

    def order(self, name: str) -> dict[str, Any]:
        """What a task Job was told."""
        job = self.world.get(JOB, Key(NAMESPACE, name))
        assert job is not None
        (container,) = job["spec"]["template"]["spec"]["containers"]
        (text,) = (each["value"] for each in container["env"] if each["name"] == "GYRE_TASK")
        order: dict[str, Any] = json.loads(text)
        return order

    def answer(self, name: str, report: ApiModel, *, code: int = 0) -> None:
        """A task's pod ends with a report, and the Job with it."""
        job = self.world.get(JOB, Key(NAMESPACE, name))
        assert job is not None
        message = json.dumps(report.dump())
        state = {"terminated": {"exitCode": code, "message": message, "finishedAt": "2026-11-20T10:00:00Z"}}
        self.world.put(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    "name": f"{name}-x",
                    "namespace": NAMESPACE,
                    "labels": job["spec"]["template"]["metadata"]["labels"],
                    "ownerReferences": [
                        {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": job["metadata"]["uid"]}
                    ],
                },
                "status": {
                    "phase": "Failed" if code else "Succeeded",
                    "containerStatuses": [{"name": "task", "state": state}],
                },
            }
        )
        condition = {"type": "Failed" if code else "Complete", "status": "True", "reason": "Ended"}
        self.world.patch(JOB, Key(NAMESPACE, name), status={"conditions": [condition]})

    def answer_all(self, **reports: ApiModel) -> None:
        """Every open task of these roles ends with this report."""
        for body in self.world.all(JOB):
            role, name = body["metadata"]["labels"]["gyre.dev/role"], body["metadata"]["name"]
            if role in reports and not body.get("status", {}).get("conditions"):
                report = reports[role]
                self.answer(name, report, code=64 if isinstance(report, FailureReport) else 0)


VERIFIED = VerifyReport(verified=True)
PASSED = GateReport(state="Passed", reason="Passed", message="0.79 is at least 0.75.", value=0.79, bound=0.75)
PROFILED = ProfileReport(uri="s3://gyre/team/versions/x/profile.json", digest=OTHER, rows=100, columns=3)
ADOPTED = AdoptReport(
    tree_digest=DIGEST,
    payload_digest=DIGEST,
    uri=f"s3://gyre/team/sha256/ab/{'ab' * 31}",
    size=10,
    format="ONNX",
)
