"""Heads of answers are read once; what is told by a known head is what the parser told of the same bytes."""

import asyncio
from typing import Any

import pytest

from gyre_serving.router.endpoints import Endpoint
from gyre_serving.router.heads import LONGEST, MOST, Head, Heads
from gyre_serving.router.upstream import UpstreamConnection


class _Receiver:
    """Keeps what a connection handed over."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def on_head(self, head: Head) -> None:
        self.told.append((head.status, head.headers, head.length, head.lines))

    def on_piece(self, body: bytes) -> None:
        self.told.append(body)

    def on_flush(self) -> None:
        self.told.append("flush")

    def on_end(self) -> None:
        self.told.append("end")

    def on_broken(self, error: Exception | None) -> None:
        self.told.append(type(error).__name__)


class _Wire(asyncio.Transport):
    def write(self, data: Any) -> None:
        """Nobody reads it."""

    def abort(self) -> None:
        """It is over."""


def _asked(connection: UpstreamConnection, *reads: bytes) -> list[Any]:
    receiver = _Receiver()
    connection.send(receiver, [b"GET / HTTP/1.1\r\n\r\n"])
    for read in reads:
        connection.data_received(read)
    return receiver.told


def _connection() -> UpstreamConnection:
    connection = UpstreamConnection(Endpoint(("127.0.0.1", 1)))
    connection.connection_made(_Wire())
    return connection


GOOD = b"HTTP/1.1 200 OK\r\nContent-Type: a\r\nX-Heads: %b\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nX-Heads: %b\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(GOOD, id="an answer with a length"),
        pytest.param(GOOD.replace(b"200 OK", b"503 Busy"), id="a refusal"),
        pytest.param(GOOD.replace(b": 2\r\n\r\nok", b": 0\r\n\r\n"), id="an empty body"),
        pytest.param(GOOD.replace(b"200 OK", b"204 None").replace(b"ok", b""), id="204 has no body whatever it says"),
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n" + GOOD, id="an interim answer stands in front"),
        pytest.param(GOOD + b"HTTP/1.1 200 OK\r\n", id="more than was asked for"),
        pytest.param(GOOD.replace(b"Content-Length: 2\r\n", b"Connection: close\r\nContent-Length: 2\r\n"),
                     id="the last answer of its connection"),
        pytest.param(CHUNKED, id="chunks"),
        pytest.param(GOOD.replace(b"HTTP/1.1", b"HTTP/1.0"), id="HTTP/1.0 ends its connection"),
    ],
)  # fmt: skip
def test_third_answer_reads_like_the_first(answer: bytes, request: pytest.FixtureRequest) -> None:
    """A known head tells what the parser told, and the connection is kept or not as before."""
    answer = answer.replace(b"%b", request.node.callspec.id.encode())
    first, later = _connection(), _connection()
    told = _asked(first, answer)
    for _ in range(2):
        assert _asked(later, answer) == told
        assert later.complete
        assert (later.closed, later.length) == (first.closed, first.length)
        if later.closed:
            later = _connection()


def test_parts_of_a_known_answer_go_through_the_parser() -> None:
    """An answer in two reads is put together, and a longer or shorter one under a known head stays broken."""
    connection, answer = _connection(), GOOD.replace(b"%b", b"parts")
    whole = _asked(connection, answer)
    assert _asked(connection, answer[:20], answer[20:-1], answer[-1:])[-1] == "end"
    assert _asked(connection, answer[:-1]) == [whole[0], b"o", "flush"]
    connection = _connection()
    assert _asked(connection, answer + b"!")[-1] == "HttpParserError"
    assert connection.closed


def test_few_heads_are_kept() -> None:
    """What is remembered is bounded in number and length."""
    heads = Heads()
    for number in range(2 * MOST):
        heads.keep(b"HTTP/1.1 200 OK\r\na: %d\r\n\r\n" % number, Head(200, [], 0))
    assert len(heads._known) <= MOST
    long = b"HTTP/1.1 200 OK\r\na: %b\r\n\r\n" % (b"x" * LONGEST)
    heads.keep(long, Head(200, [], 0))
    assert heads.find(long) is None
