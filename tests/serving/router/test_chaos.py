"""Everything goes wrong at once; afterwards nothing is left over."""

import asyncio
import json
import random
from typing import Any

import aiohttp
import pytest

LIMITS = {"timeoutSeconds": 0.3, "concurrency": 6}


class Chaos:
    """Two revisions of two servers each, clients of every kind, and faults."""

    def __init__(self, kit: Any, servers: list[Any], seed: int) -> None:
        self.kit = kit
        self.servers = servers
        self.source = random.Random(seed)  # noqa: S311  the same faults in every run
        self.statuses: list[int] = []
        self.done = asyncio.Event()
        self.router: Any = None
        body = json.dumps(kit.rows([60, 1, 1])).encode()
        self.request = b"POST /v2/models/m/infer HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (
            len(body),
            body,
        )

    def revisions(self, weight: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """The second revision gets the weight."""
        first, second = (",".join(one.address for one in half) for half in (self.servers[:2], self.servers[2:]))
        one = self.kit.route(self.servers[0], "r1", 100 - weight) | {"service": first}
        return one, self.kit.route(self.servers[2], "r2", weight) | {"service": second}

    async def asks(self) -> None:
        """A client that waits for its answers, whole or cut."""
        while not self.done.is_set():
            try:
                self.statuses.append((await self.router.infer(self.kit.rows([60, 1, 1])))[0])
            except (aiohttp.ClientError, ValueError):
                self.statuses.append(0)  # a broken-off answer is cut for the client, as it should be

    async def leaves(self) -> None:
        """A client that goes away, perhaps with pipelined requests."""
        while not self.done.is_set():
            await self.router.leave(self.request * self.source.randint(1, 3), self.source.random() * 0.05)

    async def dribbles(self) -> None:
        """A client that goes away in the middle of its request."""
        while not self.done.is_set():
            await self.router.leave(self.request[: self.source.randrange(len(self.request))], 0.02)

    async def breaks(self) -> None:
        """One fault after the other."""
        faults = (self._kill, self._hang, self._cut, self._swap)
        while not self.done.is_set():
            await self.source.choice(faults)(self.source.choice(self.servers))
            await asyncio.sleep(0.02)

    async def _kill(self, server: Any) -> None:
        server.kill()
        await asyncio.sleep(0.1)
        await server.start()

    async def _hang(self, server: Any) -> None:
        server.delay = 1.0
        await asyncio.sleep(0.1)
        server.delay = 0.002

    async def _cut(self, server: Any) -> None:
        server.raw_answer = b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhalf"
        await asyncio.sleep(0.05)
        server.raw_answer = None

    async def _swap(self, _server: Any) -> None:
        assert self.router.offer(*self.revisions(self.source.randrange(101)), limits=LIMITS)

    async def run(self, seconds: float) -> None:
        """Everything at once, then calm."""
        kinds = [self.asks] * 10 + [self.leaves] * 3 + [self.dribbles] * 2 + [self.breaks]
        tasks = [asyncio.create_task(one()) for one in kinds]
        await asyncio.sleep(seconds)
        self.done.set()
        await asyncio.gather(*tasks)
        await asyncio.sleep(1.5)


@pytest.mark.parametrize("seed", range(3))
async def test_nothing_leaks(start: Any, models: Any, kit: Any, seed: int) -> None:
    """Servers die, hang, break off and come back; clients leave, dribble and pipeline; tables swap.

    At the end no slot, no pending count, no queue entry and no connection is left over.
    """
    chaos = Chaos(kit, [await models(delay=0.002) for _ in range(4)], seed)
    router = chaos.router = await start(kit.table(*chaos.revisions(30), limits=LIMITS))
    await chaos.run(4)
    assert chaos.statuses.count(200) > 100
    assert set(chaos.statuses) <= {0, 200, 502, 503, 504}
    (service,) = router.router.tables.current.services.values()
    assert (service.limiter.active, len(service.limiter.queue)) == (0, 0)
    assert [one.stats.in_flight for one in service.revisions] == [0, 0]
    endpoints = [one for revision in service.revisions for one in revision.backends.endpoints]
    assert [one.pending for one in endpoints] == [0] * 4
    assert all(not connection.closed for one in endpoints for connection in one.idle)
    await router.session.close()
    await asyncio.sleep(0.2)
    assert not router.router.port.connections
