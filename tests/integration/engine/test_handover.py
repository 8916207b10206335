"""Two replicas: one works, the other takes over; nothing is done twice and nothing is left."""

from pathlib import Path

import pytest

from tests.integration.engine.harness import TRAINING_JOB, Cluster, Operator, until
from tests.integration.engine.proxy import Proxy
from tests.operators.engine.example import training_job

pytestmark = pytest.mark.cluster


async def _leads(operator: Operator) -> bool:
    return await operator.metric("leader_election_master_status") == 1


async def _ready(operator: Operator) -> bool:
    return (await operator.health())[0] == 200


async def test_a_standby_is_ready_and_idle_and_takes_over_at_once_on_an_orderly_end(
    cluster: Cluster, proxy: Proxy, tmp_path: Path
) -> None:
    """A rolling update: the next replica works within seconds of the first one's end."""
    async with (
        Operator(tmp_path, proxy.url, cluster.namespace) as first,
        Operator(tmp_path, proxy.url, cluster.namespace) as second,
    ):
        await until(lambda: _ready(first), 60, "first ready")
        await until(lambda: _ready(second), 60, "second ready")
        await until(lambda: _one_leads(first, second), 60, "one leads")
        leader, standby = (first, second) if await _leads(first) else (second, first)
        assert not await _leads(standby)
        await cluster.create(TRAINING_JOB, training_job("first"))
        await until(lambda: _running(cluster, "first"), 30, "Running")

        assert await standby.metric("controller_runtime_reconcile_total") == 0
        assert await leader.stop() == 0
        took = await until(lambda: _leads(standby), 15, "handover")
        assert took <= 6
        await cluster.create(TRAINING_JOB, training_job("second"))
        await until(lambda: _running(cluster, "second"), 30, "second Running")
        assert await cluster.jobs() == ["first-a1", "second-a1"]


async def test_a_killed_leader_is_replaced_when_its_lease_runs_out(
    cluster: Cluster, proxy: Proxy, tmp_path: Path
) -> None:
    """Killed -9 with work at hand: the standby does it once the lease ran out."""
    async with (
        Operator(tmp_path, proxy.url, cluster.namespace) as first,
        Operator(tmp_path, proxy.url, cluster.namespace) as second,
    ):
        await until(lambda: _ready(first), 60, "first ready")
        await until(lambda: _ready(second), 60, "second ready")
        await until(lambda: _one_leads(first, second), 60, "one leads")
        leader = first if await _leads(first) else second
        await leader.kill()
        await cluster.create(TRAINING_JOB, training_job("first"))
        took = await until(lambda: _running(cluster, "first"), 40, "Running")

        assert 8 <= took <= 35
        assert await cluster.jobs() == ["first-a1"]


async def _one_leads(first: Operator, second: Operator) -> bool:
    return await _leads(first) or await _leads(second)


async def _running(cluster: Cluster, name: str) -> bool:
    return await cluster.reason(name) == "Running"
