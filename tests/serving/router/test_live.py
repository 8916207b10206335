"""Changes under load: weights, tables, endpoints and the router's own end cost no request."""

import asyncio
import contextlib
import json
from typing import Any

import pytest


class Load:
    """Clients that ask without pause and remember every answer."""

    def __init__(self, router: Any, document: Any, clients: int = 8) -> None:
        self._router = router
        self._document = document
        self.statuses: list[int] = []
        self.revisions: dict[str, int] = {}
        self._stop = False
        self._tasks = [asyncio.create_task(self._ask()) for _ in range(clients)]

    async def _ask(self) -> None:
        while not self._stop:
            try:
                status, _, headers = await self._router.infer(self._document)
            except Exception as error:  # noqa: BLE001  any failure of a request is a finding
                self.statuses.append(0)
                self.failure = error
                continue
            self.statuses.append(status)
            name = headers.get("x-gyre-revision", "")
            self.revisions[name] = self.revisions.get(name, 0) + 1

    async def end(self) -> list[int]:
        """Stop once there are enough answers, and give back every status but 200."""
        async with asyncio.timeout(20):
            while len(self.statuses) <= 50:  # noqa: ASYNC110  on a busy machine they come slowly
                await asyncio.sleep(0.05)
        self._stop = True
        await asyncio.gather(*self._tasks)
        return [status for status in self.statuses if status != 200]


async def test_hundred_weight_changes_fail_nothing(start: Any, models: Any, kit: Any) -> None:
    """While the table changes its weights 100 times under load, every request is answered with 200."""
    stable, candidate = await models(version="s"), await models(version="c")
    router = await start(kit.table(kit.route(stable)))
    load = Load(router, kit.rows([1, 1, 1]))
    for step in range(100):
        weight = step % 101
        assert router.offer(kit.route(stable, "r1", 100 - weight), kit.route(candidate, "r2", weight))
        await asyncio.sleep(0.01)
    assert await load.end() == []
    assert load.revisions["r1"] > 10
    assert load.revisions["r2"] > 10


async def test_upstream_connections_are_kept(start: Any, models: Any, kit: Any) -> None:
    """Requests one after the other share one upstream connection, chunked answers too."""
    for chunked in (False, True):
        model = await models(chunked=chunked)
        router = await start(kit.table(kit.route(model)))
        for _ in range(20):
            await router.infer(kit.rows([1, 1, 1]))
        assert model.connections == 1


async def test_connection_that_the_server_closed_is_no_failure(start: Any, models: Any, kit: Any) -> None:
    """A kept connection that the model server closed meanwhile is replaced; nothing fails, nobody is ejected."""
    model = await models()
    router = await start(kit.table(kit.route(model)))
    for _ in range(5):
        assert (await router.infer(kit.rows([1, 1, 1])))[0] == 200
        for writer in list(model.writers):
            writer.transport.abort()
    state = await router.get_control("/v1/state")
    assert state["services"]["m"][0]["healthy"] == 1


async def test_killed_endpoint_fails_nothing(start: Any, models: Any, kit: Any) -> None:
    """An endpoint that dies mid-load, with requests in it, costs no request: another one answers them."""
    first, second = await models(delay=0.002), await models(delay=0.002)
    both = f"{first.address},{second.address}"
    router = await start(kit.table(kit.route(first) | {"service": both}))
    load = Load(router, kit.rows([1, 1, 1]))
    await asyncio.sleep(0.3)
    assert first.requests
    assert second.requests
    first.kill()
    await asyncio.sleep(0.5)
    assert await load.end() == []
    state = await router.get_control("/v1/state")
    assert state["services"]["m"][0] == {"revision": "r1", "endpoints": 2, "healthy": 1, "inFlight": 0}


async def test_returned_endpoint_is_used_again(start: Any, models: Any, kit: Any) -> None:
    """An ejected endpoint that answers again gets requests after its time."""
    first, second = await models(), await models()
    router = await start(kit.table(kit.route(first) | {"service": f"{first.address},{second.address}"}))
    first.kill()
    for _ in range(10):
        assert (await router.infer(kit.rows([1, 1, 1])))[0] == 200
    await first.start()
    first.requests.clear()
    for _ in range(60):
        await asyncio.sleep(0.05)
        assert (await router.infer(kit.rows([1, 1, 1])))[0] == 200
    assert first.requests


async def test_requests_in_flight_end_on_the_old_table(start: Any, models: Any, kit: Any) -> None:
    """A request that was sent before a swap is answered by its revision, which /v1/state shows until then."""
    old, new = await models(version="old", delay=0.4), await models(version="new")
    router = await start(kit.table(kit.route(old, "old")))
    running = asyncio.create_task(router.infer(kit.rows([1, 1, 1])))
    await asyncio.sleep(0.1)
    assert router.offer(kit.route(new, "new"))
    state = await router.get_control("/v1/state")
    past = [one for one in state["services"]["m"] if one["revision"] == "old"]
    assert past == [{"revision": "old", "endpoints": 0, "healthy": 0, "inFlight": 1}]
    assert (await router.infer(kit.rows([1, 1, 1])))[1]["model_version"] == "new"
    assert (await running)[1]["model_version"] == "old"
    state = await router.get_control("/v1/state")
    assert [one["revision"] for one in state["services"]["m"]] == ["new"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("{", "no JSON", id="truncated"),
        pytest.param("", "no JSON", id="empty"),
        pytest.param('{"namespace": "x", "servces": []}', "servces", id="unknown-field"),
        pytest.param('{"schema": "gyre.routing.v9", "namespace": "x"}', "schema", id="other-schema"),
        pytest.param(
            '{"namespace": "x", "services": [{"name": "m", "revisions": [{"revision": "a", "version": "v", '
            '"service": "s", "model": "m", "weight": 60}]}]}',
            "sum to 60",
            id="weights",
        ),
        pytest.param(
            '{"namespace": "x", "services": [{"name": "m", "revisions": [{"revision": "a", "version": "v", '
            '"service": "host:port", "model": "m", "weight": 100}]}]}',
            "no host:port",
            id="address",
        ),
        pytest.param('{"namespace": "x", "services": [{"name": "m"}, {"name": "m"}]}', "twice", id="twice"),
    ],
)
async def test_broken_table_is_refused(start: Any, models: Any, kit: Any, text: str, reason: str) -> None:
    """A broken table is refused with its reason, the old one goes on, and a good one heals."""
    router = await start(kit.table(kit.route(await models())))
    before = await router.get_control("/v1/state")
    router.table_file.write_text(text)
    for _ in range(40):
        await asyncio.sleep(0.05)
        state = await router.get_control("/v1/state")
        if state["refused"]:
            break
    assert reason in state["refused"]
    assert state["generation"] == before["generation"]
    assert (await router.infer(kit.rows([1, 1, 1])))[0] == 200
    assert router.offer()
    assert (await router.get_control("/v1/state"))["refused"] is None


async def test_deleted_table_file_changes_nothing(start: Any, models: Any, kit: Any) -> None:
    """When the file goes away the last table stays, and the state says so."""
    router = await start(kit.table(kit.route(await models())))
    router.table_file.unlink()
    await asyncio.sleep(0.6)
    assert "No such file" in (await router.get_control("/v1/state"))["refused"]
    assert (await router.infer(kit.rows([1, 1, 1])))[0] == 200


async def test_no_revision_is_503_with_retry_after(start: Any, kit: Any) -> None:
    """A service without revisions answers 503 and says when to come back."""
    router = await start(kit.table())
    status, answer, headers = await router.infer(kit.rows([1, 1, 1]))
    assert (status, headers["retry-after"]) == (503, "5")
    assert "no version" in answer["error"]


async def test_candidate_without_pods_costs_no_request(start: Any, models: Any, kit: Any) -> None:
    """A revision that has no endpoint yet is passed over, so that a table may come before its Pods."""
    stable = await models()
    router = await start(kit.table(kit.route(stable)))
    assert router.offer(kit.route(stable, "r1", 50), {**kit.route(stable, "r2", 50), "service": "not-there-yet"})
    answers = [await router.infer(kit.rows([1, 1, 1])) for _ in range(40)]
    assert {(status, headers["x-gyre-revision"]) for status, _, headers in answers} == {(200, "r1")}


async def test_drain_fails_nothing(start: Any, models: Any, kit: Any) -> None:
    """After SIGTERM's event, requests that run or still come are answered, and then the process ends by itself."""
    router = await start(kit.table(kit.route(await models(delay=0.05))), drain_delay=0.4)
    body = json.dumps(kit.rows([1, 1, 1])).encode()
    request = b"POST /v2/models/m/infer HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    failures, answered, unready = [], 0, asyncio.Event()

    async def client() -> None:
        """Keeps its connection, and takes a new one only when the router said that it would close it."""
        nonlocal answered
        while not unready.is_set():
            reader, writer = await asyncio.open_connection("127.0.0.1", router.port)
            with contextlib.closing(writer):
                while True:
                    writer.write(request)
                    head = await reader.readuntil(b"\r\n\r\n")
                    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                    await reader.readexactly(length)
                    answered += 1
                    if not head.startswith(b"HTTP/1.1 200"):
                        failures.append(head)
                    if b"connection: close" in head.lower():
                        break

    clients = [asyncio.create_task(client()) for _ in range(10)]
    await asyncio.sleep(0.3)
    router.router.stop.set()
    await asyncio.sleep(0.05)
    async with router.session.get(f"{router.control}/readyz") as answer:
        assert answer.status == 503
    before = answered
    await asyncio.sleep(0.2)
    assert answered > before
    unready.set()  # as a Service stops sending to a Pod that is not ready
    await asyncio.gather(*clients)
    assert failures == []
    assert answered > 50
    await asyncio.wait_for(router.task, 3)


async def test_counters_tell_restarts(start: Any, models: Any, kit: Any) -> None:
    """Counts are of one epoch: a restarted router says a new epoch and begins at zero."""
    model = await models()
    first = await start(kit.table(kit.route(model)))
    for _ in range(5):
        await first.infer(kit.rows([60, 1, 1]))
    model.status = 500
    await first.infer(kit.rows([60, 1, 1]))
    await first.infer({"inputs": []})
    before = await first.get_control("/v1/counters")
    counted = before["services"]["m"]["r1"]
    assert (counted["requests"], counted["errors"], counted["rejected"]) == (6, 1, 1)
    assert counted["buckets"]["+Inf"] == 6
    assert list(counted["buckets"].values()) == sorted(counted["buckets"].values())
    await first.stop()
    second = await start(kit.table(kit.route(model)))
    after = await second.get_control("/v1/counters")
    assert after["pod"] == before["pod"]
    assert after["epoch"] != before["epoch"]
    assert after["services"]["m"]["r1"]["requests"] == 0


async def test_counts_outlive_table_swaps(start: Any, models: Any, kit: Any) -> None:
    """A revision that left the table keeps its counts for an operator that reads late."""
    model = await models()
    router = await start(kit.table(kit.route(model, "old")))
    await router.infer(kit.rows([60, 1, 1]))
    router.offer(kit.route(model, "new"))
    counters = await router.get_control("/v1/counters")
    assert counters["services"]["m"]["old"]["requests"] == 1


async def test_metrics_are_prometheus_text(start: Any, models: Any, kit: Any) -> None:
    """/metrics shows requests and latency by service, revision and version."""
    router = await start(kit.table(kit.route(await models())))
    await router.infer(kit.rows([60, 1, 1]))
    async with router.session.get(f"{router.control}/metrics") as answer:
        text = await answer.text()
    assert 'gyre_router_requests_total{revision="r1",service="m",version="v-r1"} 1.0' in text
    assert 'gyre_router_latency_seconds_bucket{le="+Inf",revision="r1",service="m",version="v-r1"} 1.0' in text
    assert "process_cpu_seconds_total" in text
