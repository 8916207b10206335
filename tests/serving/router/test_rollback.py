"""A version that is loaded, gets all traffic, and is taken back, on real servers and under load."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np

from gyre_serving.agent.client import Triton
from gyre_serving.pod.order import Places
from gyre_serving.triton import render
from tests.serving.support import pod, triton
from tests.serving.support.versions import Version, infer_body, publish, signature

ROWS = 20


def _table(old: tuple[str, str], new: tuple[str, str], weight: int) -> str:
    """Two revisions, each an address and a version number upstream; the new one gets the weight."""
    revisions = [
        {
            "revision": name, "version": f"v-{name}", "service": address, "upstreamVersion": number, "model": "census",
            "weight": share, "signature": signature().dump(),
        }
        for name, (address, number), share in (("old", old, 100 - weight), ("new", new, weight))
    ]  # fmt: skip
    return json.dumps({"namespace": "test", "services": [{"name": "census", "revisions": revisions}]})


class Clients:
    """They ask without pause and hold each answer against the model of the version that it names."""

    def __init__(self, router: Any, versions: dict[str, Version]) -> None:
        self.router = router
        self.rows = versions["v-old"].rows[:ROWS]
        self.wanted = {name: one.model.predict_proba(self.rows) for name, one in versions.items()}
        self.answered: Counter[str] = Counter()
        self.wrong: list[Any] = []
        self.done = asyncio.Event()

    async def ask(self) -> None:
        """One client."""
        body = infer_body(self.rows)
        while not self.done.is_set():
            async with self.router.session.post(f"{self.router.url}/v2/models/census/infer", data=body) as answer:
                said, name = await answer.json(), answer.headers.get("x-gyre-version", "")
            self.answered[name] += 1
            if answer.status != 200:
                self.wrong.append((answer.status, said))
                continue
            scores = {one["name"]: one["data"] for one in said["outputs"]}["probabilities"]
            if np.abs(np.array(scores).reshape(-1, 2) - self.wanted[name]).max() > 1e-6:
                self.wrong.append((name, said))

    @asynccontextmanager
    async def at_work(self, many: int = 4) -> AsyncIterator[None]:
        """They ask while the block runs."""
        tasks = [asyncio.create_task(self.ask()) for _ in range(many)]
        try:
            yield
        finally:
            self.done.set()
            await asyncio.gather(*tasks)


async def _forth_and_back(clients: Clients, old: tuple[str, str], new: tuple[str, str]) -> None:
    """All traffic in steps, as a rollout brings it, and back at once."""
    for weight in (5, 25, 50, 100):
        assert clients.router.router.tables.offer(_table(old, new, weight))
        seen = clients.answered["v-new"]
        for _ in range(400):
            if clients.answered["v-new"] > seen + 5:
                break
            await asyncio.sleep(0.02)
        assert clients.answered["v-new"] > seen + 5
    assert clients.router.router.tables.offer(_table(old, new, 0))
    await asyncio.sleep(0.2)
    before = Counter(clients.answered)
    await asyncio.sleep(0.5)
    assert clients.answered["v-new"] == before["v-new"]
    assert clients.answered["v-old"] > before["v-old"]


async def test_rollback_on_one_triton(
    start: Any, version: Version, installation: triton.Installation, tmp_path: Path, root: Path
) -> None:
    """Version 2 is loaded beside 1 into a Triton that answers, takes all traffic and gives it back: no wrong answer."""
    order = version.order()
    assert (await asyncio.to_thread(pod.fetch, order, root)).returncode == 0
    where = Places(root)
    other = await asyncio.to_thread(publish, tmp_path / "other", seed=5)
    with triton.running(installation, root) as server:
        await asyncio.to_thread(server.wait)
        old, new = (server.address, "1"), (server.address, "2")
        async with Triton(server.address, where.key.read_text(), signature()) as client:
            await client.load("census")
            router = await start(_table(old, new, 0))
            clients = Clients(router, {"v-old": version, "v-new": other})
            async with clients.at_work():
                render(order, signature(), tree=other.tree, repository=where.repository, number=2)
                await client.load("census")
                await _forth_and_back(clients, old, new)
    assert clients.wrong == []


async def test_rollback_on_built_in_servers(start: Any, version: Version, tmp_path: Path) -> None:
    """A second pod takes all traffic, gives it back and ends: no wrong answer."""
    other = await asyncio.to_thread(publish, tmp_path / "other", seed=5)
    with ExitStack() as stack:
        servers = []
        for name, one in (("old", version), ("new", other)):
            root = tmp_path / name / "models"
            root.mkdir(parents=True)
            order = one.order(runtime="Python")
            assert (await asyncio.to_thread(pod.fetch, order, root)).returncode == 0
            servers.append(stack.enter_context(pod.container("serve", order, root)))
        for server in servers:
            await asyncio.to_thread(server.until, "Serving")
        old, new = ((f"127.0.0.1:{server.port}", "1") for server in servers)
        router = await start(_table(old, new, 0))
        clients = Clients(router, {"v-old": version, "v-new": other})
        async with clients.at_work():
            await _forth_and_back(clients, old, new)
            assert await asyncio.to_thread(servers[1].stop) == 0
            await asyncio.sleep(0.2)
    assert clients.wrong == []
