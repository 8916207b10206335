"""What the model server answers to which path."""

import time
from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from gyre_crds.contracts.serving import FetchOrder
from gyre_crds.v1alpha1.version import Signature, Tensor
from gyre_serving.pod.http import Answer, Request
from gyre_serving.pod.order import UPSTREAM_VERSION
from gyre_serving.pod.readiness import Readiness
from gyre_serving.server.batcher import Batcher
from gyre_serving.server.errors import Late, ModelError, Overloaded
from gyre_serving.server.metrics import Metrics
from gyre_serving.server.protocol import BadRequest, decode, encode

Route = Callable[[Request], Awaitable[Answer]]


class App:
    """The server's paths; `serve` opens them once the version is loaded.

    Args:
        order: name and version.
        readiness: what `/readyz` says.
        metrics: what `/metrics` says.
    """

    def __init__(self, order: FetchOrder, readiness: Readiness, metrics: Metrics) -> None:
        self._order = order
        self.readiness = readiness
        self.metrics = metrics
        self._batcher: Batcher | None = None
        self._signature: Signature | None = None
        self._batched = True
        name, number = orjson.dumps(order.name), orjson.dumps(UPSTREAM_VERSION)
        self._head = b'{"model_name":%s,"model_version":%s' % (name, number)
        self._gets = self._get_routes()
        self._posts = {f"{base}/infer" for base in self._bases()}

    def serve(self, batcher: Batcher, signature: Signature, *, batched: bool) -> None:
        """Answer predictions from here on; whether the pod is ready is another matter."""
        self._batcher, self._signature, self._batched = batcher, signature, batched

    async def __call__(self, request: Request) -> Answer:
        """Answer one request."""
        if request.path in self._posts:
            return await self._counted(request)
        route = self._gets.get(request.path)
        if route is None:
            return error(404, f"{request.path[:200]} is not here; try POST {self._bases()[1]}/infer")
        if request.method not in {"GET", "HEAD"}:
            return error(405, f"{request.path[:200]} answers GET", {"allow": "GET"})
        return await route(request)

    async def infer(self, request: Request) -> Answer:
        """Answer a request for predictions, ready or not: the golden rows come this way too."""
        if self._batcher is None or self._signature is None:
            return _unavailable(self.readiness.message)
        try:
            query = decode(request, self._signature, batched=self._batched)
            outputs = await self._batcher.submit(query.inputs, query.rows)
        except BadRequest as bad:
            return error(400, str(bad))
        except ModelError as failed:
            return error(500, str(failed))
        except Overloaded:
            return _unavailable("too many requests wait for the model")
        except Late as late:
            return error(504, str(late))
        return encode(query, outputs, head=self._head, signature=self._signature)

    async def _counted(self, request: Request) -> Answer:
        if request.method != "POST":
            return error(405, f"{request.path} answers POST", {"allow": "POST"})
        if request.headers.get("content-encoding", "identity") != "identity":
            return error(415, "content-encoding: send the body as it is")
        started = time.monotonic()
        self.metrics.in_flight.inc()
        try:
            if self.readiness.ready:
                answer = await self.infer(request)
            else:
                answer = _unavailable(self.readiness.message)
        finally:
            self.metrics.in_flight.dec()
        self.metrics.answered(answer.status, time.monotonic() - started)
        return answer

    def _bases(self) -> tuple[str, str]:
        base = f"/v2/models/{self._order.name}"
        return base, f"{base}/versions/{UPSTREAM_VERSION}"

    def _get_routes(self) -> dict[str, Route]:
        routes: dict[str, Route] = {
            "/v2": self._server,
            "/v2/health/live": self._live,
            "/v2/health/ready": self._ready,
            "/healthz": self._live,
            "/readyz": self._ready,
            "/metrics": self._text,
        }
        for base in self._bases():
            routes |= {base: self._model, f"{base}/ready": self._ready}
        return routes

    async def _server(self, _: Request) -> Answer:
        return Answer(200, orjson.dumps({"name": "gyre", "version": "0.1.0", "extensions": ["binary_tensor_data"]}))

    async def _live(self, _: Request) -> Answer:
        if self._batcher is not None and self._batcher.hung():
            return error(503, "every worker is stuck in the model, or cannot be started, for longer than the deadline")
        return Answer(200, b'{"ok":true}')

    async def _ready(self, request: Request) -> Answer:
        alive = await self._live(request)
        return alive if alive.status != 200 else self.readiness.answer()  # noqa: PLR2004

    async def _text(self, _: Request) -> Answer:
        return Answer(200, self.metrics.text(), "text/plain; version=0.0.4; charset=utf-8")

    async def _model(self, _: Request) -> Answer:
        if self._signature is None:
            return _unavailable(self.readiness.message)
        body = {
            "name": self._order.name,
            "versions": [UPSTREAM_VERSION],
            "platform": f"gyre_{self._order.format.lower()}",
            "inputs": [_described(tensor) for tensor in self._signature.inputs],
            "outputs": [_described(tensor) for tensor in self._signature.outputs],
        }
        return Answer(200, orjson.dumps(body))


def error(status: int, message: str, headers: dict[str, str] | None = None) -> Answer:
    """An error as the protocol has it: `{"error": sentence}`."""
    return Answer(status, orjson.dumps({"error": message}), headers=headers or {})


def _unavailable(message: str) -> Answer:
    return error(503, message, {"retry-after": "1"})


def _described(tensor: Tensor) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape}
