"""A thousand clients of the built-in server that say nothing."""

import asyncio

import pytest

from gyre_serving.pod import connection
from gyre_serving.pod.http import Answer, Request, Server
from tests.serving.support import idle
from tests.serving.support.pod import Container
from tests.serving.support.versions import Version, infer_body


async def test_idle_clients_cost_little_and_delay_nobody(server: Container, version: Version) -> None:
    """For a thousand clients that asked once and stay, the server holds less than 15 MB, and answers who asks."""
    asked = infer_body(version.rows[:1])
    for _ in range(50):  # what the first requests bring is no idle client's
        assert (await asyncio.to_thread(server.post, "/v2/models/census/infer", asked))[0] == 200
    before = idle.resident(server.process.pid)
    async with idle.clients(server.port, "/v2/models/census"):
        held = idle.resident(server.process.pid) - before
        for _ in range(20):
            assert (await asyncio.to_thread(server.post, "/v2/models/census/infer", asked))[0] == 200
    assert held < 15e6


async def _live(_request: Request) -> Answer:
    return Answer(200, b"{}")


async def test_idle_clients_are_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the idle limit all thousand connections are closed, and one that goes on asking is not."""
    monkeypatch.setattr(connection, "_IDLE_SECONDS", 2.0)
    server = Server(_live)
    port = await server.listen("127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with idle.clients(port, "/") as opened:
        gone = asyncio.create_task(idle.ended(opened, 30))
        while not gone.done():
            writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            assert (await reader.readuntil(b"{}")).startswith(b"HTTP/1.1 200")
            await asyncio.sleep(0.1)
        assert await gone == idle.MANY
        assert len(server.connections) == 1
    writer.close()
    await server.close(0.1, linger=0)
