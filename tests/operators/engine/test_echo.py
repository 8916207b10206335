"""kopf hears nothing twice: over real HTTP, what a store knows already is left out of a watch, and nothing else."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson
from aiohttp import web

from gyre_crds.v1alpha1 import TrainingJob
from gyre_operators.engine.echo import without_echo
from gyre_operators.engine.kinds import gyre
from gyre_operators.engine.project import entry_of
from gyre_operators.engine.store import Store
from gyre_operators.engine.watch import Source
from tests.operators.engine.example import training_job

KIND = gyre(TrainingJob)


def line(change: str, name: str, version: int) -> bytes:
    """One line of a watch."""
    body = training_job(name)
    body = {**body, "metadata": {**body["metadata"], "uid": name, "resourceVersion": str(version)}}
    return orjson.dumps({"type": change, "object": body}) + b"\n"


@asynccontextmanager
async def heard(chunks: list[bytes], *known: bytes) -> AsyncIterator[Any]:
    """Asks a server that streams these chunks, through a session whose store knows those objects."""
    store: Store[Any] = Store(Source(KIND, TrainingJob, "", ""))
    for each in known:
        store.upsert(entry_of(store.source, orjson.loads(each)["object"]))

    async def stream(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        for chunk in chunks:
            await answer.write(chunk)
            await asyncio.sleep(0.01)
        return answer

    app = web.Application()
    app.router.add_get("/{path:.*}", stream)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    async with aiohttp.ClientSession(url, middlewares=(without_echo([store]),)) as session:

        async def ask(path: str) -> list[bytes]:
            async with session.get(path) as answer:
                whole = b"".join([chunk async for chunk in answer.content.iter_chunked(2**20)])
                return whole.splitlines(keepends=True)

        yield ask
    await runner.cleanup()


async def test_our_own_writes_are_left_out_and_everything_else_comes_through() -> None:
    """Known versions go; newer ones, other objects, deletions, bookmarks, errors and broken lines stay, in order."""
    kept = [
        line("MODIFIED", "known", 6),
        line("ADDED", "other", 2),
        line("DELETED", "known", 5),
        b'{"type":"BOOKMARK","object":{"kind":"TrainingJob","metadata":{"resourceVersion":"9"}}}\n',
        b'{"type":"ERROR","object":{"kind":"Status","metadata":{},"code":410}}\n',
        b'{"type":"MODIFIED"\n',
    ]
    sent = [line("ADDED", "known", 4), *kept[:2], line("MODIFIED", "known", 5), *kept[2:]]
    async with heard(sent, line("ADDED", "known", 5)) as ask:
        assert await ask(f"{KIND.path('default')}?watch=true") == kept


async def test_lines_come_whole_however_the_network_cuts_them() -> None:
    """A line in three pieces, two lines in one piece, and a last one without an end."""
    first, second, echo = line("ADDED", "a", 7), line("ADDED", "b", 8), line("MODIFIED", "known", 5)
    cut = [first[:10], first[10:50], first[50:] + second + echo[:20], echo[20:] + second[:-1]]
    async with heard(cut, line("ADDED", "known", 5)) as ask:
        assert await ask(f"{KIND.path()}?watch=true") == [first, second, second[:-1]]


async def test_lists_and_other_kinds_are_not_touched() -> None:
    """Only watches of the kinds that stores are kept of are looked into."""
    sent = [line("ADDED", "known", 4)]
    async with heard(sent, line("ADDED", "known", 5)) as ask:
        assert await ask(KIND.path("default")) == sent
        assert await ask("/api/v1/pods?watch=true") == sent
