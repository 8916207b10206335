"""Several processes on one port: one router to whoever looks at it."""

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any

import aiohttp

from gyre_crds.contracts.routing import BackendState, Counter, RouterCounters, RouterState
from gyre_serving.router.merge import Ended, merged_counters, merged_state


async def _json(session: aiohttp.ClientSession, url: str) -> Any:
    async with session.get(url) as answer:
        return json.loads(await answer.read())


async def _burst(url: str, document: Any, count: int) -> list[int]:
    """Statuses of requests on connections of their own, which the kernel spreads over the processes."""
    connector = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def one() -> int:
            async with session.post(f"{url}/v2/models/m/infer", data=json.dumps(document)) as answer:
                await answer.read()
                return answer.status

        return list(await asyncio.gather(*(one() for _ in range(count))))


async def test_two_processes_are_one_router(launch: Any, models: Any, kit: Any) -> None:
    """Requests are shared; counters are their sum, also after one process was killed; SIGTERM ends all with 0."""
    router = launch(kit.table(kit.route(await models())), "--processes", "2", "--drain-delay", "0.2")
    async with aiohttp.ClientSession() as session:
        await _until_two_answer(session, router)
        assert set(await _burst(router.url, kit.rows([60, 1, 1]), 200)) == {200}
        before = await _json(session, f"{router.control}/v1/counters")
        assert before["services"]["m"]["r1"]["requests"] == 200
        shares = await _shares(session, router)
        assert len(shares) == 2
        assert min(shares) > 20
        async with session.get(f"{router.control}/docs") as answer:
            assert "POST /v2/models/m/infer" in await answer.text()

        workers = await asyncio.to_thread(_workers, router.process.pid)
        os.kill(workers[0], signal.SIGKILL)
        await asyncio.sleep(1)
        await _until_two_answer(session, router)
        assert set(await _burst(router.url, kit.rows([60, 1, 1]), 100)) == {200}
        after = await _json(session, f"{router.control}/v1/counters")
        assert after["epoch"] == before["epoch"]
        assert after["services"]["m"]["r1"]["requests"] == 300
    router.process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(router.process.wait, 60) == 0
    assert not any(_routes(pid) for pid in workers)


async def _shares(session: aiohttp.ClientSession, router: Any) -> list[float]:
    async with session.get(f"{router.control}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    return [float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("gyre_router_requests_total")]


async def _until_two_answer(session: aiohttp.ClientSession, router: Any) -> None:
    for _ in range(200):
        async with session.get(f"{router.control}/metrics") as answer:
            text = await answer.text()
        if 'process="0"' in text and 'process="1"' in text:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the killed process was not started again")


def _workers(pid: int) -> list[int]:
    """The processes that route, without multiprocessing's resource tracker."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [one for one in map(int, children) if _routes(one)]


def _routes(pid: int) -> bool:
    try:
        return "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return False


async def test_workers_end_with_their_parent(launch: Any, models: Any, kit: Any) -> None:
    """When the parent is killed, no process goes on routing by itself."""
    router = launch(kit.table(kit.route(await models())), "--processes", "2", "--drain-delay", "0")
    workers = await asyncio.to_thread(_workers, router.process.pid)
    assert len(workers) == 2
    router.process.kill()
    router.process.wait()
    for _ in range(200):
        await asyncio.sleep(0.05)
        if not any(_routes(pid) for pid in workers):
            return
    raise AssertionError("a worker outlived its parent")


def _state(generation: str, in_flight: int, healthy: int) -> RouterState:
    backend = BackendState(revision="r1", endpoints=2, healthy=healthy, in_flight=in_flight)
    return RouterState(pod="p", epoch="e", generation=generation, services={"m": [backend]})


def test_a_generation_counts_when_all_run_it() -> None:
    """While one process still runs the old table, the router does not say that it runs the new one."""
    mixed = merged_state("pod", "epoch", [_state("old", 1, 2), _state("new", 2, 1)])
    assert mixed.generation == ""
    agreed = merged_state("pod", "epoch", [_state("new", 1, 2), _state("new", 2, 1)])
    assert agreed.generation == "new"
    assert agreed.services["m"] == [BackendState(revision="r1", endpoints=2, healthy=1, in_flight=3)]


def test_counts_of_ended_processes_stay() -> None:
    """The sum never falls within an epoch, and buckets stay cumulative."""
    ended = Ended()
    last = {"m": {"r1": Counter(requests=5, errors=1, keys=3, failed_keys=1, buckets={"1": 3, "+Inf": 5})}}
    ended.add(RouterCounters(pod="p", epoch="e0", generation="g", services=last))
    living = RouterCounters(
        pod="p", epoch="e", generation="g",
        services={"m": {"r1": Counter(requests=2, buckets={"1": 2, "+Inf": 2}), "r2": Counter(requests=1)}},
    )  # fmt: skip
    merged = merged_counters("pod", "epoch", [living], ended)
    counter = merged.services["m"]["r1"]
    assert (counter.requests, counter.errors, counter.buckets) == (7, 1, {"1": 5, "+Inf": 7})
    assert merged.services["m"]["r2"].requests == 1
    assert (counter.keys, counter.failed_keys, merged.processes) == (3, 1, 2)
