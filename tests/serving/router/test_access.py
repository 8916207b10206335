"""The access log: what it tells, what it never tells, and that it holds nobody up."""

import asyncio
import contextlib
import json
import os
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gyre_serving.router import access
from gyre_serving.router.access import AccessLog, Ending
from gyre_serving.router.message import Request

SECRET = "4711.5"


async def _ask(url: str, body: str, **headers: str) -> int:
    async with aiohttp.ClientSession() as session, session.post(url, data=body, headers=headers) as answer:
        await answer.read()
        return answer.status


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


async def _told(path: Path, count: int) -> list[dict[str, Any]]:
    for _ in range(100):
        if len(_lines(path)) >= count:
            break
        await asyncio.sleep(0.05)
    return _lines(path)


async def test_an_answer_is_one_line_without_what_is_secret(launch: Any, models: Any, kit: Any) -> None:
    """A line names request, trace, decision, status, sizes and time; no value, token or query stands in it."""
    router = launch(kit.table(kit.route(await models()), accessSample=1))
    body = json.dumps(kit.rows([float(SECRET), 1, 2.5]))
    trace = "0af7651916cd43dd8448eb211c80319c"
    path = "/v2/models/m/infer"
    headers = {"x-request-id": "q1", "authorization": "Bearer t0ken", "traceparent": f"00-{trace}-b7ad6b7169203331-01"}
    assert await _ask(f"{router.url}{path}?key=hidden", body, **headers) == 200
    text = "".join(f"{line}" for line in await _told(router.access, 1))
    assert not [word for word in (SECRET, "t0ken", "hidden") if word in text]
    (line,) = _lines(router.access)
    assert line.pop("time").endswith("+00:00")
    assert 0 < line.pop("seconds") < 5
    assert line.pop("sent") > 50
    assert line == {
        "id": "q1", "trace": trace, "client": "127.0.0.1", "method": "POST", "path": path, "service": "m",
        "revision": "r1", "version": "v-r1", "status": 200, "received": len(body),
    }  # fmt: skip


async def test_failures_are_always_told(launch: Any, models: Any, kit: Any) -> None:
    """Without a share: the model's 500, an answer that breaks off, and our 503 are told; good answers are not."""
    model = await models()
    router = launch(kit.table(kit.route(model)))
    body, url = json.dumps(kit.rows([1, 1, 1])), f"{router.url}/v2/models/m/infer"
    assert await _ask(url, body) == 200
    assert await _ask(url, "no json") == 400
    model.status = 500
    assert await _ask(url, body, **{"x-request-id": "failed"}) == 500
    model.raw_answer = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf"
    with pytest.raises(aiohttp.ClientError):
        await _ask(url, body, **{"x-request-id": "broken"})
    model.kill()
    assert await _ask(url, body, **{"x-request-id": "away"}) in {502, 503}
    lines = await _told(router.access, 3)
    assert [(one["id"], one["status"] >= 500, one.get("cut", False)) for one in lines] == [
        ("failed", True, False),
        ("broken", False, True),
        ("away", True, False),
    ]


async def test_share_is_by_request_id(launch: Any, models: Any, kit: Any) -> None:
    """About the share of ids is told, refusals among them, and the same ids again."""
    router = launch(kit.table(kit.route(await models()), accessSample=0.3))
    good, bad = json.dumps(kit.rows([1, 1, 1])), "{}"
    async with aiohttp.ClientSession() as session:
        for body in (good, bad):
            for index in range(200):
                given = {"x-request-id": f"id-{index}"}
                async with session.post(f"{router.url}/v2/models/m/infer", data=body, headers=given) as answer:
                    await answer.read()
        async with session.get(f"{router.control}/metrics") as answer:
            metrics = await answer.text()
    lines = await _told(router.access, 1)
    told = {status: [one["id"] for one in lines if one["status"] == status] for status in (200, 400)}
    assert 35 < len(told[200]) < 85
    assert told[200] == told[400]
    assert 'gyre_router_access_lines_total{fate="dropped"} 0.0' in metrics


def test_a_reader_that_hangs_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """When nobody empties the pipe, lines are dropped and counted, and the end waits a moment only."""
    monkeypatch.setattr(access, "WAITING", 10)
    monkeypatch.setattr(access, "END_SECONDS", 0.1)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while os.write(writing, bytes(4096)):
            pass
    os.set_blocking(writing, True)
    log = AccessLog(writing)
    for _ in range(100):
        log.note(Request(), None, None, Ending(500, 0, 0.0, "127.0.0.1"))
    log.close()
    assert log.counts["written"] == 0
    assert 88 <= log.counts["dropped"] <= 90
    os.set_blocking(reading, False)
    while sum(log.counts.values()) < 100:
        with contextlib.suppress(BlockingIOError):
            os.read(reading, 65536)
    log.close()
    os.close(reading)
    os.close(writing)
