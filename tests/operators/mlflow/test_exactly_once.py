"""The ModelVersion controller over a real MLflow that loses answers: one entry after convergence."""

import random
import uuid
from datetime import timedelta
from pathlib import Path

import aiohttp
import pytest

from gyre_crds.contracts.task import VerifyReport
from gyre_operators.engine.guard import UnavailableError
from gyre_operators.registry_client.mlflow import Mlflow
from gyre_operators.registry_client.types import OBJECT, Registration
from gyre_operators.version.adoption import Poll, adoptions, poll, retire, retirements
from tests.operators.mlflow.server import Proxy
from tests.operators.version.cluster import KEY, NOW, PASSED, PROFILED, Cluster, model, version


async def _converge(cluster: Cluster) -> None:
    """Reconcile until nothing changes; an effect that fails is planned again, as the engine does."""
    for _ in range(60):
        cluster.now += timedelta(seconds=30)
        try:
            await cluster.world.settle(KEY, cluster.now)
        except UnavailableError:
            continue
        return
    raise AssertionError("no convergence")


@pytest.mark.parametrize("seed", range(3), ids=lambda n: f"with faults of seed {n}")
async def test_one_version_after_convergence(
    seed: int, mlflow: Mlflow, proxy: Proxy, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """Half of all answers are lost after MLflow committed; still one version, with its tags and alias."""
    dice = random.Random(seed)  # noqa: S311  a repeatable fault, not a secret
    name = f"census-{uuid.uuid4().hex[:6]}"
    body, home = version(), model()
    body["spec"]["model"] = home["metadata"]["name"] = name
    cluster = Cluster(tmp_path, http, home, body)
    cluster.controller._desk._mlflow = mlflow
    proxy.verdict = lambda *_request: dice.choice(["lose", "drop", "pass", "pass"])
    await _converge(cluster)
    cluster.answer_all(verify=VerifyReport(verified=True))
    await _converge(cluster)
    cluster.answer_all(gate=PASSED, profile=PROFILED)
    for _ in range(20):
        await _converge(cluster)
        if cluster.ready()[:2] == ("True", "Ready") and cluster.condition("Recorded")["status"] == "True":
            break
    proxy.verdict = lambda *_request: "pass"
    (entry,) = await mlflow.versions(f"team.{name}")
    assert entry.number == cluster.status()["registry"]["version"]
    assert entry.tags[OBJECT] == KEY.name
    assert entry.tags["gyre.dev/gate.golden-rows"] == "Passed: 0.79 is at least 0.75."


async def test_hand_registered_versions_are_found(mlflow: Mlflow, http: aiohttp.ClientSession, proxy: Proxy) -> None:
    """What a person registered becomes one ModelVersion; ours and adopted ones do not; what is gone is tagged."""
    model_name = f"census-{uuid.uuid4().hex[:6]}"
    registered = f"team.{model_name}"
    await mlflow.register(
        Registration(registered, "s3://gyre/x", {"gyre.dev/id": "a", OBJECT: "ours", "gyre.dev/installation": "gyre"})
    )
    url = f"{proxy.url}/api/2.0/mlflow/model-versions/create"
    async with http.post(url, json={"name": registered, "source": "s3://elsewhere/model"}) as answer:
        assert answer.status == 200
    await mlflow.set_alias(registered, "champion", "1")
    found = await poll(mlflow, "team", model_name)
    (made,) = adoptions(found, "team", model_name)
    assert made["metadata"]["name"] == f"{model_name}-mlflow-2"
    assert made["spec"]["source"] == {"mlflow": {"name": registered, "version": "2"}}
    assert "app.kubernetes.io/managed-by" not in made["metadata"]["labels"]
    assert (found.aliases, found.name_of("1"), found.name_of("2")) == ({"champion": "1"}, "ours", None)
    assert retirements(found, "gyre", {"ours"}) == ()
    (gone,) = retirements(found, "gyre", set())
    assert retirements(found, "another installation", set()) == ()
    await retire(mlflow, gone, NOW)
    await mlflow.set_tag(registered, "2", OBJECT, made["metadata"]["name"])
    found = await poll(mlflow, "team", model_name)
    assert adoptions(found, "team", model_name) == ()
    assert retirements(found, "gyre", {made["metadata"]["name"]}) == ()
    assert await poll(mlflow, "team", "never-seen") == Poll((), {})
