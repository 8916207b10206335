"""The server's HTTP: what clients send on purpose or by mistake."""

import asyncio
import socket

import pytest

from gyre_serving.pod.http import Answer, Request, Server


async def _echo(request: Request) -> Answer:
    if request.path == "/slow":
        await asyncio.sleep(0.2)
    if request.path == "/bug":
        raise ValueError("secret")
    return Answer(200, f"{request.method} {request.path} {request.body.decode()}".encode(), "text/plain")


async def _talk(sent: bytes, *, max_body: int = 100, half_close: bool = False) -> bytes:
    """Everything a server says to these bytes until it closes, or is silent for half a second."""
    server = Server(_echo, max_body=max_body)
    port = await server.listen("127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    if half_close:
        writer.write_eof()
    said = b""
    try:
        while chunk := await asyncio.wait_for(reader.read(65536), 0.5):
            said += chunk
    except (TimeoutError, ConnectionResetError):
        pass
    writer.close()
    await server.close(0.1, linger=0)
    return said


def _request(body: bytes = b"", path: str = "/x", extra: str = "") -> bytes:
    return f"POST {path} HTTP/1.1\r\nhost: a\r\n{extra}content-length: {len(body)}\r\n\r\n".encode() + body


async def test_pipelined_requests_are_answered_in_order() -> None:
    """Twenty requests in one packet, the first slow: twenty answers in the order of the requests."""
    said = await _talk(_request(b"0", "/slow") + b"".join(_request(str(n).encode()) for n in range(1, 20)))
    bodies = [part.rpartition(b" ")[2] for part in said.split(b"HTTP/1.1 200 OK")[1:]]
    assert bodies == [str(n).encode() for n in range(20)]


async def test_a_request_that_arrives_in_pieces_behind_a_slow_one_keeps_its_path() -> None:
    """The answer before it is sent while only a part of its head is there."""
    server = Server(_echo)
    port = await server.listen("127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(_request(path="/slow") + b"GET /second HTTP/1.1\r\nhost:")
    assert (await reader.readuntil(b"POST /slow ")).startswith(b"HTTP/1.1 200 OK")
    writer.write(b" a\r\n\r\n")
    assert (await asyncio.wait_for(reader.readuntil(b"GET /second "), 2)).startswith(b"HTTP/1.1 200 OK")
    writer.close()
    await writer.wait_closed()
    await server.close(0.1, linger=0)


async def test_a_chunked_body_is_read() -> None:
    """A body without a length, in chunks."""
    said = await _talk(
        b"POST /x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
    )
    assert said.endswith(b"POST /x abc")


async def test_a_client_that_half_closes_gets_its_answer() -> None:
    """After the end of the client's data the answer still arrives."""
    assert (await _talk(_request(b"z", "/slow"), half_close=True)).endswith(b"POST /slow z")


async def test_expect_100_continue_is_obeyed() -> None:
    """A client that asks first is told to go on."""
    said = await _talk(_request(b"hi", extra="expect: 100-continue\r\n"))
    assert said.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        pytest.param(b"\x16\x03\x01\x02\x00", b"400", id="TLS to a plain port"),
        pytest.param(b"GET / HTTP/1.1\r\nhost: a\r\ncontent-length: x\r\n\r\n", b"400", id="a length that is none"),
        pytest.param(
            b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            b"400",
            id="length and chunks (smuggling)",
        ),
        pytest.param(
            b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
            b"400",
            id="two lengths (smuggling)",
        ),
        pytest.param(_request(b"x" * 101), b"413", id="a body beyond the limit"),
        pytest.param(b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 100 + b"\r\n", b"431", id="too many headers"),
        pytest.param(b"GET / HTTP/1.1\r\na: " + b"b" * 40000 + b"\r\n\r\n", b"431", id="a huge header"),
        pytest.param(b"GET / HTTP/1.1\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n", b"400", id="an upgrade"),
    ],
)
async def test_what_cannot_be_read_is_refused_and_the_connection_ends(sent: bytes, status: bytes) -> None:
    """One answer with the status, then the end: nothing behind unreadable bytes is taken for a request."""
    said = await _talk(sent + _request(b"smuggled"))
    assert said.startswith(b"HTTP/1.1 " + status)
    assert b"smuggled" not in said
    assert b"connection: close" in said


async def test_a_bug_costs_one_request() -> None:
    """A handler that raises answers 500 without its text, and the connection lives on."""
    said = await _talk(_request(path="/bug") + _request(b"next"))
    assert b"500 Internal Server Error" in said
    assert b"secret" not in said
    assert said.endswith(b"POST /x next")


async def test_closing_waits_for_answers_and_hardly_for_idle_clients() -> None:
    """Drain: the slow answer arrives complete with connection: close, idle connections end after the linger."""
    server = Server(_echo)
    port = await server.listen("127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    idle_reader, idle_writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(_request(b"last", "/slow"))
    await asyncio.sleep(0.05)
    started = asyncio.get_running_loop().time()
    await server.close(5, linger=0.3)
    assert asyncio.get_running_loop().time() - started < 2
    said = await reader.read()
    assert b"connection: close" in said
    assert said.endswith(b"POST /slow last")
    assert await idle_reader.read() == b""
    writer.close()
    idle_writer.close()


async def test_an_abrupt_client_leaves_nothing_behind() -> None:
    """A reset in the middle of an answer: the server forgets the connection and answers the next one."""
    server = Server(_echo)
    port = await server.listen("127.0.0.1", 0)
    client = socket.create_connection(("127.0.0.1", port))
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    client.sendall(_request(path="/slow"))
    await asyncio.sleep(0.05)
    client.close()
    await asyncio.sleep(0.4)
    assert not server.connections
    await server.close(0.1, linger=0)
