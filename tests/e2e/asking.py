"""A client who never stops asking, and what he got."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import aiohttp

from tests.e2e.story.kube import Kube, ready

PAUSE = 0.05
"""Seconds between two requests."""
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
async def requests(here: Kube, name: str) -> AsyncIterator[Tally]:
    """Requests through the service's router until the block ends."""
    service = await here.get("service", name)
    assert service is not None
    tally = Tally()
    task = asyncio.create_task(_ask(f"http://{service['spec']['clusterIP']}/v2/models/{name}/infer", tally))
    try:
        yield tally
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def served(here: Kube, name: str, patience: float) -> None:
    """Wait until the service answers with the model's champion."""

    async def serves() -> bool:
        return ready(await here.get("inferenceservice", name)) and ready(await here.get("model", name))

    await here.wait("a served model", serves, patience)
