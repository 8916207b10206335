"""Which model servers take binary tensors: they say so themselves (V2's server metadata, `extensions`).

Asked beside the calls, on the first one that would use them and now and then after it; until the answer comes, and
where a server says nothing of them, tensors go as JSON.
"""

import asyncio
import logging
from time import monotonic

import orjson

from gyre_serving.router.endpoints import Backends, Endpoint
from gyre_serving.router.heads import Head
from gyre_serving.router.upstream import connect

logger = logging.getLogger(__name__)

EXTENSION = "binary_tensor_data"
AGAIN_SECONDS = 60.0
"""Between two questions: a server behind a fixed address may become another one."""
SOON_SECONDS = 2.0
"""After one that got no answer."""
ANSWER_SECONDS = 5.0
MOST = 65536
"""Bytes of an answer that are read."""
OK = 200
_asking: set[asyncio.Task[None]] = set()
"""The loop keeps no tasks from being collected."""


def takes_binary(backends: Backends) -> bool:
    """Whether the revision's model servers take binary tensors, as far as it is known yet."""
    now = monotonic()
    if backends.endpoints and now >= backends.ask_at:
        backends.ask_at = now + AGAIN_SECONDS
        task = asyncio.get_running_loop().create_task(_ask(backends, backends.endpoints[0]))
        _asking.add(task)
        task.add_done_callback(_asking.discard)
    return backends.binary


class _Answer:
    """Takes the answer of one question."""

    def __init__(self) -> None:
        self.whole: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._status = 0
        self._body = b""

    def on_head(self, head: Head) -> None:
        self._status = head.status

    def on_piece(self, body: bytes) -> None:
        self._body = (self._body + body)[:MOST]

    def on_flush(self) -> None:
        """Nobody waits for parts."""

    def on_end(self) -> None:
        if not self.whole.done():
            self.whole.set_result(self._body if self._status == OK else b"{}")

    def on_broken(self, error: Exception | None) -> None:
        if not self.whole.done():
            self.whole.set_exception(ConnectionError(f"the connection broke: {error}"))


async def _ask(backends: Backends, endpoint: Endpoint) -> None:
    """Take what the server says; one that cannot be asked leaves what is known."""
    connection = None
    try:
        connection = await connect(endpoint)
        answer = _Answer()
        connection.send(answer, [b"GET /v2 HTTP/1.1\r\nhost: %b\r\nconnection: close\r\n\r\n" % endpoint.host_header])
        async with asyncio.timeout(ANSWER_SECONDS):
            found = orjson.loads(await answer.whole)
        backends.binary = isinstance(found, dict) and EXTENSION in (found.get("extensions") or ())
    except (OSError, ValueError, TypeError) as error:  # TimeoutError is an OSError
        backends.ask_at = monotonic() + SOON_SECONDS
        logger.debug("%s:%d was asked in vain what it takes: %s", endpoint.host, endpoint.port, error)
    finally:
        if connection is not None:
            connection.close()
