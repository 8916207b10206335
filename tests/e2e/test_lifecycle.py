"""The installation changes, goes and comes back; what serves goes on."""

import asyncio

import pytest

from tests.e2e.asking import requests, served
from tests.e2e.charts import SYSTEM, fresh, install
from tests.e2e.small import GRAPH, kube, model, template, thing
from tests.e2e.story.kube import Kube, ready

pytestmark = pytest.mark.node

NAME = "life"
PATIENCE = 240.0
ALONE = 10
"""Seconds for which the model serves without an operator."""


async def _uids(here: Kube) -> dict[str, str]:
    """The pods that run: the model's and the router's."""
    pods = await here.list("pod")
    return {pod["metadata"]["uid"]: pod["metadata"]["name"] for pod in pods if pod["status"]["phase"] == "Running"}


async def _settled(here: Kube) -> None:
    """The new operator has read everything: it answers a change of the spec."""
    await here.kubectl("patch", "model", NAME, "--type=merge", "-p", '{"spec": {"retention": {"keep": 9}}}')

    async def seen() -> bool:
        body = await here.get("model", NAME) or {}
        return ready(body) and body["status"]["observedGeneration"] == body["metadata"]["generation"]

    await here.wait("the operator to go on", seen, PATIENCE)
    await served(here, NAME, PATIENCE)


async def test_the_model_outlives_the_installation() -> None:
    """Upgrade, uninstall and re-install lose no request, replace no pod, keep the CRDs and train nothing again."""
    here = kube(NAME)
    await fresh(NAME)
    await install(NAME)
    await here.apply(model(NAME, training={"template": template(GRAPH)}))
    await here.apply(thing("InferenceService", NAME, {"model": {"name": NAME}, "runtime": {"kind": "Python"}}))
    await served(here, NAME, PATIENCE)
    before = await _uids(here)

    async with requests(here, NAME) as tally:
        await install(NAME, "operator.imageGrace=4m")
        await _settled(here)
        await here.run("helm", "uninstall", "gyre", "-n", SYSTEM, "--wait", "--timeout", "3m")
        assert not await kube(SYSTEM).list("deployment")
        without, answered = await _uids(here), tally.answered
        await asyncio.sleep(ALONE)
        assert tally.answered > answered
        await install(NAME)
        await _settled(here)

    assert not tally.failed, tally.failed[:3]
    assert without == before
    assert await _uids(here) == before
    assert len(await here.list("trainingjob")) == 1
    assert len(await here.list("modelversion")) == 1
    await here.run("kubectl", "delete", "namespace", NAME, "--wait=false")
