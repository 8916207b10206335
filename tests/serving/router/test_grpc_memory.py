"""What gRPC calls may hold: windows open as far as a connection's bytes go, and a full process says so."""

import asyncio
from collections import Counter
from typing import Any

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ResponseReceived, StreamEnded, TrailersReceived, WindowUpdated

from gyre_serving.router.grpc import connection
from gyre_serving.router.grpc.budget import CONNECTION_BYTES, Budget
from tests.serving.support.grpc import client, labels, raw

PATH = "/inference.GRPCInferenceService/ModelInfer"
MIB = 2**20
HEAD = [(":method", "POST"), (":scheme", "http"), (":path", PATH), (":authority", "x")]


class Raw:
    """A client that sends what it is let, and counts what that is."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.h2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.windows: Counter[int] = Counter()
        self.statuses: dict[int, tuple[str, str]] = {}
        self.ended: set[int] = set()

    def begin(self, stream: int, size: int, sent: int) -> None:
        """Open a call whose message has so many bytes, of which some are sent."""
        self.h2.send_headers(stream, HEAD)
        message = raw([60, 1, 1]).SerializeToString()
        self.h2.send_data(stream, b"\0" + size.to_bytes(4, "big") + message + bytes(sent - len(message) - 5))

    async def listen(self, seconds: float = 0.3) -> None:
        """Take what comes until nothing does any more."""
        self.writer.write(self.h2.data_to_send())
        while True:
            try:
                data = await asyncio.wait_for(self.reader.read(65536), seconds)
            except TimeoutError:
                return
            assert data, "the connection ended"
            for event in self.h2.receive_data(data):
                if isinstance(event, WindowUpdated) and event.stream_id:
                    self.windows[event.stream_id] += event.delta or 0
                if isinstance(event, ResponseReceived | TrailersReceived) and event.stream_id and event.headers:
                    told = {str(name): str(value) for name, value in event.headers}
                    if "grpc-status" in told:
                        self.statuses[event.stream_id] = told["grpc-status"], told["grpc-message"]
                if isinstance(event, StreamEnded) and event.stream_id:
                    self.ended.add(event.stream_id)
            self.writer.write(self.h2.data_to_send())


async def _connected(port: int) -> Raw:
    one = Raw(*await asyncio.open_connection("127.0.0.1", port))
    await one.listen(0.1)  # what the router lets everybody send
    return one


async def _free(budget: Budget) -> None:
    async with asyncio.timeout(10):
        while budget.held:  # noqa: ASYNC110  the router tells nobody
            await asyncio.sleep(0.01)


async def test_windows_open_as_far_as_the_bytes_go(start: Any, models: Any, kit: Any) -> None:
    """Of 256 calls of 16 MiB only as many may be sent at once as 64 MiB hold; when one ends, the next may be sent."""
    router = await start(kit.table(kit.route(await models())), grpc_port=0)
    asked = await _connected(router.router.grpc_port)
    size = 15 * MIB
    for stream in range(1, 513, 2):
        asked.begin(stream, size, 5000)
        await asyncio.sleep(0)
    await asked.listen()
    opened = sorted(asked.windows)
    assert opened == [1, 3, 5, 7]
    assert sum(asked.windows.values()) <= CONNECTION_BYTES
    assert router.router.grpc_budget.held == 256 * 5000
    asked.h2.reset_stream(3)
    await asked.listen()
    assert sorted(asked.windows) == [1, 3, 5, 7, 9]
    asked.writer.close()
    await _free(router.router.grpc_budget)


async def test_full_process_refuses_with_a_sentence(start: Any, models: Any, kit: Any) -> None:
    """Bytes beyond what the process may hold end their call as exhausted and are let go; what fits is served."""
    router = await start(kit.table(kit.route(await models())), grpc_port=0)
    budget = router.router.grpc_budget
    budget.most = MIB
    asked = await _connected(router.router.grpc_port)
    for stream in range(1, 65, 2):
        asked.begin(stream, 2 * MIB, 60_000)
        await asked.listen(0.01)
    await asked.listen()
    assert budget.held <= MIB
    held = MIB // 60_000
    assert len(asked.statuses) == 32 - held
    assert set(asked.statuses.values()) == {("8", "the router holds 1 MiB of gRPC messages and answers; try again")}
    async with client(router.router.grpc_port) as other:
        assert labels(await other.infer(raw([60, 1, 1]))) == [1]
    asked.writer.close()
    await _free(budget)


async def test_answers_count_too(start: Any, models: Any, kit: Any) -> None:
    """An answer that finds no room beside what is held ends its call as exhausted, and nothing stays held of it."""
    router = await start(kit.table(kit.route(await models())), grpc_port=0)
    budget = router.router.grpc_budget
    async with client(router.router.grpc_port) as asked:
        request = raw(*[[60, 1, 1]] * 3000)
        budget.most = request.ByteSize() + 1000
        told = await asked.infer(request)
        assert (told.code, told.trailers.get("grpc-retry-pushback-ms")) == ("RESOURCE_EXHAUSTED", "1000")
        assert budget.held == 0
        assert labels(await asked.infer(raw([60, 1, 1]))) == [1]
    assert budget.held == 0


async def test_many_large_calls_are_all_answered(
    start: Any, models: Any, kit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More large calls at once than a connection's bytes hold are answered all the same, one behind the other."""
    router = await start(kit.table(kit.route(await models(binary=True))), grpc_port=0)
    rows = [[60, 1, 1]] * (MIB // 24)
    monkeypatch.setattr(connection, "CONNECTION_BYTES", MIB)
    async with client(router.router.grpc_port) as asked:
        told = await asyncio.gather(*(asked.infer(raw(*rows)) for _ in range(8)))
    assert [labels(one) for one in told] == [[1] * len(rows)] * 8
    assert router.router.grpc_budget.held == 0
