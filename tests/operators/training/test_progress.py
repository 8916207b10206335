"""Progress of a running attempt: polled from the wrapper over real HTTP, told seldom."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from gyre_operators.training.progress import Progress
from gyre_operators.workload.views import Pod, to_view

START = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)


class Wrapper:
    """What the wrapper in a pod answers."""

    def __init__(self) -> None:
        self.now = START
        self.asked = 0
        self.answer: dict[str, Any] = {}
        self.status = 200
        self.wait = 0.0

    async def handle(self, _request: web.Request) -> web.Response:
        """GET /progress."""
        self.asked += 1
        await asyncio.sleep(self.wait)
        return web.json_response(self.answer, status=self.status)


@pytest.fixture
async def wrapper() -> AsyncIterator[tuple[Wrapper, Progress, Pod]]:
    """A wrapper that listens, the adapter, and the pod between them."""
    made = Wrapper()
    application = web.Application()
    application.router.add_get("/progress", made.handle)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    pod: Pod = to_view(Pod, {"metadata": {"name": "p", "uid": "u"}, "status": {"podIP": "127.0.0.1"}})
    async with aiohttp.ClientSession() as http:
        yield made, Progress(http, lambda: made.now, port=port), pod
    await runner.cleanup()


Given = tuple[Wrapper, Progress, Pod]


async def test_progress_is_told(wrapper: Given) -> None:
    """Percentage, step, metrics and the moment it will be done."""
    made, progress, pod = wrapper
    made.answer = {"percent": 12.7, "etaSeconds": 90, "step": 3, "metrics": {"loss": 0.5}, "state": "Running"}
    told = await progress.of(pod)
    assert told is not None
    assert (told.percent, told.eta, told.step, told.metrics) == (12, "2026-11-20T10:01:30Z", 3, {"loss": 0.5})


async def test_small_steps_are_not_told_at_once(wrapper: Given) -> None:
    """Less than five points are told after 30 s, five or more with the next poll, and polls are 4 s apart."""
    made, progress, pod = wrapper
    made.answer = {"percent": 10, "state": "Running"}
    told = []
    for seconds, percent in ((0, 10), (2, 30), (5, 14), (10, 15), (15, 16), (46, 17)):
        made.now = START + timedelta(seconds=seconds)
        made.answer["percent"] = percent
        status = await progress.of(pod)
        assert status is not None
        told.append(status.percent)
    assert told == [10, 10, 10, 15, 15, 17]
    assert made.asked == 5


@pytest.mark.parametrize(
    ("status", "answer"),
    [(500, {}), (200, {"percent": 1000}), (200, {"nonsense": 1})],
    ids=["an error", "more than all", "something else"],
)
async def test_nonsense_is_no_progress(wrapper: Given, status: int, answer: dict[str, Any]) -> None:
    """What does not parse is left out and never fails the reconcile."""
    made, progress, pod = wrapper
    made.status, made.answer = status, answer
    assert await progress.of(pod) is None


async def test_silence_keeps_what_was_told(wrapper: Given) -> None:
    """A wrapper that does not answer in time leaves the last progress standing."""
    made, progress, pod = wrapper
    made.answer = {"percent": 40, "state": "Running"}
    await progress.of(pod)
    made.now += timedelta(seconds=40)
    made.wait = 3.0
    told = await progress.of(pod)
    assert told is not None
    assert told.percent == 40
