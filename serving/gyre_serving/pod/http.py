"""A small HTTP/1.1 server: asyncio protocol, llhttp for parsing, one handler for all requests.

It is what the built-in model server answers with and what the agent's probe port is made of.
"""

import asyncio
import contextlib

from gyre_crds.reasons import Common
from gyre_serving.pod.connection import Connection
from gyre_serving.pod.failure import Failure
from gyre_serving.pod.messages import Answer, Handler, Request
from gyre_serving.ports import cure

__all__ = ["Answer", "Handler", "Request", "Server", "listen"]


class Server:
    """Listens, answers with `handler`, and drains: `close` waits for what is in flight."""

    def __init__(self, handler: Handler, *, max_body: int = 64 << 20) -> None:
        self.handler = handler
        self.max_body = max_body
        self.draining = False
        self.connections: set[Connection] = set()
        self.emptied = asyncio.Event()
        self._server: asyncio.Server | None = None

    async def listen(self, host: str, port: int) -> int:
        """Start to accept; returns the port, which is free choice for 0.

        Raises:
            OSError: the port is taken.
        """
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self), host, port, backlog=1024)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self, grace: float, linger: float = 1.0) -> None:
        """Accept no more, end every connection with its next answer, and wait for what is in flight.

        A connection that is closed while a request is on its way to it fails that request, so idle ones are
        closed only after `linger` seconds in which clients that go on are answered `connection: close`.

        Args:
            grace: seconds that answers in flight may take.
            linger: seconds that idle connections stay open.
        """
        self.draining = True
        if self._server is not None:
            self._server.close()
        await self._emptied_within(linger)
        for connection in list(self.connections):
            connection.close_if_idle()
        await self._emptied_within(grace)
        for connection in list(self.connections):
            connection.abort()

    async def _emptied_within(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._empty(), seconds)

    async def _empty(self) -> None:
        while self.connections:
            self.emptied.clear()
            await self.emptied.wait()


async def listen(server: Server, host: str, port: int) -> int:
    """Start to accept; returns the port.

    Raises:
        Failure: the port cannot be had.
    """
    try:
        return await server.listen(host, port)
    except OSError as error:
        raise Failure(
            Common.INVALID_SPEC,
            f"port {port} of {host} cannot be listened on: {error.strerror}; {cure(error, '--port')}",
            retry=True,
        ) from error
