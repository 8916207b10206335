"""A small honest V2 model server, a router on real sockets in front of it, and a raw client."""

import asyncio
import contextlib
import json
import math
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gyre_crds.contracts.routing import RoutingTable, stamped
from gyre_serving.router.app import Router, Settings
from tests.serving.support.router import Started, launcher

SIGNATURE = {
    "inputs": [{"name": "features", "datatype": "FP32", "shape": [-1, 3], "columns": ["age", "sex", "income"]}],
    "outputs": [
        {"name": "label", "datatype": "INT64", "shape": [-1]},
        {"name": "probabilities", "datatype": "FP32", "shape": [-1, 2]},
    ],
    "prediction": {"output": "label", "score": "probabilities", "positive": 1, "task": "Classification"},
}


@dataclass
class Model:
    """A V2 server on a real port. It answers 1 where the first column is above 50 or missing.

    Like Triton it takes NaN, and fails on null; unlike a mock it parses what it gets and answers
    about that, so a wrong byte anywhere shows.
    """

    version: str = "1"
    delay: float = 0.0
    gate: asyncio.Event | None = None
    """Nothing is answered before it is set."""
    status: int = 200
    host: str = "127.0.0.1"
    port: int = 0
    requests: list[dict[str, Any]] = field(default_factory=list)
    heads: list[dict[str, str]] = field(default_factory=list)
    server: asyncio.Server | None = None
    writers: set[asyncio.StreamWriter] = field(default_factory=set)
    connections: int = 0
    """Connections taken."""
    raw_answer: bytes | None = None
    """Sent instead of an answer, then the connection is closed."""
    chunked: bool = False
    binary: bool = False
    """It says that it takes binary tensors, and answers in their form; else they come back as they are."""

    async def start(self) -> "Model":
        """Listen, on the same port as before if it was started before."""
        self.server = await asyncio.start_server(self._client, self.host, self.port)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    def kill(self) -> None:
        """Die as a killed process does: the port refuses, open connections are reset."""
        if self.server is not None:
            self.server.close()
        for writer in list(self.writers):
            writer.transport.abort()

    @property
    def address(self) -> str:
        """host:port."""
        return f"127.0.0.1:{self.port}"

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.add(writer)
        self.connections += 1
        try:
            while await self._one(reader, writer):
                pass
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass
        finally:
            self.writers.discard(writer)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = head[0].split(" ")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:] if line)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        if path == "/v2":  # what it is, asked now and then, and no request of a client
            told = b'{"extensions":["binary_tensor_data"]}' if self.binary else b'{"extensions":[]}'
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(told), told))
            await writer.drain()
            return False
        self.heads.append({"method": method, "path": path, **headers})
        if self.delay:
            await asyncio.sleep(self.delay)
        if self.gate is not None:
            await self.gate.wait()
        if self.raw_answer is not None:
            writer.write(self.raw_answer)
            await writer.drain()
            return False
        status, answer = self._answer(headers, body)
        text = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        if self.binary and status == 200 and "inference-header-content-length" in headers:
            await self._tell_binary(writer, answer)
            return True
        if self.chunked:
            pieces = b"".join(b"%x\r\n%b\r\n" % (len(text[i : i + 7]), text[i : i + 7]) for i in range(0, len(text), 7))
            writer.write(b"HTTP/1.1 %d X\r\nTransfer-Encoding: chunked\r\n\r\n%b0\r\n\r\n" % (status, pieces))
        else:
            writer.write(
                b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
                % (status, len(text), text)
            )
        await writer.drain()
        return True

    async def _tell_binary(self, writer: asyncio.StreamWriter, answer: dict[str, Any]) -> None:
        blobs = []
        for one, letter in zip(answer["outputs"], "qf", strict=True):
            blobs.append(struct.pack(f"<{len(one['data'])}{letter}", *one.pop("data")))
            one["parameters"] = {"binary_data_size": len(blobs[-1])}
        text = json.dumps(answer).encode()
        body = text + b"".join(blobs)
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nInference-Header-Content-Length: %d\r\n\r\n%b"
            % (len(body), len(text), body)
        )
        await writer.drain()

    def _answer(self, headers: dict[str, str], body: bytes) -> tuple[int, Any]:
        length = headers.get("inference-header-content-length")
        if length is not None and not self.binary:
            return self.status, body
        document = json.loads(body[: int(length)] if length else body) if body else {}
        if length is not None:
            for one in document["inputs"]:
                one["data"] = list(struct.unpack(f"<{(len(body) - int(length)) // 4}f", body[int(length) :]))
        self.requests.append(document)
        if self.status != 200:
            return self.status, {"error": "asked to fail"}
        if not document:
            return 200, {"name": "m", "versions": [self.version]}
        if "keys" in document.get("parameters", {}):
            return 400, {"error": "parameters are strings, numbers or booleans"}
        rows = _rows(document["inputs"][0])
        if any(value is None for row in rows for value in row):
            return 500, {"error": "null is no number"}
        labels = [1 if math.isnan(row[0]) or row[0] > 50 else 0 for row in rows]
        scores = [value for label in labels for value in ((0.1, 0.9) if label else (0.8, 0.2))]
        outputs = [
            {"name": "label", "datatype": "INT64", "shape": [len(rows)], "data": labels},
            {"name": "probabilities", "datatype": "FP32", "shape": [len(rows), 2], "data": scores},
        ]
        named = {"id": document["id"]} if "id" in document else {}
        return 200, {"model_name": "m", **named, "model_version": self.version, "outputs": outputs}


def _rows(given: dict[str, Any]) -> list[list[Any]]:
    data, width = given["data"], given["shape"][1]
    if data and isinstance(data[0], list):
        return list(data)
    return [data[i : i + width] for i in range(0, len(data), width)]


def table(*revisions: dict[str, Any], **service: Any) -> str:
    """The JSON of a table with one service `m`."""
    filled = [{"signature": SIGNATURE, "model": "m", **one} for one in revisions]
    body = {"namespace": "test", "services": [{"name": "m", "revisions": filled, **service}]}
    return json.dumps(stamped(RoutingTable.model_validate(body)).dump())


def route(model: Model, name: str = "r1", weight: int = 100, **more: Any) -> dict[str, Any]:
    """One revision whose backend is the model."""
    return {"revision": name, "version": f"v-{name}", "service": model.address, "weight": weight, **more}


def rows(*values: list[Any], **more: Any) -> dict[str, Any]:
    """A V2 request."""
    tensor = {"name": "features", "datatype": "FP32", "shape": [len(values), 3], "data": list(values)}
    return {"inputs": [tensor], **more}


@dataclass
class Running:
    """A router in this process, on real sockets."""

    router: Router
    url: str
    control: str
    port: int
    session: aiohttp.ClientSession
    table_file: Path
    task: asyncio.Task[None]

    def offer(self, *revisions: dict[str, Any], **service: Any) -> bool:
        """Swap the table at once."""
        return self.router.tables.offer(table(*revisions, **service))

    async def infer(
        self, document: Any, *, path: str = "/v2/models/m/infer", headers: dict[str, str] | None = None
    ) -> tuple[int, Any, Any]:
        """Status, parsed answer, headers."""
        async with self.session.post(self.url + path, data=json.dumps(document), headers=headers) as answer:
            return answer.status, json.loads(await answer.read()), answer.headers

    async def leave(self, data: bytes, seconds: float) -> None:
        """Send, wait, and reset the connection."""
        _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(data)
        await asyncio.sleep(seconds)
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.close()

    async def raw(self, data: bytes, *, eof: bool = False, seconds: float = 5.0) -> bytes:
        """Everything that comes back on one connection until the router closes it."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(data)
        if eof:
            writer.write_eof()
        try:
            return await asyncio.wait_for(reader.read(), seconds)
        finally:
            writer.close()

    async def get_control(self, path: str) -> Any:
        """A JSON document of the control port."""
        async with self.session.get(self.control + path) as answer:
            return json.loads(await answer.read())

    async def stop(self) -> None:
        """Drain and end."""
        self.router.stop.set()
        await self.task


class Namespace:
    """What tests take from here."""

    model = Model
    table = staticmethod(table)
    route = staticmethod(route)
    rows = staticmethod(rows)
    signature = SIGNATURE


@pytest.fixture
def kit() -> type[Namespace]:
    """Builders of models, tables and requests."""
    return Namespace


@pytest.fixture
async def models() -> AsyncIterator[Callable[..., Awaitable[Model]]]:
    """Start model servers that are gone after the test."""
    started: list[Model] = []

    async def start(**more: Any) -> Model:
        started.append(await Model(**more).start())
        return started[-1]

    yield start
    for one in started:
        one.kill()


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Callable[..., Started]]:
    """Start `gyre-serving router` as a process; it is gone after the test."""
    with launcher(tmp_path) as start_process:
        yield start_process


SETTINGS = Settings(
    host="127.0.0.1",
    port=0,
    control_port=0,
    table=None,
    access=None,
    namespace="test",
    pod="pod-1",
    feedback_key="key",
    drain_delay=0.0,
    drain_timeout=5.0,
)


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[Running]]]:
    """Start routers on free ports with a table in a file."""
    running: list[Running] = []

    async def run(text: str | None, **settings: Any) -> Running:
        file = tmp_path / f"table-{len(running)}.json" if text is not None else None
        if file is not None and text is not None:
            file.write_text(text)
        chosen = replace(SETTINGS, table=file, **settings)
        router = Router(chosen, asyncio.get_running_loop())
        task = asyncio.create_task(router.run())
        session = aiohttp.ClientSession()
        await asyncio.wait([task, asyncio.ensure_future(router.bound.wait())], return_when=asyncio.FIRST_COMPLETED)
        data, control_port = router.ports
        control = f"http://127.0.0.1:{control_port}"
        one = Running(router, f"http://127.0.0.1:{data}", control, data, session, file or tmp_path, task)
        running.append(one)
        for _ in range(200 if file else 20):
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(f"{control}/readyz") as answer:
                    if answer.status == 200:
                        break
            await asyncio.sleep(0.02)
        return one

    yield run
    for one in running:
        await one.session.close()
        if not one.task.done():
            await one.stop()
