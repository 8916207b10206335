"""The operator is killed at every write of a version's life: from the end of its training to champion."""

import asyncio
import contextlib
from collections import Counter as Tally
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gyre_crds import names
from gyre_crds.contracts.routing import Counter
from gyre_crds.v1alpha1 import InferenceService, Model, ModelVersion
from gyre_operators.engine.kinds import DEPLOYMENT, JOB, gyre
from tests.integration.engine.harness import TRAINING_JOB, until
from tests.integration.engine.proxy import Proxy
from tests.integration.faults.axe import MOMENTS, Axe
from tests.integration.faults.kubelet import Kubelet
from tests.integration.faults.nursery import ForkedOperator
from tests.integration.faults.s3 import S3Server
from tests.integration.faults.story import PATIENCE, TRAINING, first_version, registered, says
from tests.integration.loop.street import Street, plain
from tests.operators.mlflow.server import MlflowServer

pytestmark = pytest.mark.cluster

_REST = 8.0
"""Seconds without a write after which nothing is on its way any more."""
_MET = (
    "/modelversions",
    "/jobs",
    "model-versions/create",
    "model-versions/set-tag",
    "registered-models/alias",
    "/deployments",
    "/configmaps/gyre-router",
    "/inferenceservices/census/status",
    "/models/census/status",
)
"""Writes at which the operator must have died, before and after."""


async def test_version_outlives_a_kill_at_every_write(
    street: Street, proxy: Proxy, mlflow: MlflowServer, s3: S3Server, tmp_path: Path
) -> None:
    """Killed -9 before and after each write to the API server and to MLflow, from training's end to champion.

    Verified, registered, gated, rolled out 10 -> 50 -> 100 under traffic, and champion: with one MLflow
    version, one alias, one of each Job, one Deployment, and a table that routes all traffic at every moment.
    """
    async with Proxy(mlflow.url) as between:
        operator = ForkedOperator(
            tmp_path,
            proxy.url,
            street.cluster.namespace,
            environment=s3.environment,
            store={"uri": "s3://gyre", "endpoint": s3.endpoint},
            mlflow={"url": between.url},
        )
        kubelet, axe = Kubelet(street, s3), Axe(operator, proxy, between)
        async with operator, kubelet.at_work(), _traffic(street):
            await operator.start()
            first = await first_version(street, kubelet)
            await street.cluster.create(TRAINING_JOB, plain("TrainingJob", "second", TRAINING))
            await says(street, TRAINING_JOB, "second", "Running")
            await operator.kill()
            await kubelet.publish("second")
            kubelet.end("second")

            async def is_over() -> bool:
                assert sum((await street.weights()).values()) == 100
                return False

            await axe.every_write(is_over, _REST)
            second = (await street.cluster.get(TRAINING_JOB, "second"))["status"]["version"]
            await says(street, gyre(Model), "census", "ChampionStands")
            await until(lambda: _is_recorded(street, second), PATIENCE, "the champion is recorded")
            await _everything_once(street, mlflow, first, second)
        _met_everything(axe)


@asynccontextmanager
async def _traffic(street: Street) -> AsyncIterator[None]:
    """Requests are answered without an error by whatever the table routes to."""

    async def answer() -> None:
        while True:
            table = await street.table()
            for route in (r for service in table.services for r in service.revisions) if table else ():
                before = street.counts.get(route.revision, Counter())
                street.counts[route.revision] = Counter(requests=before.requests + 100 * route.weight)
            await asyncio.sleep(0.3)

    task = asyncio.create_task(answer())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _is_recorded(street: Street, version: str) -> bool:
    found = (await street.cluster.get(gyre(ModelVersion), version) or {}).get("status", {})
    recorded = any(c["type"] == "Recorded" and c["status"] == "True" for c in found["conditions"])
    return recorded and found["aliases"] == ["champion"]


async def _everything_once(street: Street, mlflow: MlflowServer, first: str, second: str) -> None:
    """Nothing is lost and nothing is double."""
    assert await registered(street, mlflow) == {first: "1", second: "2"}
    assert (await street.get(Model))["champion"]["name"] == second
    status = await street.get(InferenceService)
    assert (status["stable"]["version"], status.get("candidate")) == (second, None)
    assert [each["what"] for each in status["history"] if each["version"] == second].count("Promoted") == 1
    assert await street.weights() == {second: 100}
    assert len(await street.cluster.all(TRAINING_JOB)) == 2
    assert {each["metadata"]["name"] for each in await street.cluster.all(gyre(ModelVersion))} == {first, second}
    servers = [each["metadata"]["labels"].get(names.ROLE) for each in await street.cluster.all(DEPLOYMENT)]
    assert servers.count("server") == 1
    jobs = [each["metadata"]["labels"] for each in await street.cluster.all(JOB)]
    made = Tally(each[names.ROLE] for each in jobs if each.get(names.VERSION) == second)
    # Verified before its registration, and again after its promotion.
    assert made == {"verify": 2, "gate": 1}


def _met_everything(axe: Axe) -> None:
    for moment in MOMENTS:
        met = [request.path for at, request in axe.struck if at == moment]
        assert [part for part in _MET if not any(part in path for path in met)] == [], met
