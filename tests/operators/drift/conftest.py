"""A monitor in a world of its own."""

import hashlib
import json
from datetime import datetime
from typing import Any

import pytest

from gyre_crds.contracts.task import ENV, LookOrder
from gyre_crds.v1alpha1 import DriftMonitor, DriftReport
from gyre_operators.drift.controller import DriftController
from gyre_operators.drift.reports import ReportController
from gyre_operators.engine.kinds import JOB, gyre
from gyre_operators.model.controller import ModelController
from tests.operators.builders import (
    NOW,
    Documents,
    Town,
    after,
    digest_of,
    key,
    model,
    monitor,
    report,
    service,
    services,
    text,
    version,
)

LATE = 36
"""Seconds after a window's end when its rows are all written: flush, and a grace."""
REPORTS = gyre(DriftReport)
EVIDENCE: dict[str, Any] = {"evidence": {"reference": "s3://gyre/default/versions/v1/reference.parquet"}}
SERVES: dict[str, Any] = {
    "stable": {"revision": "r-v1", "version": "v1", "digest": digest_of("v1"), "since": text(after(-3600))},
    "history": [{"at": text(after(-3600)), "what": "Promoted", "revision": "r-v1", "version": "v1"}],
}


class Scene:
    """One monitor, its target, and the store."""

    def __init__(self) -> None:
        self.documents = Documents()
        made = services(documents=self.documents)
        self.value = made.metrics.get_sample_value
        """A metric's value by name and labels."""
        self.drift = DriftController(made)
        self.town = Town(self.drift, ReportController(made), ModelController(made))
        for body in (model(status={"champion": {"name": "v1"}}), version("v1", **EVIDENCE), service(status=SERVES)):
            self.town.put(body)
        self.town.put(monitor())

    async def rest(self, now: datetime) -> None:
        """Reconcile until nothing changes."""
        await self.town.turn("drift", key("census"), now)

    @property
    def status(self) -> dict[str, Any]:
        """The monitor's status."""
        status: dict[str, Any] = self.town.object(DriftMonitor, "census").get("status", {})
        return status

    @property
    def condition(self) -> dict[str, Any]:
        """Its Ready condition."""
        return next(c for c in self.status["conditions"] if c["type"] == "Ready")

    def jobs(self) -> list[dict[str, Any]]:
        """Monitoring jobs, oldest first."""
        return sorted(self.town.all(JOB), key=lambda job: int(job["metadata"]["uid"].removeprefix("uid-")))

    def order(self) -> LookOrder:
        """What the newest job was told."""
        [container] = self.jobs()[-1]["spec"]["template"]["spec"]["containers"]
        return LookOrder.model_validate_json(next(e["value"] for e in container["env"] if e["name"] == ENV))

    def ends(self, message: dict[str, Any] | str, *, code: int = 0, at: datetime = NOW) -> None:
        """The newest job's pod ends with a termination message."""
        job = self.jobs()[-1]
        body = message if isinstance(message, str) else json.dumps(message)
        ended = {"exitCode": code, "message": body, "finishedAt": text(at)}
        name, uid = job["metadata"]["name"], job["metadata"]["uid"]
        labels = {"gyre.dev/role": "look", "gyre.dev/drift-monitor": "census"}
        owners = [{"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": uid}]
        self.town.put(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": f"{name}-x", "namespace": "default", "labels": labels, "ownerReferences": owners},
                "status": {
                    "phase": "Failed" if code else "Succeeded",
                    "containerStatuses": [{"name": "look", "state": {"terminated": ended}}],
                },
            }
        )
        kind = "Failed" if code else "Complete"
        conditions = [{"type": kind, "status": "True", "reason": "BackoffLimitExceeded", "message": "the pod failed"}]
        self.town.patch(JOB, key(name), status={"conditions": conditions})

    def finds(self, verdict: str, **spec: Any) -> None:
        """The newest job writes a report to the store and ends."""
        order = self.order()
        made = report("x", verdict, **spec)["spec"] | {
            "window": {"start": order.window_start, "end": order.window_end, "rows": 900}
        }
        content = json.dumps({"schema": "gyre.report.v1", "spec": made}).encode()
        uri = f"{order.out}/report.json"
        self.documents.held[uri] = content
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        self.ends({"schema": "gyre.look.v1", "uri": uri, "digest": digest})

    def reports(self) -> list[str]:
        """Windows that have a report."""
        return sorted(r["spec"]["window"]["end"] for r in self.town.all(REPORTS))


@pytest.fixture
def scene() -> Scene:
    """A monitor whose target serves v1 for an hour."""
    return Scene()
