"""The client speaks the API server's protocol: over real HTTP, against a server told what to say."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web

from gyre_operators.engine.client import Client
from gyre_operators.engine.errors import ApiError
from gyre_operators.engine.guard import UnavailableError
from gyre_operators.engine.kinds import CONFIG_MAP, JOB
from gyre_operators.engine.metrics import Metrics
from gyre_operators.engine.plan import Key

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
KEY = Key("ns", "a")


@asynccontextmanager
async def client_of(handler: Handler, **options: float) -> AsyncIterator[Client]:
    """A client of a server that answers everything with `handler`."""
    app = web.Application(client_max_size=2**24)
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    async with aiohttp.ClientSession() as session:
        yield Client(session, url, Metrics(), **options)
    await runner.cleanup()


def answering(status: int, body: Any, **headers: str) -> Handler:
    """A handler that always says the same."""

    async def handle(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, body=orjson.dumps(body), headers=headers)

    return handle


def streaming(*chunks: bytes, silent: float = 0.0) -> Handler:
    """A handler that sends chunks, then says nothing for a while."""

    async def handle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for chunk in chunks:
            await response.write(chunk)
            await asyncio.sleep(0.01)
        await asyncio.sleep(silent)
        return response

    return handle


def line(change: str, name: str, **more: Any) -> bytes:
    """One line of a watch."""
    return orjson.dumps({"type": change, "object": {"metadata": {"name": name}, **more}}) + b"\n"


async def changes(client: Client) -> list[tuple[str, str]]:
    """Type and name of everything a watch brings until it ends."""
    return [
        (change.type, orjson.loads(memoryview(change.object))["metadata"]["name"])
        async for change in client.watch(JOB, "ns", "1")
    ]


async def test_lines_arrive_whole_however_they_are_cut() -> None:
    """A line over many chunks, many lines in a chunk, and one of a megabyte."""
    big = line("MODIFIED", "big", data="x" * 2**20)
    data = line("ADDED", "a") + line("ADDED", "b") + big
    pieces = [data[i : i + 100_000] for i in range(0, len(data), 100_000)]
    async with client_of(streaming(*pieces)) as client:
        found = await changes(client)

    assert found == [("ADDED", "a"), ("ADDED", "b"), ("MODIFIED", "big")]


async def test_a_silent_stream_ends_so_that_the_next_one_can_begin() -> None:
    """A frozen connection costs its time limit, and what came before is kept."""
    async with client_of(streaming(line("ADDED", "a"), silent=5), silence=0.3) as client:
        async with asyncio.timeout(3):
            found = await changes(client)

    assert found == [("ADDED", "a")]


async def test_an_error_line_is_raised_with_its_code() -> None:
    """410 comes in the stream, after HTTP said 200."""
    status = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}
    data = orjson.dumps({"type": "ERROR", "object": status}) + b"\n"
    async with client_of(streaming(data)) as client:
        with pytest.raises(ApiError) as caught:
            await changes(client)

    assert caught.value.gone


async def test_absence_is_an_answer_and_a_refusal_an_error() -> None:
    """404 is None; 403 carries reason and message; 429 says how long to wait."""
    absent = {"kind": "Status", "reason": "NotFound", "message": "no"}
    async with client_of(answering(404, absent)) as client:
        assert await client.get(CONFIG_MAP, KEY) is None
        assert await client.delete(CONFIG_MAP, KEY) is False
        assert await client.served("gyre.dev/v1alpha1") == set()
        assert await client.logs(KEY, "train") is None
    refused = {"kind": "Status", "reason": "Forbidden", "message": "exceeded quota"}
    async with client_of(answering(403, refused)) as client:
        with pytest.raises(ApiError, match="exceeded quota") as caught:
            await client.get(CONFIG_MAP, KEY)
        assert caught.value.refused
    async with client_of(answering(429, {}, **{"Retry-After": "7"})) as client:
        with pytest.raises(ApiError) as caught:
            await client.get(CONFIG_MAP, KEY)
        assert caught.value.retry_after == 7


async def test_no_answer_in_time_and_no_server_are_the_same_absence() -> None:
    """Callers handle one exception."""
    async with client_of(streaming(b"{", silent=5), timeout=0.2) as client:
        with pytest.raises(UnavailableError, match="API server is away: no answer in time"):
            await client.get(CONFIG_MAP, KEY)
    async with aiohttp.ClientSession() as session:
        nobody = Client(session, "http://127.0.0.1:9", Metrics())
        with pytest.raises(UnavailableError, match="API server is away"):
            await nobody.get(CONFIG_MAP, KEY)


async def test_a_list_follows_its_pages() -> None:
    """`continue` leads from page to page; each carries the version of the whole."""

    async def handle(request: web.Request) -> web.StreamResponse:
        second = request.query.get("continue") == "more"
        meta = {"resourceVersion": "9", "continue": "" if second else "more"}
        items = [{"metadata": {"name": "b" if second else "a"}}]
        return web.Response(body=orjson.dumps({"metadata": meta, "items": items}))

    async with client_of(handle) as client:
        pages = [page async for page in client.pages(JOB, "ns", labels="k=v")]
        heads = await client.heads(JOB, "ns")

    names = [orjson.loads(memoryview(i))["metadata"]["name"] for p in pages for i in p.items or ()]
    assert names == ["a", "b"]
    assert {page.metadata.version for page in pages} == {"9"}
    assert [head["metadata"]["name"] for head in heads] == ["a", "b"]


async def test_each_write_says_who_writes_and_how() -> None:
    """Field manager, force and content type are what the API server needs to know."""
    seen: list[tuple[str, str, dict[str, str], str]] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        kind = request.headers["Content-Type"]
        seen.append((request.method, request.path, dict(request.query), kind))
        return web.Response(body=b"{}")

    manifest = {"metadata": {"name": "a", "namespace": "ns"}}
    async with client_of(handle) as client:
        await client.create(JOB, manifest, "gyre-x")
        await client.apply(JOB, manifest, "gyre-x")
        await client.merge(JOB, KEY, {}, "gyre-x", subresource="status")

    root = "/apis/batch/v1/namespaces/ns/jobs"
    by = {"fieldManager": "gyre-x"}
    assert seen == [
        ("POST", root, by, "application/json"),
        ("PATCH", f"{root}/a", {**by, "force": "true"}, "application/apply-patch+yaml"),
        ("PATCH", f"{root}/a/status", by, "application/merge-patch+json"),
    ]
