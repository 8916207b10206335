"""Compressed messages: gzip is taken, as far as the service takes bytes; what is none says so."""

import asyncio
import gzip
import tracemalloc
import zlib
from typing import Any

import grpc  # type: ignore[import-untyped]
import pytest

from tests.serving.support.frames import HEAD, Frames
from tests.serving.support.grpc import client, labels, raw, typed

MIB = 2**20


@pytest.mark.parametrize("make", [pytest.param(raw, id="raw"), pytest.param(typed, id="typed")])
@pytest.mark.parametrize("rows", [1, 10_000])
async def test_gzip_is_taken(start: Any, models: Any, kit: Any, make: Any, rows: int) -> None:
    """Messages that grpcio compressed, small and large, are answered, on streams too; nothing stays held."""
    router = await start(kit.table(kit.route(await models(binary=True))), grpc_port=0)
    request = make(*[[60, 1, 1], [20, 1, 1]] * rows)
    async with client(router.router.grpc_port) as asked:
        answer = await asked.stub.ModelInfer(request, compression=grpc.Compression.Gzip, timeout=20)
        outputs = answer.raw_output_contents or [b""]
        assert len(outputs[0]) == (16 * rows if make is raw else 0)

        async def twice() -> Any:
            for _ in range(2):
                yield request

        stream = asked.stub.ModelStreamInfer(twice(), compression=grpc.Compression.Gzip, timeout=20)
        answers = [one async for one in stream]
        assert [one.error_message for one in answers] == ["", ""]
        assert answers[0].infer_response.raw_output_contents == answer.raw_output_contents
        assert labels(await asked.infer(raw([60, 1, 1]))) == [1]
    assert router.router.grpc_budget.held == 0


async def _sent(port: int, data: bytes, encoding: str) -> tuple[str, str]:
    """Status and sentence of a call with these bytes."""
    asked = Frames(*await asyncio.open_connection("127.0.0.1", port))
    asked.h2.send_headers(1, [*HEAD, ("grpc-encoding", encoding)] if encoding else HEAD)
    message = b"\1" + len(data).to_bytes(4, "big") + data
    for at in range(0, len(message), 16384):
        asked.h2.send_data(1, message[at : at + 16384], end_stream=at + 16384 >= len(message))
    async with asyncio.timeout(10):
        while not asked.statuses:
            await asked.listen(0.05)
    asked.writer.close()
    return asked.statuses[1]


MESSAGE = raw([60, 1, 1]).SerializeToString()


@pytest.mark.parametrize(
    "case",
    [
        pytest.param((MESSAGE, "gzip", "3", "is no gzip"), id="no gzip"),
        pytest.param((gzip.compress(MESSAGE)[:-9], "gzip", "3", "not one whole gzip stream"), id="cut off"),
        pytest.param((gzip.compress(MESSAGE) * 2, "gzip", "3", "not one whole gzip stream"), id="two"),
        pytest.param((gzip.compress(MESSAGE), "", "12", "'identity' is not taken"), id="no encoding named"),
        pytest.param((gzip.compress(MESSAGE), "snappy", "12", "'snappy' is not taken"), id="another encoding"),
        pytest.param((gzip.compress(b""), "gzip", "3", "model_name is missing"), id="nothing within"),
    ],
)
async def test_what_is_no_gzip_says_so(start: Any, models: Any, kit: Any, case: tuple[bytes, str, str, str]) -> None:
    """Bytes that are not what they say end their call with the reason."""
    data, encoding, status, sentence = case
    router = await start(kit.table(kit.route(await models())), grpc_port=0)
    found = await _sent(router.router.grpc_port, data, encoding)
    assert found[0] == status
    assert sentence in found[1].replace("%27", "'")


async def test_bombs_do_not_go_off(start: Any, models: Any, kit: Any) -> None:
    """Few bytes that would be 50 MiB are refused at the service's limit, and no more than that is made."""
    limits = {"maxBody": MIB}
    router = await start(kit.table(kit.route(await models()), limits=limits), grpc_port=0)
    packer = zlib.compressobj(9, wbits=31)
    bomb = packer.compress(b"\x0a\1m") + b"".join(packer.compress(bytes(MIB)) for _ in range(50)) + packer.flush()
    tracemalloc.start()
    try:
        status, sentence = await _sent(router.router.grpc_port, bomb, "gzip")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (status, "once it is inflated" in sentence) == ("8", True)
    assert peak < 8 * MIB
