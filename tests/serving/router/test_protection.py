"""Limits, deadlines and malformed HTTP: each gets an answer a person understands, or is cut off."""

import asyncio
import io
import json
from typing import Any

import pytest

from gyre_serving.router import connection

POST = b"POST /v2/models/m/infer HTTP/1.1\r\nHost: x\r\n"

SMUGGLING = {
    "both-lengths": POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two-content-lengths": POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "same-content-length-twice": POST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\na",
    "list-of-lengths": POST + b"Content-Length: 1, 1\r\n\r\na",
    "signed-length": POST + b"Content-Length: +1\r\n\r\na",
    "negative-length": POST + b"Content-Length: -1\r\n\r\na",
    "hex-length": POST + b"Content-Length: 0x1\r\n\r\na",
    "empty-length": POST + b"Content-Length: \r\n\r\na",
    "huge-length": POST + b"Content-Length: 99999999999999999999\r\n\r\na",
    "two-encodings": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "unknown-encoding": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "encoding-list": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "encoding-not-last": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "vertical-tab": POST + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    "bad-chunk-size": POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\na\r\n0\r\n\r\n",
    "negative-chunk": POST + b"Transfer-Encoding: chunked\r\n\r\n-1\r\na\r\n0\r\n\r\n",
    "chunk-without-end": POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
    "chunk-line-feed": POST + b"Transfer-Encoding: chunked\r\n\r\n1\na\n0\n\n",
    "chunk-space": POST + b"Transfer-Encoding: chunked\r\n\r\n1 \r\na\r\n0\r\n\r\n",
    "obs-fold": POST + b"A: b\r\n c\r\nContent-Length: 0\r\n\r\n",
    "obs-fold-encoding": POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "space-before-colon": POST + b"Content-Length : 1\r\n\r\na",
    "bare-line-feeds": b"POST /v2/models/m/infer HTTP/1.1\nHost: x\nContent-Length: 0\n\n",
    "bare-carriage-return": POST + b"A: b\rContent-Length: 1\r\n\r\na",
    "nul-in-value": POST + b"A: b\x00c\r\n\r\n",
    "no-host": b"POST /v2/models/m/infer HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
    "two-hosts": POST + b"Host: y\r\nContent-Length: 0\r\n\r\n",
    "chunked-in-1.0": b"POST /v2/models/m/infer HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "http-0.9": b"GET /v2\r\n\r\n",
    "http-2-preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "space-in-url": b"GET /v2 /x HTTP/1.1\r\nHost: x\r\n\r\n",
    "connect": b"CONNECT a:1 HTTP/1.1\r\nHost: x\r\n\r\n",
    "tls-hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "nonsense": b"\x00\xff\x00\xff\r\n\r\n",
}


@pytest.mark.parametrize("data", [pytest.param(data, id=name) for name, data in SMUGGLING.items()])
async def test_ambiguous_requests_are_refused(start: Any, models: Any, kit: Any, data: bytes) -> None:
    """What two programs could read differently gets one 4xx or 5xx answer, a closed connection, and never a model."""
    model = await models()
    router = await start(kit.table(kit.route(model)))
    hidden = b"POST /v2/models/m/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
    answer = await router.raw(data + hidden)
    assert answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 5"))
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"connection: close" in answer
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
    assert model.heads == []


@pytest.mark.parametrize(
    ("data", "status"),
    [
        pytest.param(POST + b"X: " + b"a" * 40000, b"431", id="endless-header"),
        pytest.param(POST + b"".join(b"X-%d: 1\r\n" % i for i in range(200)) + b"\r\n", b"431", id="many-headers"),
        pytest.param(b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", b"414", id="long-url"),
        pytest.param(POST + b"Content-Length: 2000\r\n\r\n", b"413", id="declared-body"),
        pytest.param(
            POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"5dc\r\n" + b"a" * 1500 + b"\r\n", b"413", id="chunked-body"
        ),
        pytest.param(POST + b"Content-Length: 0\r\nExpect: miracles\r\n\r\n", b"417", id="unknown-expectation"),
    ],
)
async def test_size_limits(start: Any, models: Any, kit: Any, data: bytes, status: bytes) -> None:
    """A head or body above its limit is refused as soon as that is known, without waiting for its end."""
    model = await models()
    router = await start(kit.table(kit.route(model), limits={"maxBody": 1000}))
    answer = await router.raw(data)
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert model.heads == []


async def test_refused_upload_still_sees_its_answer(start: Any, models: Any, kit: Any) -> None:
    """A client that goes on sending a body that is too large reads the 413, not a reset."""
    router = await start(kit.table(kit.route(await models()), limits={"maxBody": 1000}))
    async with router.session.post(router.url + "/v2/models/m/infer", data=io.BytesIO(b"a" * 3_000_000)) as answer:
        assert answer.status == 413
        assert "1000 bytes" in (await answer.json())["error"]


async def test_expect_continue(start: Any, models: Any, kit: Any) -> None:
    """A client that asks before it sends its body is told to go on."""
    router = await start(kit.table(kit.route(await models())))
    body = json.dumps(kit.rows([1, 1, 1])).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", router.port)
    writer.write(POST + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body))
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(body)
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
    writer.close()


async def test_offered_upgrade_is_ignored(start: Any, models: Any, kit: Any) -> None:
    """A client that offers h2c, as Java's does, is answered over HTTP/1.1, its next request too."""
    model = await models()
    router = await start(kit.table(kit.route(model)))
    body = json.dumps(kit.rows([1, 1, 1])).encode()
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
    first = POST + offer + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    second = POST + b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    answer = await router.raw(first + second)
    assert answer.count(b"HTTP/1.1 200") == 2
    assert "upgrade" not in model.heads[0]


async def test_slow_head_is_cut_off(start: Any, models: Any, kit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that dribbles its head is told 408 and closed, however often it sends a byte."""
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.4)
    router = await start(kit.table(kit.route(await models())))
    reader, writer = await asyncio.open_connection("127.0.0.1", router.port)
    writer.write(b"GET /v2 HTTP/1.1\r\nHo")

    async def dribble() -> None:
        while True:
            writer.write(b"s")
            await asyncio.sleep(0.05)

    task = asyncio.create_task(dribble())
    answer = await asyncio.wait_for(reader.read(), 4)
    task.cancel()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 408")


async def test_malformed_bytes_behind_a_request_do_not_cut_its_answer(
    start: Any, models: Any, kit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The patience with a head ends with the head: what runs before it is answered, however long that takes."""
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.2)
    router = await start(kit.table(kit.route(await models(delay=1.5))))
    body = json.dumps(kit.rows([60, 1, 1])).encode()
    answers = await router.raw(POST + b"Content-Length: %d\r\n\r\n%bGET /v2 nonsense\r\n\r\n" % (len(body), body))
    assert answers.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1 400 " in answers


async def test_deadline_is_504(start: Any, models: Any, kit: Any) -> None:
    """A model that does not answer within the service's deadline costs a 504 that names the version."""
    router = await start(kit.table(kit.route(await models(delay=5)), limits={"timeoutSeconds": 0.2}))
    status, answer, headers = await router.infer(kit.rows([1, 1, 1]))
    assert status == 504
    assert answer["error"] == "v-r1 did not answer within 0.2 s"
    assert headers["x-gyre-revision"] == "r1"
    counters = await router.get_control("/v1/counters")
    assert counters["services"]["m"]["r1"]["errors"] == 1


async def test_concurrency_and_queue_are_bounded(start: Any, models: Any, kit: Any) -> None:
    """Two run, two wait, the rest is told 503 with Retry-After; those that waited are answered."""
    model = await models(delay=0.3)
    router = await start(kit.table(kit.route(model), limits={"concurrency": 2}))
    answers = await asyncio.gather(*(router.infer(kit.rows([1, 1, 1])) for _ in range(8)))
    assert sorted(status for status, _, _ in answers) == [200] * 4 + [503] * 4
    assert all(headers["retry-after"] == "1" for status, _, headers in answers if status == 503)
    counters = await router.get_control("/v1/counters")
    assert counters["services"]["m"]["r1"]["rejected"] == 4


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"garbage\r\n\r\n", id="no-http"),
        pytest.param(b"", id="closes-without-an-answer"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 5", id="cut-in-the-head"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", id="two-lengths"),
    ],
)
async def test_garbage_from_upstream_is_502(start: Any, models: Any, kit: Any, raw: bytes) -> None:
    """A model server that speaks no HTTP costs a 502 and an error of its revision, not a hanging client."""
    router = await start(kit.table(kit.route(await models(raw_answer=raw))))
    status, answer, _ = await router.infer(kit.rows([1, 1, 1]))
    assert status == 502
    assert "v-r1" in answer["error"]
    counters = await router.get_control("/v1/counters")
    assert counters["services"]["m"]["r1"]["errors"] == 1


async def test_cut_answer_is_cut_for_the_client(start: Any, models: Any, kit: Any) -> None:
    """An answer that breaks in its body is never passed off as whole."""
    cut = b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"half": '
    router = await start(kit.table(kit.route(await models(raw_answer=cut))))
    body = json.dumps(kit.rows([1, 1, 1])).encode()
    answer = await router.raw(POST + b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
    assert len(answer.partition(b"\r\n\r\n")[2]) < 500
    counters = await router.get_control("/v1/counters")
    assert counters["services"]["m"]["r1"]["errors"] == 1


async def test_response_splitting_bytes_after_an_answer(start: Any, models: Any, kit: Any) -> None:
    """Bytes that a model server sends after its answer never become the next client's answer."""
    double = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad"
    model = await models(raw_answer=double)
    router = await start(kit.table(kit.route(model)))
    for _ in range(3):
        status, answer, _ = await router.infer(kit.rows([1, 1, 1]))
        assert (status, answer) == (200, {})


async def test_slow_reader_does_not_fill_memory(start: Any, models: Any, kit: Any) -> None:
    """A client that does not read holds the model server back instead of the router's memory."""
    size = 64 * 2**20
    model = await models(raw_answer=b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"a" * size)
    router = await start(kit.table(kit.route(model)))
    body = json.dumps(kit.rows([1, 1, 1])).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", router.port, limit=2**16)
    writer.write(POST + b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
    await asyncio.sleep(0.5)
    held = max(one._transport.get_write_buffer_size() for one in router.router.port.connections)
    assert held < 4 * 2**20
    received = 0
    while piece := await reader.read(2**20):
        received += len(piece)
        if received >= size:
            break
    assert received >= size
    writer.close()


async def test_client_that_only_asks_does_not_fill_memory(
    start: Any, models: Any, kit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who pipelines and reads no answer is not read either, and is cut off; who reads at last has every answer."""
    router = await start(kit.table(kit.route(await models())))
    one, many = b"GET /v2/models/m HTTP/1.1\r\nHost: x\r\n\r\n", 40_000
    last = b"GET /v2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

    async def ask() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", router.port, limit=2**16)
        writer.write(one * many + last)
        for _ in range(20):
            await asyncio.sleep(0.02)
            assert all(side._transport.get_write_buffer_size() < 2**20 for side in router.router.port.connections)
        return reader, writer

    reader, writer = await ask()
    assert (await reader.read(-1)).count(b'"versions":["v-r1"]') == many
    writer.close()
    monkeypatch.setattr(connection, "STALLED_SECONDS", 0.5)
    _, writer = await ask()
    for _ in range(200):
        if not router.router.port.connections:
            break
        await asyncio.sleep(0.05)
    assert not router.router.port.connections
    writer.close()
