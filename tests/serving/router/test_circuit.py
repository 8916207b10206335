"""The circuit of a failing endpoint: open for a while, one probe, closed again; servers that really come and go."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from gyre_serving.router import endpoints, upstream
from gyre_serving.router.endpoints import Backends, Circuit, Endpoint

OPEN = {"closed": 0.0, "half-open": 0.0, "open": 1.0}


async def _circuits(router: Any) -> dict[str, float]:
    """gyre_router_circuits of the only revision by state, and its ejections."""
    async with router.session.get(f"{router.control}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    found = {}
    for line in lines:
        name, _, value = line.rpartition(" ")
        if name.startswith("gyre_router_circuits{"):
            found[name.split('state="')[1].split('"')[0]] = float(value)
        if name.startswith("gyre_router_ejections_total{"):
            found["ejections"] = float(value)
    return found


async def _until(condition: Callable[[], Awaitable[bool]]) -> None:
    for _ in range(1000):
        if await condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came")


async def _all(router: Any, kit: Any, many: int) -> list[int]:
    asked = (router.infer(kit.rows([1, 1, 1])) for _ in range(many))
    return sorted(status for status, _, _ in await asyncio.gather(*asked))


async def test_one_probe_decides(start: Any, models: Any, kit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that hangs gets one request when its time is over; the rest fails at once, until the probe is good."""
    monkeypatch.setattr(endpoints, "FIRST_EJECTION", 0.4)
    model = await models()
    router = await start(kit.table(kit.route(model), limits={"timeoutSeconds": 0.3}))
    model.delay = 5
    assert await _all(router, kit, 3) == [504] * 3
    assert await _circuits(router) == OPEN | {"ejections": 1}
    status, answer, headers = await router.infer(kit.rows([1, 1, 1]))
    assert (status, headers["retry-after"]) == (503, "1")
    assert answer["error"] == "v-r1: its model servers failed and are left alone; come back in 1 s"

    await asyncio.sleep(0.45)
    before = len(model.heads)
    assert await _all(router, kit, 20) == [503] * 19 + [504]
    assert len(model.heads) == before + 1
    assert (await _circuits(router))["ejections"] == 2

    model.delay = 0.1
    await asyncio.sleep(0.45)  # the failed probe doubled the time
    assert await _all(router, kit, 5) == [503] * 5
    await asyncio.sleep(0.45)
    assert await _all(router, kit, 20) == [200] + [503] * 19
    assert await _all(router, kit, 20) == [200] * 20
    assert await _circuits(router) == {"closed": 1, "half-open": 0, "open": 0, "ejections": 2}
    failures = (await router.get_control("/v1/counters"))["services"]["m"]["r1"]
    assert failures["errors"] == 3 + 1 + 20 + 5 + 19


async def test_probe_goes_beside_a_healthy_server(
    start: Any, models: Any, kit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one server hangs and another answers, each end of an ejection costs one request and no other waits."""
    monkeypatch.setattr(endpoints, "FIRST_EJECTION", 0.3)
    good, bad = await models(delay=0.005), await models(delay=5)
    both = {"service": f"{good.address},{bad.address}"}
    # Long beside what the good server takes: on a busy machine it is not to run out too.
    router = await start(kit.table(kit.route(good) | both, limits={"timeoutSeconds": 1}))
    while (await _circuits(router))["open"] == 0:
        await _all(router, kit, 8)
    asked = len(bad.heads)
    assert await _all(router, kit, 20) == [200] * 20
    assert len(bad.heads) == asked
    await asyncio.sleep(0.35)
    assert await _all(router, kit, 40) == [200] * 39 + [504]
    assert len(bad.heads) == asked + 1


async def test_flapping_server(start: Any, models: Any, kit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is killed and comes back again and again, beside one that stays, fails no request.

    It has answered over each of its connections before: one that dies of the first request may have died of it.
    """
    monkeypatch.setattr(endpoints, "FIRST_EJECTION", 0.1)
    steady, flapping = await models(), await models()
    both = {"service": f"{steady.address},{flapping.address}"}
    router = await start(kit.table(kit.route(steady) | both))
    statuses: set[int] = set()
    done = asyncio.Event()

    async def ask() -> None:
        while not done.is_set():
            statuses.add((await router.infer(kit.rows([1, 1, 1])))[0])

    async def opened() -> bool:
        return (await _circuits(router))["closed"] < 2

    async def back() -> bool:
        return len(flapping.requests) > 40

    clients = [asyncio.create_task(ask()) for _ in range(4)]
    for _ in range(4):
        flapping.kill()
        await _until(opened)
        await flapping.start()
        flapping.requests.clear()
        await _until(back)
    done.set()
    await asyncio.gather(*clients)
    assert statuses == {200}
    assert (await _circuits(router))["closed"] == 2


async def test_last_server_that_says_503_is_asked_on(start: Any, models: Any, kit: Any) -> None:
    """Where nobody else is left, a server that is only busy answers for itself, and is back with its first answer."""
    model = await models(status=503)
    router = await start(kit.table(kit.route(model)))
    for _ in range(6):
        assert (await router.infer(kit.rows([1, 1, 1])))[1] == {"error": "asked to fail"}
    assert (await _circuits(router))["open"] == 1
    model.status = 200
    assert await _all(router, kit, 5) == [200] * 5
    assert (await _circuits(router))["closed"] == 1


async def test_probe_whose_client_left_makes_room(
    start: Any, models: Any, kit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that goes away while its request probes blames nobody, and the next request probes."""
    monkeypatch.setattr(endpoints, "FIRST_EJECTION", 0.1)
    model = await models()
    router = await start(kit.table(kit.route(model)))
    model.kill()
    assert (await router.infer(kit.rows([1, 1, 1])))[0] == 502
    model.delay = 30
    await model.start()
    await asyncio.sleep(0.15)
    body = json.dumps(kit.rows([1, 1, 1])).encode()
    head = b"POST /v2/models/m/infer HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    await router.leave(head + body, 0.2)

    async def left() -> bool:
        return not (await router.get_control("/v1/state"))["services"]["m"][0]["inFlight"]

    await _until(left)
    assert len(model.heads) == 1
    model.delay = 0
    assert (await router.infer(kit.rows([1, 1, 1])))[0] == 200


def test_what_fails_together_counts_once() -> None:
    """Requests that were under way when a server died neither open its circuit again nor make it stay longer."""
    endpoint, backends = Endpoint(("127.0.0.1", 1)), Backends()
    backends.endpoints = (endpoint,)
    requests = [object() for _ in range(50)]
    assert all(backends.pick(0.0, request) is endpoint for request in requests)
    opened = [endpoint.failed(0.0, request) for request in requests]
    assert opened.index(True) == endpoints.STRIKES - 1
    assert opened.count(True) == 1
    assert endpoint.circuit(endpoints.FIRST_EJECTION - 0.01) is Circuit.OPEN
    assert endpoint.circuit(endpoints.FIRST_EJECTION) is Circuit.HALF_OPEN


def test_times_double_up_to_a_bound() -> None:
    """Failed probes double the time to 30 s; whoever has nobody else tries again after 4 s at the latest."""
    endpoint, backends, now, times = Endpoint(("127.0.0.1", 1)), Backends(), 0.0, []
    other = Endpoint(("127.0.0.1", 2))
    backends.endpoints = (endpoint, other)
    endpoint.failed(now, "first", refused=True)
    for probe in range(7):
        times.append(endpoint.ejection)
        now = endpoint.ejected_at + endpoint.ejection
        while backends.pick(now, probe) is other:
            pass
        assert endpoint.failed(now, probe)
    assert times == [1, 2, 4, 8, 16, 30, 30]
    backends.endpoints = (endpoint,)
    assert backends.pick(now + endpoints.LAST_RESORT - 0.01, "early") is None
    assert backends.wait(now) == endpoints.LAST_RESORT
    assert backends.pick(now + endpoints.LAST_RESORT, "probe") is endpoint
    assert backends.pick(now + endpoints.LAST_RESORT, "second") is None


async def test_router_that_stood_still_asks_again(
    start: Any, models: Any, kit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Time that the router itself lost is not laid to the only server: its clients got 502 though it was well."""
    model = await models()
    router = await start(kit.table(kit.route(model)))
    stalls = [0.4]

    async def connecting(endpoint: Endpoint) -> upstream.UpstreamConnection:
        if stalls:
            asyncio.get_running_loop().call_soon(time.sleep, stalls.pop())
        return await upstream.connect(endpoint)

    monkeypatch.setattr(upstream, "CONNECT_SECONDS", 0.05)
    monkeypatch.setattr("gyre_serving.router.exchange.connect", connecting)
    assert await _all(router, kit, 5) == [200] * 5
    assert not stalls
    assert (await _circuits(router))["ejections"] == 0
