"""Faults around the router: clocks that step, versions that are slow, answers that trickle."""

import asyncio
import time
from typing import Any

import pytest

TRACE = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": "a=1,b=2"}


async def test_trace_context_is_passed_unchanged(start: Any, models: Any, kit: Any) -> None:
    """The model server gets the client's W3C trace context byte for byte."""
    model = await models()
    router = await start(kit.table(kit.route(model)))
    assert (await router.infer(kit.rows([1, 1, 1]), headers=TRACE))[0] == 200
    assert {name: model.heads[0][name] for name in TRACE} == TRACE


async def test_slow_version_does_not_slow_the_other(start: Any, models: Any, kit: Any) -> None:
    """While half of the requests wait a second for one version, the other's stay below a third of that."""
    fast, slow = await models(), await models(delay=1.0)
    router = await start(kit.table(kit.route(fast, "r1", 50), kit.route(slow, "r2", 50)))

    async def one() -> tuple[str, float]:
        began = time.perf_counter()
        status, _, headers = await router.infer(kit.rows([1, 1, 1]))
        assert status == 200
        return headers["x-gyre-revision"], time.perf_counter() - began

    waves = []
    for _ in range(8):
        waves += [asyncio.create_task(one()) for _ in range(8)]
        await asyncio.sleep(0.05)
    ended = await asyncio.gather(*waves)
    of_fast = sorted(seconds for revision, seconds in ended if revision == "r1")
    of_slow = [seconds for revision, seconds in ended if revision == "r2"]
    assert min(of_slow) >= 1.0
    assert len(of_fast) > 10
    assert of_fast[len(of_fast) * 9 // 10] < 1 / 3


@pytest.mark.parametrize("step", [-86400.0, 86400.0])
async def test_step_of_the_clock_fails_nothing(
    start: Any, models: Any, kit: Any, monkeypatch: pytest.MonkeyPatch, step: float
) -> None:
    """A day forth or back in the middle of a request ends no deadline, no connection and no client's bucket."""
    model = await models(delay=0.2)
    limits = {"timeoutSeconds": 2, "clients": {"rate": 0.01, "burst": 4}}
    router = await start(kit.table(kit.route(model), limits=limits))
    running = asyncio.create_task(router.infer(kit.rows([1, 1, 1])))
    await asyncio.sleep(0.1)
    real, real_ns = time.time, time.time_ns
    monkeypatch.setattr(time, "time", lambda: real() + step)
    monkeypatch.setattr(time, "time_ns", lambda: real_ns() + int(step * 1e9))
    assert (await running)[0] == 200
    statuses = [(await router.infer(kit.rows([1, 1, 1])))[0] for _ in range(4)]
    assert statuses == [200, 200, 200, 429]
    counts = (await router.get_control("/v1/counters"))["services"]["m"]["r1"]
    assert 0.7 < counts["latencySeconds"] < 5


async def test_events_that_trickle_are_passed_at_once(start: Any, kit: Any) -> None:
    """Each server-sent event reaches the client before the model sends the next."""
    wanted: asyncio.Queue[None] = asyncio.Queue()

    async def model(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(5):
            text = b"data: %d\n\n" % number
            writer.write(b"%x\r\n%b\r\n" % (len(text), text))
            await wanted.get()  # the next event comes only once the client holds this one
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(model, "127.0.0.1", 0)
    address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    revision = {"revision": "r1", "version": "v-r1", "service": address, "weight": 100}
    router = await start(kit.table(revision))
    url = f"{router.url}/v2/models/m/generate_stream"
    async with server, router.session.post(url, json={"text_input": "x"}) as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        for number in range(5):
            line = await asyncio.wait_for(answer.content.readuntil(b"\n\n"), 2)
            assert line == b"data: %d\n\n" % number
            wanted.put_nowait(None)
        assert await asyncio.wait_for(answer.content.read(), 2) == b""
