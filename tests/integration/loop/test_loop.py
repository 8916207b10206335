"""Model, InferenceService, router and DriftMonitor against a real API server.

There is no kubelet on this tier: the test says how pods fare, and answers in the routers' place over
real HTTP on an address of its own.
"""

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from gyre_crds.contracts.routing import Counter
from gyre_crds.v1alpha1 import DriftMonitor, DriftReport, InferenceService, Model, TrainingJob
from gyre_operators.engine.kinds import DEPLOYMENT, JOB, POD, SERVICE, Kind, gyre
from tests.integration.engine.harness import Operator, until
from tests.integration.engine.proxy import Proxy
from tests.integration.loop.street import Street, plain

pytestmark = pytest.mark.cluster

PROGRAM = "tests.integration.loop.program"


MODEL = {
    "contract": {"key": "id", "label": {"column": "employed"}},
    "training": {
        "template": {"image": "trainer:1", "command": ["python", "train.py"]},
        "triggers": [{"type": "Manual"}, {"type": "Drift"}],
        # A quiet machine finds the next loss within the second.
        "decision": {"costPerRun": 0, "minLabels": 100, "cooldown": "0s"},
    },
    "promotion": {"provenBy": "census"},
}
FAST = {"model": {"name": "census"}, "rollout": {"analysis": {"interval": "1s"}}}


async def start(
    street: Street, service: dict[str, Any] = FAST, routed: Callable[[], Awaitable[None]] | None = None
) -> None:
    """The first version was trained and serves; `routed` waits for the routers where they are real."""
    await street.cluster.create(gyre(Model), plain("Model", "census", MODEL))
    await street.cluster.create(gyre(InferenceService), plain("InferenceService", "census", service))
    await until(lambda: _length(street, gyre(TrainingJob), 1), 60, "the first training")
    await street.version("v1", trained="2026-01-01T00:00:00Z")
    if routed is not None:
        await routed()
    await until(lambda: street.serves("v1"), 30, "v1 serves")
    [job] = await street.cluster.all(gyre(TrainingJob))
    done = {"type": "Ready", "status": "True", "reason": "Succeeded", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    ended = {"finishedAt": "2026-01-01T00:00:00Z", "version": "v1", "conditions": [done]}
    await street.status(gyre(TrainingJob), job["metadata"]["name"], ended)


async def _length(street: Street, kind: Kind, wanted: int) -> bool:
    return len(await street.cluster.all(kind)) == wanted


async def _is(street: Street, resource: Any, reason: str) -> bool:
    await street.pods_answer()
    found: str = await street.reason(resource)
    return found == reason


async def test_first_version_trains_is_proven_and_serves_and_then_nothing_is_written(
    street: Street, proxy: Proxy, tmp_path: Path
) -> None:
    """From two manifests to a champion that serves; at rest not one write follows."""
    async with Operator(tmp_path, proxy.url, street.cluster.namespace, program=PROGRAM):
        await start(street)
        await until(lambda: _is(street, InferenceService, "Serving"), 15, "Serving")
        await until(lambda: _is(street, Model, "ChampionStands"), 15, "ChampionStands")
        assert (await street.get(Model))["champion"]["name"] == "v1"
        assert await street.weights() == {"v1": 100}
        names = {service["metadata"]["name"] for service in await street.cluster.all(SERVICE)}
        assert {"census", "gyre-router"} <= names
        await asyncio.sleep(2)
        before = len(proxy.writes())
        await asyncio.sleep(6)
        assert [w.path for w in proxy.writes()[before:]] == []


async def test_challenger_goes_through_its_steps_and_is_champion(street: Street, proxy: Proxy, tmp_path: Path) -> None:
    """10 -> 50 -> 100 on the routers' counters, then the old Deployment goes and the champion moves."""
    async with Operator(tmp_path, proxy.url, street.cluster.namespace, program=PROGRAM):
        await start(street)
        await street.version("v2", trained="2026-01-02T00:00:00Z")
        await until(lambda: _weights_are(street, {"v1": 90, "v2": 10}), 30, "10 %")
        await _answer(street, 4000, 440)
        await until(lambda: _weights_are(street, {"v1": 50, "v2": 50}), 30, "50 %")
        await _answer(street, 500, 500)
        await until(lambda: street.serves("v2"), 30, "v2 serves")
        await until(lambda: _servers_are(street, 1), 30, "the old Deployment is gone")
        await until(lambda: _champion_is(street, "v2"), 15, "v2 is champion")
        assert await street.weights() == {"v2": 100}


async def _weights_are(street: Street, wanted: dict[str, int]) -> bool:
    await street.pods_answer()
    found: dict[str, int] = await street.weights()
    return found == wanted


async def _answer(street: Street, stable: int, candidate: int) -> None:
    """Requests are answered once the step counts them."""

    async def counts() -> bool:
        return "stepSince" in (await street.get(InferenceService)).get("candidate", {})

    await until(counts, 15, "the step counts")
    status = await street.get(InferenceService)
    for ref, more in ((status["stable"], stable), (status["candidate"], candidate)):
        before = street.counts.get(ref["revision"], Counter())
        street.counts[ref["revision"]] = Counter(requests=before.requests + more)


async def _servers_are(street: Street, wanted: int) -> bool:
    roles = [d["metadata"]["labels"].get("gyre.dev/role") for d in await street.cluster.all(DEPLOYMENT)]
    return roles.count("server") == wanted


async def _champion_is(street: Street, wanted: str) -> bool:
    champion: dict[str, Any] = (await street.get(Model)).get("champion", {})
    return champion.get("name") == wanted


async def test_look_becomes_a_report_and_the_report_a_decision(street: Street, proxy: Proxy, tmp_path: Path) -> None:
    """A job for the window, its report from the store, and the Model's answer on it."""
    store = tmp_path / "store"
    settings = {"store": {"uri": f"file://{store}"}}
    async with Operator(tmp_path, proxy.url, street.cluster.namespace, program=PROGRAM, **settings):
        await start(street)
        spec = {"target": {"inferenceService": "census"}, "window": {"every": "5s"}}
        fast = {"payloads": {"flushEvery": "1s"}}
        path = gyre(InferenceService).path(street.cluster.namespace, "census")
        await street.cluster.ask("PATCH", path, {"spec": fast}, "merge")
        await street.cluster.create(gyre(DriftMonitor), plain("DriftMonitor", "census", spec))
        await until(lambda: _length(street, JOB, 1), 40, "the look")
        [job] = await street.cluster.all(JOB)
        await _find(street, job)
        await until(lambda: _length(street, gyre(DriftReport), 1), 20, "the report")
        await until(lambda: _answered(street), 20, "the answer")
        [report] = await street.cluster.all(gyre(DriftReport))
        decision = (await street.get(Model))["decisions"][0]
        assert report["status"]["decision"] == decision["id"]
        assert decision["reason"] == "NotAModelProblem"
        assert (await street.get(DriftMonitor))["verdict"] == "SchemaBreak"


async def _answered(street: Street) -> bool:
    reports = await street.cluster.all(gyre(DriftReport))
    return all("decision" in (report.get("status") or {}) for report in reports)


async def _find(street: Street, job: dict[str, Any]) -> None:
    """The job's pod writes its report and ends."""
    [container] = job["spec"]["template"]["spec"]["containers"]
    order = json.loads(next(e["value"] for e in container["env"] if e["name"] == "GYRE_TASK"))
    spec = {
        "monitor": "census",
        "version": "v1",
        "window": {"start": order["windowStart"], "end": order["windowEnd"], "rows": 900},
        "verdict": "SchemaBreak",
        "level": "P0",
        "reason": "Column age is gone; repair the source.",
    }
    content = json.dumps({"schema": "gyre.report.v1", "spec": spec}).encode()
    file = Path(order["out"].removeprefix("file://")) / "report.json"
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    said = {
        "schema": "gyre.look.v1",
        "uri": f"file://{file}",
        "digest": f"sha256:{hashlib.sha256(content).hexdigest()}",
    }

    async def has_pod() -> bool:
        return bool(await _pods_of(street, job))

    await until(has_pod, 20, "the job's pod")
    [pod] = await _pods_of(street, job)
    now = "2026-01-01T00:00:00Z"
    ended = {"exitCode": 0, "message": json.dumps(said), "startedAt": now, "finishedAt": now}
    container_status = {"name": "look", "image": "x", "imageID": "", "ready": False, "restartCount": 0}
    statuses = [{**container_status, "state": {"terminated": ended}}]
    await street.status(POD, pod["metadata"]["name"], {"phase": "Succeeded", "containerStatuses": statuses})


async def _pods_of(street: Street, job: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        pod
        for pod in await street.cluster.all(POD)
        if any(owner["uid"] == job["metadata"]["uid"] for owner in pod["metadata"].get("ownerReferences", []))
    ]
