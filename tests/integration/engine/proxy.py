"""A proxy between operator and a server that sees every request and can spoil it.

It speaks plain HTTP to the operator, and on the other side the API server's TLS, as administrator, or
the plain HTTP of MLflow.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Self

import aiohttp
import orjson
from aiohttp import web

from tests.localcluster import ControlPlane

_HOP = {"connection", "transfer-encoding", "content-length", "content-encoding", "host"}
_READS = ("GET", "HEAD")
_REPLAYED = 50
"""Lines of a stream that a stammering proxy repeats at most."""


@dataclass(frozen=True)
class Request:
    """One request as the operator sent it."""

    method: str
    path: str
    query: dict[str, str] = field(default_factory=dict)

    @property
    def write(self) -> bool:
        """Whether it changes anything; the Lease is not counted."""
        return self.method not in _READS and "/leases" not in self.path

    @property
    def watch(self) -> bool:
        """Whether it is a WATCH."""
        return self.query.get("watch") == "true"


Hook = Callable[[Request], Awaitable[None]]


class Proxy:
    """One proxy; set its attributes to spoil what passes."""

    def __init__(self, server: ControlPlane | str) -> None:
        """`server` is a control plane, or the base URL of anything that speaks plain HTTP."""
        self.seen: list[Request] = []
        self.down = False
        """Connections are dropped without an answer, open streams too."""
        self.deaf = False
        """Watch streams stay open and carry nothing: their lines are lost."""
        self.stammers = False
        """Each line of a watch comes twice, and then everything old of that stream again."""
        self.forgets = False
        """Every WATCH from a version is told that the version is too old, once each."""
        self.refuses: Callable[[Request], bool] = lambda _request: False
        """Requests that are answered with 415 instead of being passed on."""
        self.before: Hook | None = None
        """Awaited before a write is passed on."""
        self.after: Hook | None = None
        """Awaited after a write was answered, before the operator hears of it."""
        self._plane = server if isinstance(server, ControlPlane) else None
        self._server: str = server.url if isinstance(server, ControlPlane) else server
        self._open: dict[int, web.Request] = {}
        self._session: aiohttp.ClientSession | None = None
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(ssl=self._administrator(), limit=0)
        self._session = aiohttp.ClientSession(connector=connector, auto_decompress=False)
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cut()
        if self._runner is not None:
            await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()

    def _administrator(self) -> ssl.SSLContext | bool:
        if self._plane is None:
            return True
        pki = self._plane.layout.state.pki
        context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        context.load_cert_chain(str(pki / "admin.crt"), str(pki / "admin.key"))
        return context

    def cut(self) -> None:
        """Break every open stream."""
        for request in list(self._open.values()):
            if request.transport is not None:
                request.transport.abort()

    def writes(self) -> list[Request]:
        """The writes so far, without the Lease."""
        return [request for request in self.seen if request.write]

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        seen = Request(request.method, request.path, dict(request.query))
        self.seen.append(seen)
        if self.down:
            _abort(request)
        if self.refuses(seen):
            return web.json_response({"kind": "Status", "code": 415}, status=415)
        if seen.watch:
            return await self._watch(request)
        if seen.write and self.before is not None:
            await self.before(seen)
        status, headers, body = await self._forward(request)
        if seen.write and self.after is not None:
            await self.after(seen)
        if self.down:
            _abort(request)
        return web.Response(status=status, headers=headers, body=body)

    async def _forward(self, request: web.Request) -> tuple[int, dict[str, str], bytes]:
        assert self._session is not None
        async with self._session.request(
            request.method,
            self._server + request.path_qs,
            headers=_kept(request.headers),
            data=await request.read() or None,
        ) as answer:
            return answer.status, _kept(answer.headers), await answer.read()

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        assert self._session is not None
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        if self.forgets:
            await response.prepare(request)
            gone = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}
            await response.write(orjson.dumps({"type": "ERROR", "object": gone}) + b"\n")
            return response
        self._open[id(request)] = request
        try:
            url = self._server + request.path_qs
            headers = {**_kept(request.headers), "Accept-Encoding": "identity"}
            async with self._session.get(url, headers=headers) as answer:
                response.set_status(answer.status)
                await response.prepare(request)
                await self._pass_on(answer.content, response)
        except (aiohttp.ClientError, ConnectionError):
            _abort(request)
        finally:
            del self._open[id(request)]
        return response

    async def _pass_on(self, lines: aiohttp.StreamReader, response: web.StreamResponse) -> None:
        old: list[bytes] = []
        rest = b""
        async for chunk in lines.iter_any():
            *whole, rest = (rest + chunk).split(b"\n")
            for line in whole:
                if not self.deaf:
                    again = [line, *old] if self.stammers else []
                    await response.write(b"".join(each + b"\n" for each in [line, *again]))
                old = [*old, line][-_REPLAYED:]


def _abort(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
    raise asyncio.CancelledError


def _kept(headers: Any) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in _HOP}
