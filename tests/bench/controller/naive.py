"""The peer: a kopf operator as its tutorial teaches it, with default storages and one status patch per change.

It gets one advantage over most: its own requests are asynchronous and share one connection pool.
"""

import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import kopf

from tests.bench.controller.kinds import NAIVE

LABEL = "bench.gyre.dev/training"
STATES = {"Running": "Running", "Succeeded": "Succeeded", "Failed": "Failed"}
_told: dict[str, str] = {}


async def configure(settings: kopf.OperatorSettings, memo: kopf.Memo, **_: Any) -> None:
    """One session for all of its own requests."""
    settings.posting.level = 30  # warnings: at its default, kopf posts an Event for each handler that ends
    context = ssl.create_default_context(cafile=os.environ["BENCH_CA"])
    context.load_cert_chain(os.environ["BENCH_CERTIFICATE"], os.environ["BENCH_KEY"])
    memo.session = aiohttp.ClientSession(
        os.environ["BENCH_SERVER"],
        connector=aiohttp.TCPConnector(ssl=context, limit=0),
        headers={"User-Agent": "naive-operator"},
    )


async def close(memo: kopf.Memo, **_: Any) -> None:
    """Give the connections back."""
    await memo.session.close()


async def create(spec: Any, name: str, namespace: str, memo: kopf.Memo, patch: kopf.Patch, **_: Any) -> None:
    """One Job for each object."""
    container = {"name": "train", "image": spec["image"], "command": spec["command"]}
    job: dict[str, Any] = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": {LABEL: name}},
        "spec": {
            "backoffLimit": 0,
            "template": {
                "metadata": {"labels": {LABEL: name}, "annotations": dict(spec.get("podAnnotations", {}))},
                "spec": {"restartPolicy": "Never", "containers": [container]},
            },
        },
    }
    kopf.adopt(job)
    async with _send(memo, "POST", f"/apis/batch/v1/namespaces/{namespace}/jobs", json=job):
        patch.status["state"] = "Starting"


async def pod_changed(status: Any, labels: Any, namespace: str, memo: kopf.Memo, **_: Any) -> None:
    """Patch the status of the object whose pod moved."""
    name, state = labels[LABEL], STATES.get(status.get("phase", ""))
    if state is None or _told.get(name) == state:
        return
    _told[name] = state
    path = NAIVE.path(namespace, name, "status")
    headers = {"Content-Type": "application/merge-patch+json"}
    async with _send(memo, "PATCH", path, json={"status": {"state": state}}, headers=headers):
        pass


@asynccontextmanager
async def _send(memo: kopf.Memo, method: str, path: str, **what: Any) -> AsyncIterator[aiohttp.ClientResponse]:
    async with memo.session.request(method, path, **what) as answer:
        answer.raise_for_status()
        yield answer


# kopf's handler types list some thirty arguments by name, which no real handler does.
_handlers: Any = kopf.on
_handlers.startup()(configure)
_handlers.cleanup()(close)
_handlers.create(NAIVE.group, NAIVE.version, NAIVE.plural)(create)
_handlers.event("pods", labels={LABEL: kopf.PRESENT})(pod_changed)
