"""Streams break, history is forgotten, the API server goes away: the operator ends converged."""

import asyncio
from pathlib import Path

import pytest

from gyre_operators.engine.kinds import CONFIG_MAP
from tests.integration.engine.harness import TRAINING_JOB, Cluster, Operator, until
from tests.integration.engine.proxy import Proxy, Request
from tests.operators.engine.example import training_job

pytestmark = pytest.mark.cluster


async def _start(cluster: Cluster, operator: Operator, *names: str) -> None:
    for name in names:
        await cluster.create(TRAINING_JOB, training_job(name))

    async def all_running() -> bool:
        reasons = [await cluster.reason(name) for name in names]
        return (await operator.health())[0] == 200 and set(reasons) == {"Running"}

    await until(all_running, 60, f"{names} Running")


async def test_a_child_deleted_in_a_forgotten_gap_is_made_again(cluster: Cluster, proxy: Proxy, tmp_path: Path) -> None:
    """Watches are cut, a ConfigMap is deleted, the history is gone (410): it is back in seconds."""
    async with Operator(tmp_path, proxy.url, cluster.namespace) as operator:
        await _start(cluster, operator, "first")
        proxy.forgets = True
        proxy.deaf = True
        await cluster.delete(CONFIG_MAP, "first-params")
        proxy.cut()
        await asyncio.sleep(3)
        proxy.deaf = False
        proxy.forgets = False
        await until(lambda: _has_map(cluster), 60, "ConfigMap back")

        assert await operator.metric('gyre_watch_restarts_total{kind="configmaps",reason="gone"') >= 1
        assert await cluster.jobs() == ["first-a1"]


async def test_a_cut_watch_loses_nothing(cluster: Cluster, proxy: Proxy, tmp_path: Path) -> None:
    """The Job succeeds while no stream is open; the status says so soon after."""
    async with Operator(tmp_path, proxy.url, cluster.namespace) as operator:
        await _start(cluster, operator, "first")
        proxy.down = True
        proxy.cut()
        await cluster.finish("first-a1")
        await cluster.create(TRAINING_JOB, training_job("second"))
        await asyncio.sleep(3)
        proxy.down = False
        await until(lambda: _reason(cluster, "first", "Succeeded"), 60, "first Succeeded")
        await until(lambda: _reason(cluster, "second", "Running"), 60, "second Running")

        assert operator.alive
        assert await cluster.jobs() == ["first-a1", "second-a1"]


async def test_events_of_our_own_kinds_that_got_lost_are_found(cluster: Cluster, proxy: Proxy, tmp_path: Path) -> None:
    """Streams stay open but carry nothing: a deletion and a creation are found by listing."""
    async with Operator(tmp_path, proxy.url, cluster.namespace) as operator:
        await _start(cluster, operator, "first")
        proxy.deaf = True
        await cluster.delete(TRAINING_JOB, "first")
        await cluster.create(TRAINING_JOB, training_job("second"))
        await until(lambda: _reason(cluster, "second", "Running"), 100, "second Running")

        cached = await operator.metric('gyre_cache_objects{kind="trainingjobs"}')
        assert cached == 1
        assert await operator.metric('gyre_watch_repairs_total{kind="trainingjobs"}') >= 2


async def test_repeated_and_old_events_change_nothing(cluster: Cluster, proxy: Proxy, tmp_path: Path) -> None:
    """Each event comes twice and all old ones after it, the making of deleted objects too.

    What was deleted stays deleted, what was made is made once, and at rest nothing is written.
    """
    proxy.stammers = True
    async with Operator(tmp_path, proxy.url, cluster.namespace) as operator:
        await _start(cluster, operator, "first", "second")
        await cluster.delete(TRAINING_JOB, "second")
        await until(lambda: _map_names_are(cluster, "first-params"), 60, "the children of second are gone")
        await cluster.create(TRAINING_JOB, training_job("third"))
        await until(lambda: _reason(cluster, "third", "Running"), 60, "third Running")
        await cluster.finish("first-a1")
        await until(lambda: _reason(cluster, "first", "Succeeded"), 60, "first Succeeded")
        await cluster.delete(CONFIG_MAP, "third-params")
        await until(lambda: _map_names_are(cluster, "first-params", "third-params"), 60, "ConfigMap back")
        await asyncio.sleep(1)
        before = len(proxy.writes())
        await asyncio.sleep(3)

        assert [write.path for write in proxy.writes()[before:]] == []
        assert await operator.metric('gyre_cache_objects{kind="trainingjobs"}') == 2
        assert await cluster.jobs() == ["first-a1", "third-a1"]
        assert await _map_names_are(cluster, "first-params", "third-params")


async def test_an_api_server_away_for_a_minute_ends_nothing(cluster: Cluster, proxy: Proxy, tmp_path: Path) -> None:
    """Sixty seconds of refused connections: the process lives, says so, and goes on after."""
    async with Operator(tmp_path, proxy.url, cluster.namespace) as operator:
        await _start(cluster, operator, "first")
        proxy.down = True
        proxy.cut()
        await asyncio.sleep(20)
        assert await operator.metric("leader_election_master_status") == 0
        await asyncio.sleep(40)
        assert operator.alive
        assert (await operator.health("/livez"))[0] == 200
        await cluster.create(TRAINING_JOB, training_job("second"))
        await cluster.finish("first-a1")
        proxy.down = False
        await until(lambda: _reason(cluster, "second", "Running"), 60, "second Running")
        await until(lambda: _reason(cluster, "first", "Succeeded"), 60, "first Succeeded")

        assert await operator.metric("leader_election_master_status") == 1


async def test_a_restarted_api_server_is_found_again(cluster: Cluster, tmp_path: Path) -> None:
    """The real API server is killed and started anew; without a proxy, over TLS."""
    kubeconfig = str(cluster.plane.kubeconfig)
    async with Operator(tmp_path, kubeconfig, cluster.namespace) as operator:
        await _start(cluster, operator, "first")
        await asyncio.to_thread(cluster.plane.stop_program, "kube-apiserver", patience=0.0)
        await asyncio.sleep(2)
        await asyncio.to_thread(cluster.plane.start_program, "kube-apiserver")
        await cluster.create(TRAINING_JOB, training_job("second"))
        await until(lambda: _reason(cluster, "second", "Running"), 60, "second Running")

        assert operator.alive


async def test_a_host_that_fails_is_begun_anew(cluster: Cluster, proxy: Proxy, tmp_path: Path) -> None:
    """Kopf gives up over a refused discovery; the process and its work go on, and kopf comes back."""
    asked = 0

    def refuse_the_second(request: Request) -> bool:
        nonlocal asked
        asked += request.path == "/apis/gyre.dev/v1alpha1"
        return request.path == "/apis/gyre.dev/v1alpha1" and asked == 2

    proxy.refuses = refuse_the_second
    async with Operator(tmp_path, proxy.url, cluster.namespace) as operator:
        await _start(cluster, operator, "first")
        await until(lambda: _said(operator, "kopf failed and is begun anew"), 30, "kopf failed")
        await until(lambda: _watches(proxy), 30, "kopf watches again")
        await cluster.create(TRAINING_JOB, training_job("second"))
        await until(lambda: _reason(cluster, "second", "Running"), 20, "second Running")

        assert operator.alive


async def test_a_refusal_by_quota_is_said_and_cured(cluster: Cluster, proxy: Proxy, tmp_path: Path) -> None:
    """A ResourceQuota forbids Jobs: one sentence on the object; raised, it runs."""
    quota = {"metadata": {"name": "none"}, "spec": {"hard": {"count/jobs.batch": "0"}}}
    path = f"/api/v1/namespaces/{cluster.namespace}/resourcequotas"
    await cluster.ask("POST", path, quota)
    await until(lambda: _quota_counts(cluster), 60, "quota in force")
    async with Operator(tmp_path, proxy.url, cluster.namespace):
        await cluster.create(TRAINING_JOB, training_job("first"))
        await until(lambda: _reason(cluster, "first", "QuotaExceeded"), 60, "QuotaExceeded")
        body = await cluster.get(TRAINING_JOB, "first")
        ready = next(c for c in body["status"]["conditions"] if c["type"] == "Ready")
        assert "exceeded quota: none" in ready["message"]
        assert body["status"]["state"] == "Failed"
        await cluster.ask("DELETE", f"{path}/none")
        await until(lambda: _reason(cluster, "first", "Running"), 60, "Running")

        assert await cluster.jobs() == ["first-a1"]


async def _said(operator: Operator, sentence: str) -> bool:
    return sentence in operator.log.read_text()


async def _watches(proxy: Proxy) -> bool:
    return any(seen.watch and "/trainingjobs" in seen.path for seen in proxy.seen)


async def _has_map(cluster: Cluster) -> bool:
    return await cluster.maps() == ["first-params"]


async def _map_names_are(cluster: Cluster, *names: str) -> bool:
    return await cluster.maps() == list(names)


async def _reason(cluster: Cluster, name: str, reason: str) -> bool:
    return await cluster.reason(name) == reason


async def _quota_counts(cluster: Cluster) -> bool:
    path = f"/api/v1/namespaces/{cluster.namespace}/resourcequotas/none"
    return bool((await cluster.ask("GET", path)).get("status", {}).get("hard"))
