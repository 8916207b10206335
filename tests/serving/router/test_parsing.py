"""The client connection under mutated bytes: never a failure, and never another reading for another segmentation."""

import asyncio
import random
import re
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gyre_serving.router.connection import ClientConnection
from gyre_serving.router.message import Request, answer
from gyre_serving.router.order import Recipient

if TYPE_CHECKING:
    from gyre_serving.router.jobs import Connected

SEEDS = [
    b"GET /v2 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: 1\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
    b"POST /a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc",
    b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
]
PIECES = [
    b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n",
    b"0\r\n\r\n", b"Host: b\r\n", b"\xff", b"HTTP/1.1", b"5\r\n", b"-1", b"\x0b", b"Upgrade: x\r\n", b"GET ",
]  # fmt: skip

_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")


class Wire:
    """A transport that keeps what was written."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.closing = False

    def write(self, data: bytes) -> None:
        """Keep."""
        assert not self.closing, "written after the end"
        self.written += data

    def write_eof(self) -> None:
        """The answer is out."""

    def close(self) -> None:
        """No more."""
        self.closing = True

    def abort(self) -> None:
        """No more."""
        self.closing = True

    def can_write_eof(self) -> bool:
        """As a socket."""
        return True

    def is_closing(self) -> bool:
        """Whether it was closed."""
        return self.closing

    def pause_reading(self) -> None:
        """The test feeds on."""

    def resume_reading(self) -> None:
        """The test feeds on."""


class Echo:
    """Answers every request with what was read, so that two readings can be compared."""

    draining = False

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.connections: set[Connected] = set()
        self.seen: list[tuple[bytes, bytes, bytes]] = []

    def body_limits(self, _request: Request) -> tuple[int, float]:
        """Generous."""
        return 10_000, 60.0

    def in_doubt(self, _request: Request, _client: Recipient) -> None:
        """Everybody is known."""

    def handle(self, request: Request, client: Recipient) -> None:
        """Answer at once."""
        self.seen.append((request.method, request.url, request.content()))
        close = client.closes(request)
        client.write(answer(200, b"{}", close=close))
        client.finish(close=close)


async def _read(pieces: list[bytes]) -> tuple[list[tuple[bytes, bytes, bytes]], bytes]:
    """Requests that were understood and the status lines of the answers."""
    handler, wire = Echo(asyncio.get_running_loop()), Wire()
    connection = ClientConnection(handler)
    connection.connection_made(wire)  # type: ignore[arg-type]
    for piece in pieces:
        if wire.closing:
            break
        connection.data_received(piece)
        await asyncio.sleep(0)  # pipelined requests take their turns
    for _ in range(20):
        await asyncio.sleep(0)
    connection.connection_lost(None)
    # A body that comes along with its head need not be asked for.
    return handler.seen, b" ".join(one for one in _STATUS.findall(bytes(wire.written)) if one != b"100")


def _mutated(source: random.Random) -> bytes:
    data = bytearray(b"".join(source.choices(SEEDS, k=source.randint(1, 3))))
    for _ in range(source.randint(0, 4)):
        place = source.randrange(len(data) + 1)
        match source.randrange(4):
            case 0:
                data[place:place] = source.choice(PIECES)
            case 1:
                del data[place : place + source.randint(1, 6)]
            case 2 if place < len(data):
                data[place] = source.randrange(256)
            case _:
                end = min(len(data), place + source.randint(1, 20))
                data[place:place] = data[place:end]
    return bytes(data)


def _cut(data: bytes, source: random.Random) -> list[bytes]:
    places = sorted(source.randrange(len(data) + 1) for _ in range(source.randint(1, 6)))
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True) if a != b]


@pytest.mark.parametrize("seed", range(10))
async def test_segmentation_changes_nothing(seed: int, caplog: pytest.LogCaptureFixture) -> None:
    """300 mutated streams a seed: whole, cut at random and byte by byte, the same requests are understood.

    A proxy that read a stream in two ways could be made to smuggle; one that raised would hang a client.
    """
    source = random.Random(seed)  # noqa: S311  the same streams in every run
    for _ in range(300):
        data = _mutated(source)
        whole = await _read([data])
        assert await _read(_cut(data, source)) == whole, data
        if source.random() < 0.2:
            assert await _read([data[i : i + 1] for i in range(len(data))]) == whole, data
    assert "could not be handled" not in caplog.text


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=400))
def test_any_bytes_are_survived(data: bytes, caplog: Any) -> None:
    """Arbitrary bytes never make the connection fail."""
    asyncio.run(_read([data]))
    assert "could not be handled" not in caplog.text
