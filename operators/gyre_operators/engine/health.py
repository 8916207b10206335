"""One port that tells the truth: /livez, /readyz and /metrics."""

import asyncio
import socket
from collections.abc import Callable, Iterable
from typing import NoReturn, Protocol

import orjson
from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from gyre_operators.engine.metrics import Metrics

Check = Callable[[], str]
"""The trouble as one sentence, or "" when all is well. Must not wait."""


class Contact(Protocol):
    """Somebody who hears from the API server."""

    contact: float
    trouble: str

    @property
    def name(self) -> str:
        """What is watched."""


class Health:
    """The checks and the server that answers them.

    Live means: restarting would not help. A server that is away is no reason to restart; a stream
    that is silent although nobody reports trouble is, and so is a task that ended. Ready means:
    this replica sees the cluster as it is, whether it leads or stands by.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.live: dict[str, Check] = {}
        self.ready: dict[str, Check] = {}
        self._registry = registry
        self._runner: web.AppRunner | None = None

    async def serve(self, port: int) -> int:
        """Begin to answer on all addresses; the port, which matters when 0 was asked for."""
        app = web.Application()
        app.router.add_get("/livez", self._livez)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.SockSite(self._runner, _listener(port)).start()
        bound: int = self._runner.addresses[0][1]
        return bound

    async def close(self) -> None:
        """Answer no more."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _livez(self, _request: web.Request) -> web.Response:
        return _answer(self.live)

    async def _readyz(self, _request: web.Request) -> web.Response:
        return _answer(self.live | self.ready)

    async def _metrics(self, _request: web.Request) -> web.Response:
        body = generate_latest(self._registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})


def _listener(port: int) -> socket.socket:
    """One socket for both address families; two would get two ports when any will do."""
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))


def _answer(checks: dict[str, Check]) -> web.Response:
    found = {name: check() for name, check in checks.items()}
    ill = {name: said for name, said in found.items() if said}
    body = {"ok": not ill, "checks": {name: said or "ok" for name, said in found.items()}}
    return web.Response(
        status=503 if ill else 200,
        body=orjson.dumps(body, option=orjson.OPT_INDENT_2),
        content_type="application/json",
    )


def frozen(contacts: Iterable[Contact], longest: float) -> Check:
    """Whether a stream is silent for longer than `longest` seconds without saying why."""
    watched = tuple(contacts)

    def check() -> str:
        now = asyncio.get_running_loop().time()
        silent = [c.name for c in watched if not c.trouble and now - c.contact > longest]
        return f"silent for over {longest:g} s: {', '.join(silent)}" if silent else ""

    return check


def blind(contacts: Iterable[Contact], longest: float) -> Check:
    """Whether the last word of any stream is older than `longest` seconds, whatever the reason."""
    watched = tuple(contacts)

    def check() -> str:
        now = asyncio.get_running_loop().time()
        old = [c for c in watched if now - c.contact > longest]
        if not old:
            return ""
        return f"nothing heard for over {longest:g} s of {old[0].name}: {old[0].trouble}"

    return check


def ended(tasks: Iterable[asyncio.Task[None]]) -> Check:
    """Whether a task that should run for ever has ended."""
    watched = tuple(tasks)

    def check() -> str:
        over = [task.get_name() for task in watched if task.done()]
        return f"ended: {', '.join(over)}" if over else ""

    return check


async def measure_lag(metrics: Metrics, every: float = 1.0) -> NoReturn:
    """Keep the loop-lag metric: how late a sleep of `every` seconds wakes."""
    loop = asyncio.get_running_loop()
    while True:
        before = loop.time()
        await asyncio.sleep(every)
        metrics.loop_lag.set(max(0.0, loop.time() - before - every))
