"""How often one client may ask."""

import asyncio
from typing import Any

import pytest

from gyre_crds.contracts.routing import ClientRule
from gyre_serving.router.clients import Clients
from gyre_serving.router.message import Request

SLOW = {"clients": {"rate": 0.5, "burst": 3, "header": "X-Client"}}


async def _statuses(router: Any, kit: Any, count: int, **headers: str) -> list[int]:
    return [(await router.infer(kit.rows([1, 1, 1]), headers=headers))[0] for _ in range(count)]


async def test_client_beyond_its_bucket_gets_429_and_others_do_not_notice(start: Any, models: Any, kit: Any) -> None:
    """Three at once pass, the fourth is told when to come back, and another client is served."""
    router = await start(kit.table(kit.route(await models()), limits=SLOW))
    assert await _statuses(router, kit, 3, **{"x-client": "a"}) == [200] * 3
    status, answer, headers = await router.infer(kit.rows([1, 1, 1]), headers={"x-client": "a"})
    assert (status, headers["retry-after"]) == (429, "2")
    assert "0.5 requests a second of one client, 3 at once" in answer["error"]
    assert await _statuses(router, kit, 3, **{"x-client": "b"}) == [200] * 3
    # Without the header the address is the client, and it is not the client of that name.
    assert await _statuses(router, kit, 4) == [200, 200, 200, 429]
    assert await _statuses(router, kit, 1, **{"x-client": "127.0.0.1"}) == [200]
    async with router.session.get(f"{router.control}/metrics") as metrics:
        assert 'gyre_router_refused_total{code="429",service="m"} 2.0' in await metrics.text()


async def test_refused_client_is_served_after_the_time_it_was_told(start: Any, models: Any, kit: Any) -> None:
    """The connection stays open over a 429, and the bucket fills at its rate."""
    model = await models()
    router = await start(kit.table(kit.route(model), limits={"clients": {"rate": 5, "burst": 1}}))
    assert await _statuses(router, kit, 3) == [200, 429, 429]
    connections = set(router.router.port.connections)
    await asyncio.sleep(0.25)
    assert await _statuses(router, kit, 2) == [200, 429]
    assert router.router.port.connections == connections


async def test_new_table_fills_no_bucket(start: Any, models: Any, kit: Any) -> None:
    """A rollout's table swaps give nobody new tokens; a table without the rule lifts it."""
    model = await models()
    router = await start(kit.table(kit.route(model), limits=SLOW))
    assert await _statuses(router, kit, 4) == [200, 200, 200, 429]
    assert router.offer(kit.route(model, "r2"), limits=SLOW)
    assert await _statuses(router, kit, 1) == [429]
    assert router.offer(kit.route(model, "r2"))
    assert await _statuses(router, kit, 5) == [200] * 5


@pytest.mark.parametrize("rate", [0, -1, "NaN"])
async def test_rule_that_lets_nobody_in_is_refused(start: Any, models: Any, kit: Any, rate: Any) -> None:
    """A table whose rate is not positive is refused and names the field."""
    model = await models()
    router = await start(kit.table(kit.route(model)))
    text = kit.table(kit.route(model), limits=SLOW).replace('"rate": 0.5', f'"rate": {rate}')
    assert not router.router.tables.offer(text)
    assert router.router.tables.refused.startswith("services.0.limits.clients.rate")


def test_rate_holds_over_time() -> None:
    """Asked a hundred times a second for a minute, ten a second and the burst pass; every wait told is exact."""
    clients = Clients(ClientRule(rate=10, burst=5))
    waits = [(tick / 100, clients.wait(b"a", tick / 100)) for tick in range(6000)]
    assert 600 + 4 <= sum(wait == 0 for _, wait in waits) <= 600 + 5
    now, wait = next((now, wait) for now, wait in reversed(waits) if wait)
    assert clients.wait(b"a", now + wait + 1e-9) == 0


def test_memory_does_not_grow_with_clients() -> None:
    """Of a hundred thousand clients with long names the last thousand are remembered, by short names."""
    clients = Clients(ClientRule(rate=1, burst=1, header="x", most=1000))
    request = Request()
    names = []
    for number in range(100_000):
        request.headers = {b"x": b"%d" % number + b"x" * 1000}
        names.append(clients.name(request, "10.0.0.1"))
        assert clients.wait(names[-1], number / 1e6) == 0
    assert len(clients) == 1000
    assert len(set(names)) == 100_000
    assert max(map(len, names)) <= 64
    assert clients.wait(names[-1], 0.1) > 0
    assert clients.wait(names[0], 0.1) == 0
