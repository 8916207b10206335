"""The real data plane behind a street: a router process, and a built-in model server for each version.

The operator's table is handed to the router as a file, each revision led to its version's server: this tier
has no pod network.
"""

import asyncio
import contextlib
import json
import os
import random
import socket
import sys
from collections import Counter as Tally
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp

from gyre_crds.contracts import artifact
from gyre_crds.contracts.serving import FetchOrder
from tests.integration.engine.harness import Cluster, until
from tests.integration.loop.street import SIGNATURE, Street

_ROOT = Path(__file__).parents[3]
_PYTHON = Path(sys.prefix).parent / "serving" / "bin" / "python"
"""The data plane's own environment, beside the operator's."""
_CLASS = """
import numpy as np

class Model:
    def __init__(self, directory):
        pass

    def predict(self, inputs):
        return (inputs["x"].sum(axis=1) {compare} 0).astype(np.int64)
"""
ALIKE, OTHERWISE = ">", "<="
_ASKED = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [2, 2], "data": [1, 2, -3, 1]}]}


class DataPlane:
    """Servers, router and clients."""

    def __init__(self, street: Street, folder: Path) -> None:
        self.street = street
        self.statuses: Tally[int] = Tally()
        self.versions: Tally[str] = Tally()
        """Answers that clients got, by version."""
        self.port = _free_port()
        self._folder = folder
        self._table = folder / "table.json"
        self._servers: dict[str, str] = {}
        self._running = AsyncExitStack()

    async def serve(self, versions: Mapping[str, str]) -> None:
        """Start a server for each version, given how it compares."""
        for name, compare in versions.items():
            root = self._folder / name / "models"
            root.mkdir(parents=True)
            environment = {"GYRE_FETCH": self._order(name, compare), "GYRE_MODEL_ROOT": str(root)}
            fetching = await self._start("fetch", environment=environment)
            assert await fetching.wait() == 0, self._log().read_text()
            port = str(_free_port())
            await self._start("serve", "--host", "127.0.0.1", "--port", port, environment=environment)
            self._servers[name] = f"127.0.0.1:{port}"
        for address in self._servers.values():
            await _answers(f"http://{address}/readyz", self._log())

    async def route(self) -> None:
        """Start the router, once the operator has written a table."""
        await until(self.hand_over, 60, "a routing table")
        ports = ["--host", self.street.address, "--port", str(self.port), "--table", str(self._table)]
        await self._start("router", *ports, environment={})
        await _answers(f"http://{self.street.address}:8081/readyz", self._log())

    async def hand_over(self) -> bool:
        """Let pods answer, and lead the newest table's revisions to the servers; False while there is none."""
        await self.street.pods_answer()
        table = await self.street.table()
        if table is None or not any(service.revisions for service in table.services):
            return False
        told = table.dump()
        for service in told["services"]:
            for revision in service["revisions"]:
                revision["service"] = self._servers[revision["version"]]
        partial = self._table.with_suffix(".partial")
        await asyncio.to_thread(partial.write_text, json.dumps(told))
        partial.replace(self._table)
        return True

    async def ask(self, session: aiohttp.ClientSession) -> None:
        """One client's question, held against what every version that may be seen answers."""
        url = f"http://{self.street.address}:{self.port}/v2/models/census/infer"
        async with session.post(url, json=_ASKED) as answer:
            said = await answer.json()
        self.statuses[answer.status] += 1
        self.versions[answer.headers.get("x-gyre-version", "")] += 1
        if answer.status == 200:
            assert said["outputs"][0]["data"] == [1, 0]

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """Tables are handed over, pods answer, and clients ask."""

        async def follow() -> None:
            while True:
                await self.hand_over()
                await asyncio.sleep(0.2)

        async def client() -> None:
            async with aiohttp.ClientSession() as session:
                while True:
                    await self.ask(session)
                    await asyncio.sleep(0.02)

        tasks = [asyncio.create_task(one()) for one in (follow, client, client)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            for ended in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(ended, Exception):
                    raise ended

    async def close(self) -> None:
        """End every process."""
        await self._running.aclose()

    def _order(self, name: str, compare: str) -> str:
        staging = self._folder / name / "tree"
        (staging / "gyre").mkdir(parents=True)
        (staging / artifact.PYTHON).write_text(f'"""{name}"""\n{_CLASS.format(compare=compare)}')
        (staging / artifact.SIGNATURE).write_text(json.dumps(SIGNATURE))
        manifest = artifact.scan(staging)
        (staging / artifact.MANIFEST).write_text(manifest.model_dump_json(by_alias=True))
        order = FetchOrder(
            uri=staging.as_uri(), digest=manifest.tree_digest, name="census", version=name, runtime="Python",
            format="Python",
        )  # fmt: skip
        return order.model_dump_json(by_alias=True)

    def _log(self) -> Path:
        return self._folder / "data-plane.log"

    async def _start(self, command: str, *arguments: str, environment: Mapping[str, str]) -> asyncio.subprocess.Process:
        paths = os.pathsep.join(str(_ROOT / plane) for plane in ("crds", "serving"))
        with self._log().open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *(str(_PYTHON), "-m", "gyre_serving", command, *arguments),
                env={"PATH": os.environ["PATH"], "PYTHONPATH": paths, **environment}, stdout=log, stderr=log,
            )  # fmt: skip
        self._running.push_async_callback(_end, process)
        return process


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()


async def _answers(url: str, log: Path) -> None:
    async with aiohttp.ClientSession() as session:
        for _ in range(600):
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(url) as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(0.05)
    raise AssertionError(f"{url} never answered, see {log}")


@asynccontextmanager
async def data_plane(cluster: Cluster, folder: Path) -> AsyncIterator[DataPlane]:
    """A street whose control port is a real router's, on a loopback address of its own."""
    street = Street(cluster)
    street.address = "127." + ".".join(str(random.randint(2, 250)) for _ in range(3))  # noqa: S311  no secret
    made = DataPlane(street, folder)
    try:
        yield made
    finally:
        await made.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
