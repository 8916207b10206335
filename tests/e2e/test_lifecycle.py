"""The installation changes, goes and comes back; what serves goes on."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import aiohttp
import pytest

from tests.e2e.charts import SYSTEM, fresh, install
from tests.e2e.small import GRAPH, kube, model, template, thing
from tests.e2e.story.kube import Kube, ready

pytestmark = pytest.mark.node

NAME = "life"
PATIENCE = 240.0
PAUSE = 0.05
"""Seconds between two requests."""
ALONE = 10
"""Seconds for which the model serves without an operator."""
BODY = {"inputs": [{"name": "input", "datatype": "FP32", "shape": [1, 1], "data": [1.0]}]}


@dataclass
class Tally:
    """What came back."""

    answered: int = 0
    failed: list[str] = field(default_factory=list)


async def _ask(url: str, tally: Tally) -> None:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
        while True:
            try:
                async with session.post(url, json=BODY) as answer:
                    text = await answer.text()
                    tally.answered += answer.ok
                    tally.failed += [] if answer.ok else [f"{answer.status} {text[:200]}"]
            except (aiohttp.ClientError, TimeoutError) as error:
                tally.failed.append(repr(error))
            await asyncio.sleep(PAUSE)


@contextlib.asynccontextmanager
async def requests(here: Kube) -> AsyncIterator[Tally]:
    """Requests through the service's router until the block ends."""
    service = await here.get("service", NAME)
    assert service is not None
    tally = Tally()
    task = asyncio.create_task(_ask(f"http://{service['spec']['clusterIP']}/v2/models/{NAME}/infer", tally))
    try:
        yield tally
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _uids(here: Kube) -> dict[str, str]:
    """The pods that run: the model's and the router's."""
    pods = await here.list("pod")
    return {pod["metadata"]["uid"]: pod["metadata"]["name"] for pod in pods if pod["status"]["phase"] == "Running"}


async def _served(here: Kube) -> None:
    async def serves() -> bool:
        return ready(await here.get("inferenceservice", NAME)) and ready(await here.get("model", NAME))

    await here.wait("a served model", serves, PATIENCE)


async def _settled(here: Kube) -> None:
    """The new operator has read everything: it answers a change of the spec."""
    await here.kubectl("patch", "model", NAME, "--type=merge", "-p", '{"spec": {"retention": {"keep": 9}}}')

    async def seen() -> bool:
        body = await here.get("model", NAME) or {}
        return ready(body) and body["status"]["observedGeneration"] == body["metadata"]["generation"]

    await here.wait("the operator to go on", seen, PATIENCE)
    await _served(here)


async def test_the_model_outlives_the_installation() -> None:
    """Upgrade, uninstall and re-install lose no request, replace no pod, keep the CRDs and train nothing again."""
    here = kube(NAME)
    await fresh(NAME)
    await install(NAME)
    await here.apply(model(NAME, training={"template": template(GRAPH)}))
    await here.apply(thing("InferenceService", NAME, {"model": {"name": NAME}, "runtime": {"kind": "Python"}}))
    await _served(here)
    before = await _uids(here)

    async with requests(here) as tally:
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
