"""A gRPC client by the frame: it sends what it is let and counts what that is."""

import asyncio
from collections import Counter

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, ResponseReceived, StreamEnded, TrailersReceived, WindowUpdated

from tests.serving.support.grpc import raw

PATH = "/inference.GRPCInferenceService/ModelInfer"
HEAD = [(":method", "POST"), (":scheme", "http"), (":path", PATH), (":authority", "x")]


class Frames:
    """A client that sends what it is let, and counts what that is."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.h2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.windows: Counter[int] = Counter()
        self.statuses: dict[int, tuple[str, str]] = {}
        self.ended: set[int] = set()
        self.data = bytearray()

    def begin(self, stream: int, size: int, sent: int, *more: tuple[str, str], path: str = PATH) -> None:
        """Open a call with this metadata besides, whose message has so many bytes, of which some are sent."""
        self.h2.send_headers(stream, [(name, path if name == ":path" else value) for name, value in HEAD] + list(more))
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
                        self.statuses[event.stream_id] = told["grpc-status"], told.get("grpc-message", "")
                if isinstance(event, DataReceived):
                    self.data += event.data
                if isinstance(event, StreamEnded) and event.stream_id:
                    self.ended.add(event.stream_id)
            self.writer.write(self.h2.data_to_send())
