"""Real gRPC clients: grpcio's channel with the messages that Triton's client ships."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import grpc  # type: ignore[import-untyped]
import numpy as np
from grpc import aio
from tritonclient.grpc import service_pb2, service_pb2_grpc  # type: ignore[import-untyped]

Metadata = Sequence[tuple[str, str | bytes]]


class Told(NamedTuple):
    """How a call ended."""

    code: str
    """The status's name."""
    sentence: str
    answer: Any
    """None where it failed."""
    head: dict[str, str]
    trailers: dict[str, str]


class Client:
    """One channel."""

    def __init__(self, channel: aio.Channel) -> None:
        self.channel = channel
        self.stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)

    async def infer(self, request: Any, metadata: Metadata = (), seconds: float | None = 20) -> Told:
        """ModelInfer."""
        return await self.call("ModelInfer", request, metadata, seconds)

    async def call(self, name: str, request: Any, metadata: Metadata = (), seconds: float | None = 20) -> Told:
        """Any unary method."""
        running = getattr(self.stub, name)(request, metadata=metadata, timeout=seconds)
        try:
            answer, sentence = await running, ""
        except aio.AioRpcError as error:
            answer, sentence = None, error.details() or ""
        head, trailers = dict(await running.initial_metadata()), dict(await running.trailing_metadata())
        return Told((await running.code()).name, sentence, answer, head, trailers)


@asynccontextmanager
async def client(port: int, credentials: grpc.ChannelCredentials | None = None) -> AsyncIterator[Client]:
    """A channel of its own, with a connection of its own; without TLS it repeats nothing by itself."""
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", int(credentials is not None))]
    address = f"127.0.0.1:{port}"
    async with (
        aio.insecure_channel(address, options=options)
        if credentials is None
        else aio.secure_channel(address, credentials, options=options)
    ) as channel:
        yield Client(channel)


def typed(*rows: Sequence[float], name: str = "m", **more: Any) -> Any:
    """A request of the test's model with typed contents."""
    request = service_pb2.ModelInferRequest(model_name=name, **more)
    given = request.inputs.add(name="features", datatype="FP32", shape=[len(rows), 3])
    given.contents.fp32_contents.extend(value for row in rows for value in row)
    return request


def raw(*rows: Sequence[float], name: str = "m", **more: Any) -> Any:
    """The same with raw contents, as Triton's client sends them."""
    request = service_pb2.ModelInferRequest(model_name=name, **more)
    request.inputs.add(name="features", datatype="FP32", shape=[len(rows), 3])
    request.raw_input_contents.append(np.array(rows, dtype=np.float32).tobytes())
    return request


def labels(told: Told) -> list[int]:
    """The first output's whole numbers, raw or typed."""
    assert told.code == grpc.StatusCode.OK.name, told.sentence
    if told.answer.raw_output_contents:
        return [int(one) for one in np.frombuffer(told.answer.raw_output_contents[0], np.int64)]
    return list(told.answer.outputs[0].contents.int64_contents)
