"""The operator's process on a real control plane: a life, rest, restart, rights."""

import asyncio
import json
from pathlib import Path

import pytest
import yaml

from gyre_operators.engine.kinds import CONFIG_MAP, EVENT, LEASE
from gyre_operators.rbac import document
from tests.integration.engine.harness import TRAINING_JOB, Cluster, Operator, until
from tests.integration.engine.proxy import Proxy
from tests.operators.engine.example import OnceController, training_job

pytestmark = pytest.mark.cluster


async def _running(cluster: Cluster, name: str = "first") -> bool:
    return await cluster.reason(name) == "Running"


async def test_a_life_from_apply_to_success(cluster: Cluster, proxy: Proxy, tmp_path: Path) -> None:
    """Apply, a Job within seconds, its success in the status, three events, no write for the deleted one."""
    async with Operator(tmp_path, proxy.url, cluster.namespace) as operator:
        await cluster.create(TRAINING_JOB, training_job("first"))
        await until(lambda: _running(cluster), 60, "Running")
        assert await cluster.jobs() == ["first-a1"]
        assert await cluster.maps() == ["first-params"]
        await cluster.finish("first-a1")
        await until(lambda: _is(cluster, "Succeeded"), 30, "Succeeded")

        events = [e for e in await cluster.all(EVENT) if e["involvedObject"]["kind"] == "TrainingJob"]
        assert {event["reason"] for event in events} == {"Pending", "Running", "Succeeded"}
        assert (await operator.health("/livez"))[0] == 200
        assert (await operator.health("/readyz"))[0] == 200
        # On a busy machine the reconcile after the success is still on its way.
        await _at_rest(proxy)
        before = len(proxy.writes())
        await cluster.delete(TRAINING_JOB, "first")
        await asyncio.sleep(3)
        assert [w.path for w in proxy.writes()[before:]] == []


async def test_zero_writes_at_rest_and_after_a_restart(cluster: Cluster, proxy: Proxy, tmp_path: Path) -> None:
    """Ten objects at rest: ten seconds and a restart cost no write but the Lease's."""
    names = [f"job-{number}" for number in range(10)]
    operator = Operator(tmp_path, proxy.url, cluster.namespace)
    async with operator:
        for name in names:
            await cluster.create(TRAINING_JOB, training_job(name))
        await until(lambda: _all_running(cluster, names), 60, "all Running")
        await asyncio.sleep(3)
        before = len(proxy.writes())
        await asyncio.sleep(10)
        assert [w.path for w in proxy.writes()[before:]] == []
        assert await operator.stop() == 0
        await operator.start()
        await until(lambda: _ready(operator), 60, "ready again")
        await asyncio.sleep(5)

        assert [w.path for w in proxy.writes()[before:]] == []
        reconciles = await operator.metric('controller_runtime_reconcile_total{controller="once"')
        assert reconciles >= 10


async def test_a_burst_takes_four_writes_an_object(cluster: Cluster, proxy: Proxy, tmp_path: Path) -> None:
    """Fifty at once: ConfigMap, Job and two statuses each, besides the events."""
    names = [f"burst-{number}" for number in range(50)]
    async with Operator(tmp_path, proxy.url, cluster.namespace) as operator:
        await until(lambda: _ready(operator), 60, "ready")
        for name in names:
            await cluster.create(TRAINING_JOB, training_job(name))
        await until(lambda: _all_running(cluster, names), 90, "all Running")
        await asyncio.sleep(2)

        writes = [w for w in proxy.writes() if "/events" not in w.path]
        assert len(await cluster.jobs()) == 50
        assert len(writes) <= 4 * 50


async def test_a_hand_edited_child_is_put_right(cluster: Cluster, proxy: Proxy, tmp_path: Path) -> None:
    """Somebody edits the ConfigMap with kubectl; it is as wanted again within seconds."""
    async with Operator(tmp_path, proxy.url, cluster.namespace):
        await cluster.create(TRAINING_JOB, training_job("first"))
        await until(lambda: _running(cluster), 60, "Running")
        path = CONFIG_MAP.path(cluster.namespace, "first-params")
        await cluster.ask("PATCH", path, {"data": {"rate": "9"}}, "merge")
        await until(lambda: _rate_is(cluster, "0.1"), 30, "put right")


async def test_a_changed_spec_changes_the_child_and_drops_what_left(
    cluster: Cluster, proxy: Proxy, tmp_path: Path
) -> None:
    """A field that the manifest of a restarted operator no longer has leaves the live object."""
    async with Operator(tmp_path, proxy.url, cluster.namespace) as operator:
        await cluster.create(TRAINING_JOB, training_job("first", params={"rate": 1, "depth": 2}))
        await until(lambda: _running(cluster), 60, "Running")
        await operator.stop()
        # TrainingJobs do not change, so a new one of the same name stands for a new operator
        # version that renders less: the ConfigMap stays, its owner and manifest differ.
        live = await cluster.get(CONFIG_MAP, "first-params")
        assert live["data"] == {"rate": "1", "depth": "2"}
        await cluster.ask(
            "DELETE",
            TRAINING_JOB.path(cluster.namespace, "first"),
            {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Orphan"},
        )
        await until(lambda: _gone(cluster), 10, "deleted")
        await cluster.create(TRAINING_JOB, training_job("first", params={"rate": 1}))
        await operator.start()
        await until(lambda: _data_is(cluster, {"rate": "1"}), 60, "depth gone")


async def test_every_request_is_allowed_by_the_declared_rights(cluster: Cluster, tmp_path: Path) -> None:
    """Under a service account with nothing but the generated rules: a whole life, no 403."""
    kubeconfig = await _account(cluster, tmp_path)
    async with Operator(tmp_path, str(kubeconfig), cluster.namespace) as operator:
        await cluster.create(TRAINING_JOB, training_job("first"))
        await until(lambda: _running(cluster), 60, "Running")
        await cluster.finish("first-a1")
        await until(lambda: _is(cluster, "Succeeded"), 30, "Succeeded")
        assert await operator.stop() == 0

    user = f"system:serviceaccount:{cluster.namespace}:operator"
    lines = [json.loads(line) for line in cluster.plane.audit_log.read_text().splitlines()]
    ours = [line for line in lines if line["user"]["username"] == user]
    refused = [line["requestURI"] for line in ours if line["responseStatus"].get("code") == 403]
    assert len(ours) > 10
    assert refused == []
    assert await cluster.get(LEASE, "gyre-operator") is not None


async def _account(cluster: Cluster, folder: Path) -> Path:
    """A service account with the generated rules, and a kubeconfig with its token."""
    rules = document([OnceController])
    meta = {"name": "operator"}
    group = "rbac.authorization.k8s.io"
    root = f"/apis/{group}/v1/namespaces/{cluster.namespace}"
    await cluster.ask(
        "POST",
        f"/api/v1/namespaces/{cluster.namespace}/serviceaccounts",
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta},
    )
    role = {"metadata": meta, "rules": [*rules["workload"], *rules["system"]]}
    await cluster.ask("POST", f"{root}/roles", role)
    subject = {"kind": "ServiceAccount", "name": "operator", "namespace": cluster.namespace}
    binding = {
        "metadata": meta,
        "roleRef": {"apiGroup": group, "kind": "Role", "name": "operator"},
        "subjects": [subject],
    }
    await cluster.ask("POST", f"{root}/rolebindings", binding)
    answer = await cluster.ask(
        "POST",
        f"/api/v1/namespaces/{cluster.namespace}/serviceaccounts/operator/token",
        {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}},
    )
    config = yaml.safe_load(cluster.plane.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": answer["status"]["token"]}
    path = folder / "account.kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return path


async def _is(cluster: Cluster, reason: str) -> bool:
    return await cluster.reason("first") == reason


async def _all_running(cluster: Cluster, names: list[str]) -> bool:
    found = await cluster.all(TRAINING_JOB)
    reasons = {b["metadata"]["name"]: (b.get("status") or {}).get("reason") for b in found}
    return all(reasons.get(name) == "Running" for name in names)


async def _gone(cluster: Cluster) -> bool:
    return await cluster.get(TRAINING_JOB, "first") is None


async def _rate_is(cluster: Cluster, rate: str) -> bool:
    return await _data_is(cluster, {"rate": rate})


async def _data_is(cluster: Cluster, data: dict[str, str]) -> bool:
    live = await cluster.get(CONFIG_MAP, "first-params")
    return bool(live["data"] == data)


async def _ready(operator: Operator) -> bool:
    return (await operator.health())[0] == 200


async def _at_rest(proxy: Proxy, still: float = 3.0) -> None:
    """Until nothing was written for `still` seconds."""
    count = -1
    while count != len(proxy.writes()):
        count = len(proxy.writes())
        await asyncio.sleep(still)
