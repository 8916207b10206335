"""Broken bytes on the gRPC port: each ends a call or a connection, none the router."""

import asyncio
import gzip
import logging
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
from grpc import aio  # type: ignore[import-untyped]
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import StreamEnded
from tritonclient.grpc.service_pb2 import ModelStreamInferResponse  # type: ignore[import-untyped]

from tests.serving.support.grpc import client, labels, raw, typed

PATH = "/inference.GRPCInferenceService/ModelInfer"
STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"
CASES = 1500
"""Of messages; connections are a fifth of it."""
FAIR = {"OK", "INVALID_ARGUMENT", "NOT_FOUND"}


def _seeded(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311  the same cases every time


def _broken(data: bytes, chance: random.Random) -> bytes:
    """The bytes with one to four of them changed, taken out, doubled or followed by nothing."""
    found = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(found) or 1)
        match chance.randrange(5):
            case 0:
                found[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                del found[at : at + chance.randint(1, 8)]
            case 2:
                found[at:at] = found[at : at + chance.randint(1, 16)]
            case 3:
                found[at:at] = chance.randbytes(chance.randint(1, 8))
            case _:
                del found[at:]
    return bytes(found)


async def test_broken_messages_are_refused(start: Any, models: Any, kit: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Damaged protobuf is the client's fault and said so; nothing is logged as the router's, which goes on serving."""
    router = await start(kit.table(kit.route(await models())), grpc_port=0)
    chance = _seeded(1)
    whole = [one.SerializeToString() for one in (raw([60, 1, 1], id="a"), typed([1, 1, 1], model_version="v-r1"))]
    codes: dict[str, int] = {}
    async with client(router.router.grpc_port) as asked:
        method = asked.channel.unary_unary(PATH)

        async def one(data: bytes) -> None:
            code = await method(data, timeout=20).code()
            codes[code.name] = codes.get(code.name, 0) + 1

        for _ in range(CASES // 50):
            await asyncio.gather(*(one(_broken(chance.choice(whole), chance)) for _ in range(50)))
        assert labels(await asked.infer(raw([60, 1, 1]))) == [1]
    # A damaged metadata entry or parameter may also be one that the model server cannot take.
    assert set(codes) <= FAIR | {"RESOURCE_EXHAUSTED"}, codes
    assert min(codes[name] for name in FAIR) > 10
    assert [one.getMessage() for one in caplog.records if one.levelno >= logging.ERROR] == []


async def test_broken_requests_of_streams_have_answers(
    start: Any, models: Any, kit: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """On streams to a server of binary tensors each damaged request has one answer, and the whole ones are right."""
    router = await start(kit.table(kit.route(await models(binary=True))), grpc_port=0)
    chance, good = _seeded(4), raw([60, 1, 1], id="good").SerializeToString()
    found = 0
    async with client(router.router.grpc_port) as asked:
        method = asked.channel.stream_stream(STREAM, response_deserializer=ModelStreamInferResponse.FromString)

        async def one() -> None:
            nonlocal found
            sent = [good if number % 3 else _broken(good, chance) for number in range(15)]

            async def each() -> AsyncIterator[bytes]:
                for data in sent:
                    yield data

            answers = [answer async for answer in method(each(), timeout=20)]
            assert len(answers) == len(sent)
            whole = [answer for answer, data in zip(answers, sent, strict=True) if data == good]
            assert {(answer.error_message, answer.infer_response.id) for answer in whole} == {("", "good")}
            found += sum(bool(answer.error_message) for answer in answers)

        for _ in range(5):
            await asyncio.gather(*(one() for _ in range(4)))
    assert found > 50
    assert router.router.grpc_budget.held == 0
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


def _conversation() -> bytes:
    """What a client sends for a call and for a stream of two requests, one of them compressed."""
    h2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
    h2.initiate_connection()
    message = raw([60, 1, 1]).SerializeToString()
    packed = gzip.compress(message, mtime=0)
    plain = b"\0" + len(message).to_bytes(4, "big") + message
    both = plain + b"\1" + len(packed).to_bytes(4, "big") + packed
    for stream, path, data in ((1, PATH, plain), (3, STREAM, both)):
        head = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "x"), ("te", "trailers")]
        more = [("content-type", "application/grpc"), ("x-user", "u1"), ("grpc-encoding", "gzip")]
        h2.send_headers(stream, head + more)
        h2.send_data(stream, data, end_stream=True)
    return h2.data_to_send()


async def _send(port: int, data: bytes, chance: random.Random) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    cut = chance.randrange(len(data) + 1)
    try:
        writer.write(data[:cut])
        await asyncio.sleep(0)
        writer.write(data[cut:])
        writer.write_eof()
        await asyncio.wait_for(reader.read(), 10)
    except ConnectionError:
        pass  # the router reset it
    finally:
        writer.close()


async def test_broken_connections_end(start: Any, models: Any, kit: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Damaged HTTP/2 ends its connection; none stays, none is logged as a fault, and calls are served as before."""
    router = await start(kit.table(kit.route(await models())), grpc_port=0)
    chance, whole = _seeded(2), _conversation()
    for _ in range(CASES // 5 // 25):
        await asyncio.gather(*(_send(router.router.grpc_port, _broken(whole, chance), chance) for _ in range(25)))
    async with client(router.router.grpc_port) as asked:
        assert labels(await asked.infer(raw([60, 1, 1]))) == [1]
    for _ in range(200):
        if not router.router.port.connections:
            break
        await asyncio.sleep(0.02)
    assert not router.router.port.connections
    state = await router.get_control("/v1/state")
    assert state["services"]["m"][0]["inFlight"] == 0
    assert router.router.grpc_budget.held == 0
    assert [one.getMessage() for one in caplog.records if one.levelno >= logging.ERROR] == []


@pytest.mark.parametrize("name", ["x-a", "transfer-encoding", "content-length", "x-b\r\nx-c", "X-D"])
async def test_metadata_cannot_forge_headers(start: Any, models: Any, kit: Any, name: str) -> None:
    """Names and values that would end a header or frame the upstream request never reach the model server."""
    model = await models()
    router = await start(kit.table(kit.route(model)), grpc_port=0)
    h2 = H2Connection(H2Configuration(validate_outbound_headers=False, normalize_outbound_headers=False))
    h2.initiate_connection()
    message = raw([60, 1, 1]).SerializeToString()
    head = [(":method", "POST"), (":scheme", "http"), (":path", PATH), (":authority", "x"), (name, "1\r\nx-forged: 2")]
    h2.send_headers(1, [*head, ("content-type", "application/grpc")])
    h2.send_data(1, b"\0" + len(message).to_bytes(4, "big") + message, end_stream=True)
    await _send(router.router.grpc_port, h2.data_to_send(), _seeded(3))
    assert [one for one in model.heads if "x-forged" in one] == []
    async with client(router.router.grpc_port) as asked:
        assert labels(await asked.infer(raw([60, 1, 1]))) == [1]


async def test_client_that_only_resets_is_cut_off(start: Any, models: Any, kit: Any) -> None:
    """Who opens calls and resets them, again and again, loses the connection; a client that cancels some does not."""
    router = await start(kit.table(kit.route(await models(delay=0.01))), grpc_port=0)
    h2 = H2Connection(H2Configuration(client_side=True))
    h2.initiate_connection()
    head = [(":method", "POST"), (":scheme", "http"), (":path", PATH), (":authority", "x")]
    for stream in range(1, 1301, 2):
        h2.send_headers(stream, head)
        h2.reset_stream(stream)
    reader, writer = await asyncio.open_connection("127.0.0.1", router.router.grpc_port)
    writer.write(h2.data_to_send())
    said = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    assert b"\0\0\0\x0b" in said  # ENHANCE_YOUR_CALM
    async with aio.insecure_channel(f"127.0.0.1:{router.router.grpc_port}") as channel:
        method = channel.unary_unary(PATH)
        for _ in range(30):
            calls = [method(raw([60, 1, 1]).SerializeToString()) for _ in range(4)]
            calls[0].cancel()
            assert [(await one.code()).name for one in calls[1:]] == ["OK"] * 3


async def test_reset_beside_data_ends_its_call_alone(start: Any, models: Any, kit: Any) -> None:
    """A large call that is reset in the very bytes that began it does not take its neighbours' connection along."""
    router = await start(kit.table(kit.route(await models())), grpc_port=0)
    h2 = H2Connection(H2Configuration(client_side=True))
    h2.initiate_connection()
    head = [(":method", "POST"), (":scheme", "http"), (":path", PATH), (":authority", "x")]
    large, small = raw(*[[1, 1, 1]] * 20_000).SerializeToString(), raw([60, 1, 1]).SerializeToString()
    h2.send_headers(1, head)
    h2.send_data(1, b"\0" + len(large).to_bytes(4, "big") + large[:9000])
    h2.reset_stream(1)
    h2.send_headers(3, head)
    h2.send_data(3, b"\0" + len(small).to_bytes(4, "big") + small, end_stream=True)
    reader, writer = await asyncio.open_connection("127.0.0.1", router.router.grpc_port)
    writer.write(h2.data_to_send())
    ended: set[int | None] = set()
    while 3 not in ended:
        data = await asyncio.wait_for(reader.read(65536), 10)
        assert data, "the connection ended"
        events = h2.receive_data(data)
        ended |= {one.stream_id for one in events if isinstance(one, StreamEnded)}
    writer.close()
    assert ended == {3}
