"""Bodies leave memory with their requests, not when the collector of reference cycles comes by."""

import asyncio
import gc
import json
from collections.abc import Iterator
from typing import Any

import pytest

from gyre_serving.router.message import Request

INFER, BATCH = "/v2/models/m/infer", "/v2/models/m/batch"


@pytest.fixture
def uncollected() -> Iterator[None]:
    """No cycle is freed while the test runs."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def _kept() -> int:
    """Requests that are still in memory, once what ended had its turn."""
    await asyncio.sleep(0.05)
    return sum(type(one) is Request for one in gc.get_objects())


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize(
    ("path", "body", "status", "more"),
    [
        pytest.param(INFER, None, 200, {}, id="answered"),
        pytest.param(INFER, "{", 400, {}, id="no JSON"),
        pytest.param(INFER, '{"inputs": []}', 400, {"validation": "Enforce"}, id="not of the signature"),
        pytest.param("/v1/models/m:predict", "{}", 400, {}, id="refused V1"),
        pytest.param(INFER, None, 200, {"fallback": {"revisions": ["r2"]}}, id="answered with a fallback at hand"),
        pytest.param(BATCH, None, 200, {}, id="a batch"),
        pytest.param(BATCH, "{", 400, {}, id="a batch of no JSON"),
        pytest.param(BATCH, None, 400, {"model": 400}, id="a batch that the model refuses"),
        pytest.param(BATCH, None, 502, {"model": 200}, id="a batch that the model answers with nonsense"),
    ],
)
async def test_ended_request_is_freed_at_once(  # noqa: PLR0917  a table's columns
    start: Any, models: Any, kit: Any, path: str, body: str | None, status: int, more: dict[str, Any]
) -> None:
    """Whether it was answered or refused."""
    model, fault = await models(), more.get("model")
    if fault is not None:
        model._answer = lambda _headers, _body: (fault, {"error": "nonsense"})
    service = {name: value for name, value in more.items() if name != "model"}
    router = await start(kit.table(kit.route(model), kit.route(await models(), "r2", 0), **service))
    before = await _kept()
    for _ in range(3):
        data = body or json.dumps(kit.rows([60, 1, 1], [20, 1, 1]))
        async with router.session.post(router.url + path, data=data) as answer:
            assert answer.status == status, await answer.text()
    assert await _kept() == before


@pytest.mark.usefixtures("uncollected")
async def test_batch_of_a_client_that_left_is_freed_at_once(start: Any, models: Any, kit: Any) -> None:
    """With all its rows."""
    router = await start(kit.table(kit.route(await models(delay=0.3)), batch={"rows": 1}))
    before = await _kept()
    body = json.dumps(kit.rows(*[[60, 1, 1]] * 20)).encode()
    await router.leave(
        b"POST %b HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n%b" % (BATCH.encode(), len(body), body), 0.1
    )
    await asyncio.sleep(0.3)
    assert await _kept() == before
