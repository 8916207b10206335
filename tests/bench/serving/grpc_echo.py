"""Two gRPC servers that do the same and ask no model: `python -m tests.bench.serving.grpc_echo h2|grpcio PORT`.

Each decodes a request for predictions, writes its binary body, takes a fixed JSON answer and writes the response's
message: what differs is who speaks HTTP/2, the router's own connection on h2 or grpcio's server.
"""

import asyncio
import gc
import json
import sys
from typing import TYPE_CHECKING, Any

import grpc  # type: ignore[import-untyped]
import uvloop
from grpc import aio

from gyre_serving.router.grpc.answers import predictions
from gyre_serving.router.grpc.bodies import forms_of
from gyre_serving.router.grpc.budget import Budget
from gyre_serving.router.grpc.connection import GrpcConnection
from gyre_serving.router.grpc.messages import MESSAGES
from gyre_serving.router.message import Refusal, Request, answer
from gyre_serving.router.order import Recipient

if TYPE_CHECKING:
    from gyre_serving.router.jobs import Connected

LIMIT = 16 * 2**20


def _answer() -> bytes:
    label = {"name": "label", "datatype": "INT64", "shape": [1], "data": [1]}
    return json.dumps({"model_name": "m", "model_version": "1", "outputs": [label]}).encode()


ANSWER = _answer()


class Echo:
    """What the router's connection hands calls to, without any step."""

    draining = False

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.connections: set[Connected] = set()

    def body_limits(self, _request: Request) -> tuple[int, float]:
        """As by default."""
        return LIMIT, 30.0

    def handle(self, request: Request, client: Recipient) -> None:
        """Answer at once."""
        if request.forms is not None:
            request.forms.binary()
        client.write(answer(200, ANSWER))
        client.finish(close=False)

    def refuse(self, _request: Request, _client: Recipient, refusal: Refusal) -> None:
        """Nothing is refused in a bench."""
        raise refusal


async def on_h2(port: int) -> None:
    """The router's connection."""
    loop = asyncio.get_running_loop()
    echo: Any = Echo(loop)
    budget = Budget()
    server = await loop.create_server(lambda: GrpcConnection(echo, budget), "127.0.0.1", port)
    await server.serve_forever()


class _Handlers(grpc.GenericRpcHandler):  # type: ignore[misc]
    """One method, whatever its name."""

    def __init__(self) -> None:
        self._method = grpc.unary_unary_rpc_method_handler(self._infer)

    def service(self, _details: Any) -> Any:
        """The method."""
        return self._method

    async def _infer(self, data: bytes, _context: Any) -> bytes:
        message = MESSAGES["ModelInferRequest"].FromString(data)
        forms_of(message).binary()
        return predictions({}, ANSWER, raw=bool(message.raw_input_contents))


async def on_grpcio(port: int) -> None:
    """The server of grpcio.aio."""
    server = aio.server(options=[("grpc.max_receive_message_length", LIMIT)])
    server.add_generic_rpc_handlers((_Handlers(),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    gc.freeze()
    uvloop.run({"h2": on_h2, "grpcio": on_grpcio}[sys.argv[1]](int(sys.argv[2])))
