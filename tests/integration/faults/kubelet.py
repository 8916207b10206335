"""The hands of a kubelet, and what Gyre's pods would say: there is no node on this tier."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from gyre_crds import names
from gyre_crds.base import ApiModel
from gyre_crds.contracts.attempt import PrepareReport, PublishReport, PublishResult
from gyre_crds.contracts.store import job_prefix
from gyre_crds.v1alpha1.version import Signature
from gyre_operators.engine.kinds import POD
from tests.integration.engine.harness import TRAINING_JOB
from tests.integration.faults.s3 import S3Server
from tests.integration.loop.street import SIGNATURE, Street
from tests.localcluster.api import ApiError
from tests.operators.builders import digest_of
from tests.operators.training.cluster import PREPARED, ended
from tests.operators.version.cluster import PASSED, PROFILED, VERIFIED

_NOW = "2026-01-01T00:00:00Z"
_ENDED = ("Succeeded", "Failed")
_TASKS: dict[str, ApiModel] = {"verify": VERIFIED, "gate": PASSED, "profile": PROFILED}


class Kubelet:
    """Runs every pod of a namespace: servers become ready, tasks end well, trainings end when told."""

    def __init__(self, street: Street, s3: S3Server) -> None:
        self._street = street
        self._s3 = s3
        self._over: set[str] = set()

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """As long as this lasts, pods fare as said."""
        turns = asyncio.create_task(self._turn_by_turn())
        try:
            yield
        finally:
            turns.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await turns

    async def publish(self, training: str) -> None:
        """The training's result is in the store, as its publish container leaves it."""
        namespace = self._street.cluster.namespace
        uid = (await self._street.cluster.get(TRAINING_JOB, training))["metadata"]["uid"]
        content = json.dumps(_result(namespace, training).dump()).encode()
        await asyncio.to_thread(self._s3.put, f"{namespace}/{job_prefix(uid)}/result.json", content)

    def end(self, training: str) -> None:
        """The training's pod ends well."""
        self._over.add(training)

    async def _turn_by_turn(self) -> None:
        while True:
            for pod in await self._street.cluster.all(POD):
                status = self._fare(pod)
                if status is None:
                    continue
                with contextlib.suppress(ApiError):  # it was deleted meanwhile
                    await self._street.status(POD, pod["metadata"]["name"], status)
            await asyncio.sleep(0.3)

    def _fare(self, pod: dict[str, Any]) -> dict[str, Any] | None:
        """The status that a pod has next; None where it has it."""
        labels, was = pod["metadata"].get("labels", {}), pod.get("status", {})
        role, training = labels.get(names.ROLE, ""), labels.get(names.TRAINING_JOB)
        if was.get("phase") in _ENDED:
            return None
        if training is not None:
            return self._trains(pod, training)
        if role in _TASKS:
            return {"phase": "Succeeded", "containerStatuses": _containers(pod, task=ended(report=_TASKS[role]))}
        if was.get("phase") == "Running":
            return None
        ready = {"type": "Ready", "status": "True", "lastTransitionTime": _NOW}
        address = self._street.address
        return {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "conditions": [ready]}

    def _trains(self, pod: dict[str, Any], training: str) -> dict[str, Any] | None:
        over = training in self._over
        if not over and pod.get("status", {}).get("phase") == "Running":
            return None
        resolved = PREPARED.model_copy(update={"input_digest": digest_of(training)})
        prepare = ended(report=PrepareReport(resolved=resolved))
        running = {"running": {"startedAt": _NOW}}
        report = _result(self._street.cluster.namespace, training).report
        now = {"publish": ended(report=report), "train": ended()} if over else {"publish": running, "train": running}
        scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": _NOW}
        return {
            "phase": "Succeeded" if over else "Running",
            "conditions": [scheduled],
            "initContainerStatuses": _containers(pod, "initContainers", prepare=prepare),
            "containerStatuses": _containers(pod, **now),
        }


def _result(namespace: str, training: str) -> PublishResult:
    digest = digest_of(training)
    plain = digest.removeprefix("sha256:")
    report = PublishReport(
        tree_digest=digest,
        payload_digest=digest,
        uri=f"s3://gyre/{namespace}/sha256/{plain[:2]}/{plain[2:]}",
        result=f"s3://gyre/{namespace}/{training}/result.json",
        size=1234,
    )
    return PublishResult(
        report=report,
        format="ONNX",
        signature=Signature.model_validate(SIGNATURE),
        metrics={"accuracy": 0.79},
        trained_at=_NOW,
        cut_off=None,
    )


def _containers(pod: dict[str, Any], where: str = "containers", **states: Any) -> list[dict[str, Any]]:
    images = {each["name"]: each["image"] for each in pod["spec"][where]}
    return [
        {"name": name, "state": state, "image": images[name], "imageID": "", "ready": False, "restartCount": 0}
        for name, state in states.items()
    ]
