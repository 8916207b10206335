"""The TrainingJob controller against a real API server, Job controller and scheduler.

There is no kubelet on this tier: the test says how pods fare and what publish leaves in the store.
"""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from gyre_crds.contracts.attempt import PrepareReport, PublishResult
from gyre_crds.v1alpha1 import ModelVersion
from gyre_operators.engine.kinds import JOB, POD, Kind, gyre
from tests.integration.engine.harness import TRAINING_JOB, Cluster, Operator, until
from tests.integration.engine.proxy import Proxy, Request
from tests.operators.training.cluster import PREPARED, ended, publish_result

pytestmark = pytest.mark.cluster

PROGRAM = "tests.integration.training.program"
QUOTA = Kind("", "v1", "ResourceQuota", "resourcequotas")
NAMESPACE = Kind("", "v1", "Namespace", "namespaces", namespaced=False)
NOW = "2026-01-01T00:00:00Z"
PATIENCE = 40
WRITES = 5
"""A life without progress: intent, Job, running, ModelVersion, end."""
UNTIL_POD = 2
"""Writes without which there is no pod."""


def job(**spec: Any) -> dict[str, Any]:
    """A TrainingJob."""
    return {
        "apiVersion": "gyre.dev/v1alpha1",
        "kind": "TrainingJob",
        "metadata": {"name": "first"},
        "spec": {"model": "census", "image": "example/train:1", "command": ["python3", "train.py"], **spec},
    }


class Site:
    """One namespace, the operator over it, and the hands of a kubelet."""

    def __init__(self, cluster: Cluster, proxy: Proxy, folder: Path) -> None:
        self.cluster = cluster
        self.store = folder / "store"
        self.operator = Operator(
            folder,
            proxy.url,
            cluster.namespace,
            program=PROGRAM,
            leaderElection=False,
            store={"uri": f"file://{self.store}"},
        )

    async def restrict(self) -> None:
        """Enforce the Pod Security level restricted."""
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        path = NAMESPACE.path(name=self.cluster.namespace)
        await self.cluster.ask("PATCH", path, {"metadata": {"labels": labels}}, "merge")

    async def pod(self) -> Any:
        """The newest pod, once the Job controller has made it."""

        async def made() -> bool:
            return bool(await self.cluster.all(POD))

        await until(made, PATIENCE, "a pod")
        return max(await self.cluster.all(POD), key=lambda pod: pod["metadata"]["name"])

    async def fare(self, phase: str, **states: Any) -> None:
        """Set the pod's phase and its containers' states, as a kubelet would."""
        pod = await self.pod()
        images = {each["name"]: each["image"] for each in pod["spec"]["initContainers"] + pod["spec"]["containers"]}

        def status(name: str) -> dict[str, Any]:
            state = states.get(name, {"waiting": {"reason": "PodInitializing"}})
            image = {"image": images[name], "imageID": "", "ready": False, "restartCount": 0}
            return {"name": name, "state": state, **image}

        body = {
            "phase": phase,
            "conditions": [{"type": "PodScheduled", "status": "True", "lastTransitionTime": NOW}],
            "initContainerStatuses": [status("prepare")],
            "containerStatuses": [status("publish"), status("train")],
        }
        path = POD.path(self.cluster.namespace, pod["metadata"]["name"], "status")
        await self.cluster.ask("PATCH", path, {"status": body}, "merge")

    async def runs(self) -> None:
        """The training runs."""
        running = {"running": {"startedAt": NOW}}
        await self.fare(
            "Running", prepare=ended(report=PrepareReport(resolved=PREPARED)), publish=running, train=running
        )

    async def succeeds(self) -> None:
        """The training ends well and its result is in the store."""
        uid = (await self.cluster.get(TRAINING_JOB, "first"))["metadata"]["uid"]
        result: PublishResult = publish_result()
        target = self.store / self.cluster.namespace / "jobs" / uid / "result.json"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(result.dump()))
        done = ended(report=PrepareReport(resolved=PREPARED))
        await self.fare("Succeeded", prepare=done, publish=ended(report=result.report), train=ended())

    async def becomes(self, reason: str) -> str:
        """Wait until the Ready condition has this reason; its sentence."""

        async def is_so() -> bool:
            return await self.cluster.reason("first") == reason

        await until(is_so, PATIENCE, f"{reason}; it is {await self.cluster.reason('first')!r}")
        body = await self.cluster.get(TRAINING_JOB, "first")
        found: str = next(each["message"] for each in body["status"]["conditions"] if each["type"] == "Ready")
        return found


@pytest.fixture
def site(cluster: Cluster, proxy: Proxy, tmp_path: Path) -> Site:
    """A site of its own."""
    return Site(cluster, proxy, tmp_path)


async def test_life_in_a_restricted_namespace(site: Site, proxy: Proxy) -> None:
    """From apply to a ModelVersion: the real API admits every object, Pod Security too, and it costs five writes."""
    await site.restrict()
    async with site.operator:
        await site.cluster.create(TRAINING_JOB, job(data=[{"name": "rows", "claim": {"name": "disk"}}]))
        await site.pod()
        await site.runs()
        await site.becomes("Running")
        await site.succeeds()
        await site.becomes("Succeeded")
        writes = [request.path for request in proxy.writes() if "/events" not in request.path]
        # The scheduler's word on a cluster without nodes is one status more, when it comes before the kubelet's.
        assert len(writes) in (WRITES, WRITES + 1), writes
        (version,) = await site.cluster.all(gyre(ModelVersion))
        body = await site.cluster.get(TRAINING_JOB, "first")
        assert body["status"]["version"] == version["metadata"]["name"]
        assert version["spec"]["lineage"]["inputDigest"] == PREPARED.input_digest


async def test_no_node(site: Site) -> None:
    """The real scheduler's sentence on a cluster without nodes is told."""
    async with site.operator:
        await site.cluster.create(TRAINING_JOB, job())
        assert "no nodes available" in await site.becomes("Unschedulable")


async def test_quota(site: Site) -> None:
    """A real ResourceQuota that forbids the pod is named with its numbers and the cure."""
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "small"},
        "spec": {"hard": {"pods": "0"}},
    }
    await site.cluster.create(QUOTA, quota)
    async with site.operator:
        await site.cluster.create(TRAINING_JOB, job())
        message = await site.becomes("QuotaExceeded")
        assert message.startswith(
            "ResourceQuota 'small' forbids the pod: it asks for pods=1; pods=0 of pods=0 is used."
        )


async def test_root_in_a_restricted_namespace(site: Site) -> None:
    """A patch that asks for root is refused by the real Pod Security admission, in one sentence."""
    await site.restrict()
    async with site.operator:
        patch = {"spec": {"securityContext": {"runAsUser": 0, "runAsNonRoot": False}}}
        await site.cluster.create(TRAINING_JOB, job(podTemplatePatch=patch))
        message = await site.becomes("NeedsRoot")
        assert "restricted:latest" in message
        assert "podTemplatePatch" in message


async def test_service_account_that_does_not_exist(site: Site) -> None:
    """The real admission's word on a service account ends as a sentence."""
    async with site.operator:
        await site.cluster.create(TRAINING_JOB, job(serviceAccountName="bob"))
        message = await site.becomes("Forbidden")
        assert message == "ServiceAccount 'bob' does not exist. Correct serviceAccountName or create it."


async def test_patch_that_is_no_pod(site: Site) -> None:
    """A patch that makes no valid Job is refused by the API server, and the refusal stands on the object."""
    async with site.operator:
        await site.cluster.create(TRAINING_JOB, job(podTemplatePatch={"spec": {"restartPolicy": "Always"}}))
        message = await site.becomes("Forbidden")
        assert "restartPolicy" in message


@pytest.mark.parametrize("number", range(WRITES))
@pytest.mark.parametrize("moment", ["before", "after"])
async def test_killed_around_each_write(site: Site, proxy: Proxy, number: int, moment: str) -> None:
    """Killed -9 before or after each write of a life: one Job, one attempt, one ModelVersion."""
    count = 0
    killed = asyncio.Event()

    async def kill(request: Request) -> None:
        nonlocal count
        if "/events" in request.path or killed.is_set():
            return
        count += 1
        if count == number + 1:
            # Only then may a new process start, or this write would be taken for one of its.
            await site.operator.kill()
            killed.set()

    async def only_before(request: Request) -> None:
        await kill(request)
        if killed.is_set() and not site.operator.alive:
            # What a dead process had not sent yet never arrives.
            raise asyncio.CancelledError

    if moment == "before":
        proxy.before = only_before
    else:
        proxy.after = kill

    async def revive() -> None:
        await killed.wait()
        proxy.before = proxy.after = None
        await asyncio.sleep(0.2)
        await site.operator.start()
        await site.operator.answers()

    async with site.operator:
        await site.operator.answers()
        reviver = asyncio.create_task(revive())
        await site.cluster.create(TRAINING_JOB, job())
        if number < UNTIL_POD:
            await reviver
        await site.pod()
        await site.runs()
        await site.becomes("Running")
        await site.succeeds()
        await site.becomes("Succeeded")
        await reviver
        body = await site.cluster.get(TRAINING_JOB, "first")
        assert [attempt["job"] for attempt in body["status"]["attempts"]] == ["first-a1"]
        assert [each["metadata"]["name"] for each in await site.cluster.all(JOB)] == ["first-a1"]
        assert len(await site.cluster.all(gyre(ModelVersion))) == 1
