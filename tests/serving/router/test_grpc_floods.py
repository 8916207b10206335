"""Frames that ask nothing: who sends many of them is cut off before they cost the others anything."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import StreamEnded
from h2.settings import SettingCodes
from hyperframe.frame import DataFrame, Frame, HeadersFrame, PingFrame, PriorityFrame, SettingsFrame, WindowUpdateFrame

from gyre_serving.router.grpc.frames import A_SECOND, FIRST, FloodError, Frames
from tests.serving.support.grpc import client, labels, raw

PATH = "/inference.GRPCInferenceService/ModelInfer"


def _opened() -> H2Connection:
    h2 = H2Connection(H2Configuration(client_side=True))
    h2.initiate_connection()
    return h2


def _head(path: str = PATH) -> list[tuple[str, str]]:
    return [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "x")]


def _frame(make: Callable[..., Frame], *given: Any, data: bytes = b"", **more: Any) -> bytes:
    frame: Any = make(*given, **more)
    if data:
        frame.data = data
    return bytes(frame.serialize())


@pytest.mark.parametrize(
    "flood",
    [
        pytest.param(_frame(PingFrame, 0, opaque_data=b"12345678") * 5000, id="pings"),
        pytest.param(_frame(SettingsFrame, 0, settings={4: 1}) * 5000, id="settings"),
        pytest.param(_frame(WindowUpdateFrame, 0, window_increment=1) * 5000, id="windows"),
        pytest.param(_frame(PriorityFrame, 1, depends_on=3) * 5000, id="priorities"),
        pytest.param(_frame(DataFrame, 1) * 5000, id="empty data"),
        pytest.param(_frame(DataFrame, 1, data=b"\0") * 5000, id="data byte by byte"),
        pytest.param(_frame(HeadersFrame, 3, data=b"\0" * 2**20), id="head in a large frame"),
    ],
)
async def test_floods_end_their_connection(start: Any, models: Any, kit: Any, flood: bytes) -> None:
    """Thousands of frames that ask nothing, or a head that does not end, end their connection; the others go on."""
    router = await start(kit.table(kit.route(await models())), grpc_port=0)
    h2 = _opened()
    h2.send_headers(1, _head())
    reader, writer = await asyncio.open_connection("127.0.0.1", router.router.grpc_port)
    writer.write(h2.data_to_send() + flood)
    with contextlib.suppress(ConnectionError):  # what the router did not read any more resets it
        await asyncio.wait_for(reader.read(), 10)
    writer.close()
    async with client(router.router.grpc_port) as asked:
        assert labels(await asked.infer(raw([60, 1, 1]))) == [1]


async def test_windows_opened_bit_by_bit_are_taken(start: Any, models: Any, kit: Any) -> None:
    """A client with little room that reads a large answer in small windows gets all of it, call after call."""
    router = await start(kit.table(kit.route(await models())), grpc_port=0)
    h2 = _opened()
    h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 1024})
    message = raw(*[[60, 1, 1]] * 20_000).SerializeToString()
    whole = b"\0" + len(message).to_bytes(4, "big") + message
    reader, writer = await asyncio.open_connection("127.0.0.1", router.router.grpc_port)
    for stream in (1, 3, 5, 7, 9):
        h2.send_headers(stream, _head())
        ended, got = False, 0
        while not ended:
            while whole and (room := min(h2.local_flow_control_window(stream), h2.max_outbound_frame_size, len(whole))):
                h2.send_data(stream, whole[:room], end_stream=room == len(whole))
                whole = whole[room:]
            writer.write(h2.data_to_send())
            data = await asyncio.wait_for(reader.read(65536), 10)
            assert data, "the connection ended"
            events = h2.receive_data(data)
            ended = any(isinstance(one, StreamEnded) for one in events)
            for event in events:
                if (size := getattr(event, "flow_controlled_length", 0)) > 0:
                    got += size
                    h2.increment_flow_control_window(size)
                    if not ended:
                        h2.increment_flow_control_window(size, stream)
        assert got > 20_000 * 16
        whole = b"\0" + len(message).to_bytes(4, "big") + message
    writer.close()


async def test_clients_choose_no_memory_for_headers(start: Any, models: Any, kit: Any) -> None:
    """However many headers a client would remember, 4 kB of those that were sent are: each new one is sought there."""
    router = await start(kit.table(kit.route(await models())), grpc_port=0)
    h2 = _opened()
    h2.update_settings({SettingCodes.HEADER_TABLE_SIZE: 2**31})
    reader, writer = await asyncio.open_connection("127.0.0.1", router.router.grpc_port)
    for first in range(1, 601, 100):
        streams = set(range(first, first + 100, 2))
        for stream in sorted(streams):
            h2.send_headers(stream, _head(f"/m{stream}"), end_stream=True)
        writer.write(h2.data_to_send())
        while streams:
            data = await asyncio.wait_for(reader.read(65536), 10)
            assert data, "the connection ended"
            streams -= {one.stream_id for one in h2.receive_data(data) if isinstance(one, StreamEnded)}
    writer.close()
    entries = h2.decoder.header_table.dynamic_entries
    assert entries
    assert sum(len(name) + len(value) + 32 for name, value in entries) <= 4096


def test_keepalives_may_go_on_for_ever() -> None:
    """A connection on which nothing is asked may ping as often as keepalives do, and more often for a while only."""
    frames, ping = Frames(32768, 0.0), _frame(PingFrame, 0)
    frames.take(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    for second in range(FIRST * 2):
        frames.passed(float(second))
        for _ in range(A_SECOND):
            frames.take(ping)
    with pytest.raises(FloodError):
        frames.take(ping * (FIRST + A_SECOND + 1))


@pytest.mark.parametrize("size", [1, 5, 9, 26, 1000])
def test_frames_are_told_however_they_come(size: int) -> None:
    """Cut anywhere, the same bytes cost the same: one ping more than a connection has is the one that ends it."""
    frames = Frames(32768, 0.0)
    data = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(DataFrame, 1, data=b"\x06" * 256) + _frame(PingFrame, 0) * FIRST
    for at in range(0, len(data), size):
        frames.take(data[at : at + size])
    with pytest.raises(FloodError):
        frames.take(_frame(PingFrame, 0))
