"""A thousand clients of the router that say nothing."""

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from gyre_serving.router import connection
from tests.serving.support import idle


async def test_idle_clients_cost_little_and_delay_nobody(launch: Any, models: Any, kit: Any) -> None:
    """For a thousand clients that asked once and stay, the router holds less than 10 MB, and answers who asks."""
    router = launch(kit.table(kit.route(await models())))
    port = int(router.url.rsplit(":", 1)[1])
    asked = json.dumps(kit.rows([60, 1, 1]))
    async with aiohttp.ClientSession() as session:
        for _ in range(50):  # what the first requests bring is no idle client's
            async with session.post(f"{router.url}/v2/models/m/infer", data=asked) as answer:
                assert answer.status == 200
        before = idle.resident(router.process.pid)
        async with idle.clients(port, "/v2/models/m"):
            held = idle.resident(router.process.pid) - before
            for _ in range(20):
                async with session.post(f"{router.url}/v2/models/m/infer", data=asked) as answer:
                    assert answer.status == 200
    assert held < 10e6


async def test_idle_clients_are_let_go(start: Any, models: Any, kit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the idle limit all thousand connections are closed, and one that goes on asking is not."""
    monkeypatch.setattr(connection, "IDLE_SECONDS", 2.0)
    router = await start(kit.table(kit.route(await models())))
    async with idle.clients(router.port, "/v2/models/m") as opened:
        reader, writer = await asyncio.open_connection("127.0.0.1", router.port)
        gone = asyncio.create_task(idle.ended(opened, 30))
        while not gone.done():
            writer.write(b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\n\r\n")
            assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200")
            await asyncio.sleep(0.1)
        assert await gone == idle.MANY
        assert len(router.router.port.connections) == 1
        writer.close()
