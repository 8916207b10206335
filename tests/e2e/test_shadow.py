"""A candidate proves itself on copies of the traffic, on a real Kubernetes; no client hears of it before."""

import pytest

from tests.e2e.asking import requests, served
from tests.e2e.charts import fresh, install
from tests.e2e.small import GRAPH, job, kube, model, template, thing
from tests.e2e.story.kube import Json, Kube

pytestmark = pytest.mark.node

NAME = "shade"
PATIENCE = 240.0
SHADOW = {"strategy": "Shadow", "shadow": {"agreement": 0.9, "minCompared": 50, "then": "Promote"}}
ALIKE = GRAPH.replace("'g'", "'renamed'")
"""Another artifact, the same answers."""
OTHERWISE = GRAPH.replace("Identity", "Neg")


async def _story(here: Kube) -> list[Json]:
    """What happened to the traffic, newest first."""
    service = await here.get("inferenceservice", NAME) or {}
    history: list[Json] = service["status"]["history"]
    return history


async def _happened(here: Kube, what: str, version: str) -> Json:
    """Wait until it is in the service's history."""

    async def seen() -> Json | None:
        return next((one for one in await _story(here) if (one["what"], one["version"]) == (what, version)), None)

    found: Json = await here.wait(f"{what} of {version}", seen, PATIENCE)
    return found


async def _trained(here: Kube, name: str, script: str) -> str:
    """Train by hand; the name of the version it gave."""
    await here.apply(job(name, script, model=NAME))

    async def made() -> str | None:
        return ((await here.get("trainingjob", name) or {}).get("status") or {}).get("version")

    version: str = await here.wait(f"a version of {name}", made, PATIENCE)
    return version


async def test_copies_decide() -> None:
    """Who answers copies alike takes the traffic, who answers otherwise is refused; every request is answered."""
    here = kube(NAME)
    await fresh(NAME)
    await install(NAME)
    await here.apply(model(NAME, training={"template": template(GRAPH)}))
    await here.apply(
        thing("InferenceService", NAME, {"model": {"name": NAME}, "runtime": {"kind": "Python"}, "rollout": SHADOW})
    )
    await served(here, NAME, PATIENCE)

    async with requests(here, NAME) as tally:
        alike = await _trained(here, "alike", ALIKE)
        promoted = await _happened(here, "Promoted", alike)
        proof = next(one for one in await _story(here) if one["version"] == alike and "copies were" in one["message"])
        otherwise = await _trained(here, "otherwise", OTHERWISE)
        refused = await _happened(here, "RolledBack", otherwise)

    assert "0 otherwise, 0 failed: an agreement above 0.9 is proven" in proof["message"], (proof, promoted)
    assert "an agreement below 0.9 is proven" in refused["message"], refused
    service = await here.get("inferenceservice", NAME) or {}
    assert service["status"]["stable"]["version"] == alike
    assert not tally.failed, tally.failed[:3]
    await here.run("kubectl", "delete", "namespace", NAME, "--wait=false")
