"""The gRPC port of a router process: its end under load, and several processes behind one port."""

import asyncio
import json
import signal
from typing import Any

import aiohttp
from grpc import aio  # type: ignore[import-untyped]

from tests.serving.support.grpc import Client, client, labels, raw
from tests.serving.support.triton import free_port


async def test_sigterm_under_load_fails_no_call(launch: Any, models: Any, kit: Any) -> None:
    """One of two routers ends under load: its clients are told, go to the other, and no call fails or is cut."""
    model = await models(delay=0.05)
    ports = free_port(), free_port()
    # Apart, so that the second one's table is not the first one's file while that is read.
    first = await asyncio.to_thread(
        launch, kit.table(kit.route(model)), "--grpc-port", str(ports[0]), "--drain-delay", "0.5"
    )
    second = await asyncio.to_thread(launch, kit.table(kit.route(model)), "--grpc-port", str(ports[1]))
    codes: list[tuple[str, str]] = []
    going = True

    async def ask(stub: Client) -> None:
        while going:
            told = await stub.infer(raw([60, 1, 1]))
            codes.append((told.code, told.sentence))

    options = [
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.enable_retries", 0),
        ("grpc.lb_policy_name", "round_robin"),
    ]
    async with aio.insecure_channel(f"ipv4:127.0.0.1:{ports[0]},127.0.0.1:{ports[1]}", options=options) as channel:
        tasks = [asyncio.create_task(ask(Client(channel))) for _ in range(8)]
        async with aiohttp.ClientSession() as session:
            while min([await _requests(session, one.control) for one in (first, second)]) < 20:  # noqa: ASYNC110  processes
                await asyncio.sleep(0.02)
        first.process.send_signal(signal.SIGTERM)
        code = await asyncio.to_thread(first.process.wait, 60)
        await asyncio.sleep(0.2)
        going = False
        await asyncio.gather(*tasks)
    assert code == 0
    assert set(codes) == {("OK", "")}
    log = await asyncio.to_thread(first.log.read_text)
    assert "drained; 0 connections were cut" in log


async def _requests(session: aiohttp.ClientSession, control: str) -> int:
    async with session.get(f"{control}/v1/counters") as answer:
        found = json.loads(await answer.read())["services"].get("m", {})
    return sum(one["requests"] for one in found.values())


async def test_processes_share_the_port(launch: Any, models: Any, kit: Any) -> None:
    """Two processes take the connections of one gRPC port; the control port has the sum of what both counted."""
    port = free_port()
    arguments = ["--processes", "2", "--grpc-port", str(port), "--drain-delay", "0.1"]
    router = await asyncio.to_thread(launch, kit.table(kit.route(await models())), *arguments)
    async with aiohttp.ClientSession() as session:
        for _ in range(200):
            async with session.get(f"{router.control}/metrics") as answer:
                text = await answer.text()
            if 'process="0"' in text and 'process="1"' in text:
                break
            await asyncio.sleep(0.05)

        async def one() -> None:
            async with client(port) as asked:
                for _ in range(5):
                    assert labels(await asked.infer(raw([60, 1, 1]))) == [1]

        await asyncio.gather(*(one() for _ in range(20)))
        assert await _requests(session, router.control) == 100
        async with session.get(f"{router.control}/metrics") as answer:
            lines = (await answer.text()).splitlines()
        shares = [float(one.rsplit(" ", 1)[1]) for one in lines if one.startswith("gyre_router_requests_total")]
    assert len(shares) == 2
    assert min(shares) > 0
    router.process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(router.process.wait, 60) == 0
