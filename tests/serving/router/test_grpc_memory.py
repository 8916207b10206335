"""What gRPC calls may hold: windows open as far as a connection's bytes go, and a full process says so."""

import asyncio
import gc
from typing import Any
from unittest.mock import MagicMock

import pytest
from h2.settings import SettingCodes

from gyre_serving.router.grpc import connection, sending
from gyre_serving.router.grpc.budget import CONNECTION_BYTES, Budget
from gyre_serving.router.grpc.stream import StreamCall
from tests.serving.support.frames import HEAD, PATH, Frames
from tests.serving.support.grpc import client, labels, raw

MIB = 2**20


async def _connected(port: int) -> Frames:
    one = Frames(*await asyncio.open_connection("127.0.0.1", port))
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
    rows = [[60, 1, 1]] * 10_000
    monkeypatch.setattr(connection, "CONNECTION_BYTES", MIB // 8)
    async with client(router.router.grpc_port) as asked:
        told = await asyncio.gather(*(asked.infer(raw(*rows)) for _ in range(8)))
    assert [labels(one) for one in told] == [[1] * len(rows)] * 8
    assert router.router.grpc_budget.held == 0


async def test_who_waits_no_more_keeps_nobody_waiting(start: Any, models: Any, kit: Any) -> None:
    """A call that ends before there was room for its message lets the next one's come, and leaves nothing behind."""
    router = await start(kit.table(kit.route(await models())), grpc_port=0)
    asked = await _connected(router.router.grpc_port)
    for stream in (1, 3, 5, 7, 9):
        asked.begin(stream, 15 * MIB, 5000)
    asked.begin(11, MIB, 5000)
    for stream in range(13, 113, 2):
        asked.begin(stream, 15 * MIB, 5000, ("grpc-timeout", "1m"))
    await asked.listen()
    assert sorted(asked.windows) == [1, 3, 5, 7]
    (mine,) = (one for one in router.router.port.connections if isinstance(one, connection.GrpcConnection))
    assert len(mine._waiting) == 2
    asked.h2.reset_stream(9)
    await asked.listen()
    assert sorted(asked.windows) == [1, 3, 5, 7, 11]
    asked.writer.close()
    await _free(router.router.grpc_budget)


async def test_lost_streams_leave_no_clock(start: Any, models: Any, kit: Any) -> None:
    """Of a stream that is reset in the breath that opened it nothing is left until its far deadline."""
    router = await start(kit.table(kit.route(await models())), grpc_port=0)
    asked = await _connected(router.router.grpc_port)
    path = PATH.replace("ModelInfer", "ModelStreamInfer")
    for stream in range(1, 101, 2):
        asked.begin(stream, 5000, 5005, ("grpc-timeout", "20H"), path=path)
        asked.h2.reset_stream(stream)
    asked.begin(101, 5000, 5005)
    asked.h2.end_stream(101)
    await asked.listen()
    assert asked.statuses[101]
    asked.writer.close()
    await _free(router.router.grpc_budget)
    async with asyncio.timeout(10):
        while any(isinstance(one, StreamCall) for one in gc.get_objects()):
            gc.collect()
            await asyncio.sleep(0.05)


async def test_answer_waits_alone_and_not_for_ever(
    start: Any, models: Any, kit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a call whose answer waits only that is held, and who takes it byte by byte loses it in the end."""
    monkeypatch.setattr(sending, "LONGEST_SECONDS", 2.0)
    router = await start(kit.table(kit.route(await models()), validation="Off"), grpc_port=0)
    budget = router.router.grpc_budget
    asked = await _connected(router.router.grpc_port)
    asked.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 0})
    request = raw([60] * 10_000)
    request.inputs[0].shape[:] = [1, 10_000]
    data = request.SerializeToString()
    asked.h2.send_headers(1, HEAD)
    for piece in (b"\0" + len(data).to_bytes(4, "big"), data[:15_000], data[15_000:30_000], data[30_000:]):
        asked.h2.send_data(1, piece)
    asked.h2.end_stream(1)
    await asked.listen(1)
    assert 0 < budget.held < 1000
    async with asyncio.timeout(10):
        while budget.held:
            asked.h2.increment_flow_control_window(1, 1)
            asked.writer.write(asked.h2.data_to_send())
            await asyncio.sleep(0.2)
    asked.writer.close()


async def test_opened_windows_do_not_empty_the_router(start: Any, models: Any, kit: Any) -> None:
    """Answers that a client suddenly lets come are given to its connection as fast as it reads, not all at once."""
    router = await start(kit.table(kit.route(await models())), grpc_port=0)
    asked = await _connected(router.router.grpc_port)
    asked.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 0})
    data = raw(*[[60, 1, 1]] * 5000).SerializeToString()
    message = b"\0" + len(data).to_bytes(4, "big") + data
    for stream in range(1, 21, 2):
        asked.h2.send_headers(stream, HEAD)
        for at in range(0, len(message), 16_000):
            asked.h2.send_data(stream, message[at : at + 16_000])
        asked.h2.end_stream(stream)
        await asked.listen(0.05)
    budget = router.router.grpc_budget
    while budget.held < 10 * 80_000:
        await asked.listen(0.2)
    (mine,) = (one for one in router.router.port.connections if isinstance(one, connection.GrpcConnection))
    mine._transport = watched = MagicMock(wraps=mine._transport)
    asked.h2.increment_flow_control_window(2**30)
    asked.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 2**30})
    await asked.listen(1)
    assert len(asked.ended) == 10
    assert max(len(one.args[0]) for one in watched.write.call_args_list) < 100_000
    asked.writer.close()
