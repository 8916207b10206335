"""A request that kills the model server which reads it: how many it takes along."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

SERVER = """
import os, socket
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
while True:
    client, _ = listener.accept()
    if os.fork():
        client.close()
        continue
    text = b""
    while True:
        while b"\\r\\n\\r\\n" not in text:
            piece = client.recv(65536)
            if not piece:
                os._exit(0)
            text += piece
        head, _, text = text.partition(b"\\r\\n\\r\\n")
        length = next(int(line[15:]) for line in head.lower().split(b"\\r\\n") if line.startswith(b"content-length:"))
        while len(text) < length:
            text += client.recv(65536)
        if b"666" in text[:length]:
            os.killpg(0, 9)
        text = text[length:]
        client.sendall(b'HTTP/1.1 200 OK\\r\\ncontent-length: 24\\r\\n\\r\\n{"outputs":[],"id":"ok"}')
"""
POISON = [666, 1, 1]


class Herd:
    """Model servers, each a process group of its own that dies whole of one input."""

    def __init__(self, size: int) -> None:
        command = [sys.executable, "-S", "-c", SERVER]
        self.servers = [
            subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True, text=True) for _ in range(size)
        ]
        self.addresses = [f"127.0.0.1:{self._port(one)}" for one in self.servers]

    @staticmethod
    def _port(server: "subprocess.Popen[str]") -> int:
        assert server.stdout is not None
        return int(server.stdout.readline())

    async def dead(self) -> int:
        """How many are gone, a moment after they may have died."""
        await asyncio.sleep(0.1)
        return sum(one.poll() is not None for one in self.servers)

    def close(self) -> None:
        """End the rest."""
        for one in self.servers:
            one.kill()
            one.wait()
            assert one.stdout is not None
            one.stdout.close()


@pytest.fixture
def herd() -> Iterator[Herd]:
    """Five servers."""
    made = Herd(5)
    yield made
    made.close()


def _route(kit: Any, addresses: list[str], name: str, weight: int) -> dict[str, Any]:
    return {**kit.route(kit.model(), name, weight), "service": ",".join(addresses)}


@pytest.mark.parametrize(
    ("asked", "most"),
    [
        pytest.param(0, 1, id="over a new connection it takes one server along"),
        pytest.param(40, 2, id="over a kept one, which may have been closed before it was read, two"),
    ],
)
async def test_poison_stops_soon(start: Any, kit: Any, herd: Herd, asked: int, most: int) -> None:
    """A request that kills who reads it is a 502 that says so, and most servers go on (it took 3 and 4 along)."""
    router = await start(kit.table(_route(kit, herd.addresses, "r1", 100)))
    if asked:
        answers = await asyncio.gather(*(router.infer(kit.rows([1, 1, 1])) for _ in range(asked)))
        assert {status for status, _, _ in answers} == {200}
    status, answer, _ = await router.infer(kit.rows(POISON))
    assert status == 502
    assert "ended the connection before it answered" in answer["error"]
    assert await herd.dead() == most
    statuses = [(await router.infer(kit.rows([1, 1, 1])))[0] for _ in range(10)]
    assert statuses == [200] * 10


async def test_poison_is_kept_from_other_revisions(start: Any, kit: Any, herd: Herd) -> None:
    """What killed the chosen revision's server is not shown to the fallback's; numbers answer, which cannot die."""
    revisions = _route(kit, herd.addresses[:2], "r1", 0), _route(kit, herd.addresses[2:], "r2", 100)
    fallback = {"revisions": ["r1"], "static": {"label": 1.0}}
    router = await start(kit.table(*revisions, fallback=fallback))
    status, answer, headers = await router.infer(kit.rows(POISON))
    assert (status, answer["outputs"][0]["data"], headers["x-gyre-fallback"]) == (200, [1], "static")
    assert await herd.dead() == 1
    counts = (await router.get_control("/v1/counters"))["services"]["m"]
    assert [counts[name]["requests"] for name in ("r1", "r2")] == [0, 1]
