"""Whoever kills the operator, and whenever: one Job, one ConfigMap, the uid on record."""

import asyncio
from pathlib import Path

import pytest

from gyre_operators.engine.kinds import JOB
from tests.integration.engine.harness import TRAINING_JOB, Cluster, Operator, until
from tests.integration.engine.proxy import Proxy, Request
from tests.operators.engine.example import training_job

pytestmark = pytest.mark.cluster

_WRITES = 4
"""ConfigMap, status, Job, status."""


@pytest.mark.parametrize("number", range(_WRITES))
@pytest.mark.parametrize("moment", ["before", "after"])
async def test_killed_around_each_write(
    cluster: Cluster, proxy: Proxy, tmp_path: Path, number: int, moment: str
) -> None:
    """Killed -9 before the server sees a write, or after it did and before the answer."""
    operator = Operator(tmp_path, proxy.url, cluster.namespace, leaderElection=False)
    count = 0
    killed = asyncio.Event()

    async def kill(request: Request) -> None:
        nonlocal count
        if "/events" in request.path or killed.is_set():
            return
        count += 1
        if count == number + 1:
            # Only then may a new process start, or this write would be taken for one of its.
            await operator.kill()
            killed.set()

    async def only_before(request: Request) -> None:
        await kill(request)
        if killed.is_set() and not operator.alive:
            # What a dead process had not sent yet never arrives.
            raise asyncio.CancelledError

    if moment == "before":
        proxy.before = only_before
    else:
        proxy.after = kill
    async with operator:
        await operator.answers()
        await cluster.create(TRAINING_JOB, training_job("first"))
        async with asyncio.timeout(60):
            await killed.wait()
        proxy.before = proxy.after = None
        await asyncio.sleep(0.2)
        made_before = {job["metadata"]["uid"] for job in await cluster.all(JOB)}
        if made_before:
            body = await cluster.get(TRAINING_JOB, "first")
            assert body["status"]["attempts"][0]["job"] == "first-a1"
        await operator.start()
        await operator.answers()
        await until(lambda: _running(cluster), 60, "Running")

        jobs = await cluster.all(JOB)
        body = await cluster.get(TRAINING_JOB, "first")
        assert [job["metadata"]["name"] for job in jobs] == ["first-a1"]
        assert made_before <= {job["metadata"]["uid"] for job in jobs}
        assert body["status"]["attempts"][0]["uid"] == jobs[0]["metadata"]["uid"]
        assert await cluster.maps() == ["first-params"]


async def _running(cluster: Cluster) -> bool:
    return await cluster.reason("first") == "Running"
