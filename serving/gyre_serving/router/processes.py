"""Several router processes on one data port: started, restarted, drained together, seen as one router.

Each process listens on the same port (SO_REUSEPORT) and serves its own control port on loopback;
the parent merges these on the public one. The parent never touches a request.
"""

import asyncio
import contextlib
import logging
import multiprocessing
import os
import signal
import socket
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import TYPE_CHECKING

import aiohttp
import uvicorn
from fastapi import FastAPI, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from gyre_crds.contracts.routing import RouterCounters, RouterState
from gyre_serving.router.app import Quiet, Router, Settings, bound_socket, handle_signals
from gyre_serving.router.identity import new_id
from gyre_serving.router.merge import Ended, ProcessMetrics, merged_counters, merged_state
from gyre_serving.router.tuning import tune

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

logger = logging.getLogger(__name__)

READ_SECONDS = 1.0
"""How often the counters are read: at most so much of a killed process is lost."""
PAUSE_SECONDS = 0.5
ASK = aiohttp.ClientTimeout(total=2.0)


@dataclass(slots=True)
class Worker:
    """One process: its number, its control port, and what it counted when it was last asked."""

    number: int
    process: SpawnProcess
    link: Connection
    control: int = 0
    counters: RouterCounters | None = None


def work(settings: Settings, link: Connection, level: int) -> None:
    """A process's main: route until told to stop, or until the parent is gone."""
    tune()
    logging.basicConfig(level=level, format=f"%(asctime)s %(levelname)s [{settings.pod}] %(name)s: %(message)s")

    async def run() -> None:
        loop = asyncio.get_running_loop()
        router = Router(settings, loop)
        handle_signals(router, loop)
        # The link says nothing after the ports; it becomes readable when the parent is gone.
        loop.add_reader(link.fileno(), router.stop.set)
        task = loop.create_task(router.run())
        waiting = loop.create_task(router.bound.wait())
        await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
        if router.bound.is_set():
            link.send(router.ports[1])
        await task

    import uvloop  # noqa: PLC0415  see app.serve

    uvloop.run(run())


class Supervisor:
    """The parent."""

    def __init__(self, settings: Settings, count: int) -> None:
        self._settings = settings
        self._count = count
        self._spawn = multiprocessing.get_context("spawn")
        self._epoch = new_id()[:16]
        self._ended = Ended()
        self._stopping = False
        self.workers: dict[int, Worker] = {}
        self._session: aiohttp.ClientSession | None = None

    async def run(self) -> None:
        """Start, watch and merge until a signal; then let every process drain."""
        settings = self._settings
        control_socket = bound_socket(settings.host, settings.control_port, "--control-port")
        # Bound but not listening: it holds the port between two processes' lives and gets no connection.
        holder = bound_socket(settings.host, settings.port, shared=True, listen=False)
        port = holder.getsockname()[1]
        secure = None
        if settings.tls is not None:
            secure = bound_socket(settings.host, settings.tls_port, "--tls-port", shared=True, listen=False)
            self._settings = replace(settings, tls_port=secure.getsockname()[1])
        held = [holder, *([secure] if secure is not None else []), *self._held_for_grpc()]
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._pass_on, number)
        control = Quiet(uvicorn.Config(self.app(), log_level="warning", access_log=False, lifespan="off"))
        async with aiohttp.ClientSession(timeout=ASK) as self._session:
            serving = loop.create_task(control.serve([control_socket]))
            reading = loop.create_task(self._read_for_ever())
            try:
                await asyncio.gather(*(self._keep(number, port) for number in range(self._count)))
            finally:
                reading.cancel()
                control.should_exit = True
                await asyncio.gather(reading, serving, return_exceptions=True)
                for one in held:
                    one.close()

    def _held_for_grpc(self) -> list[socket.socket]:
        """The ports of gRPC, held as the data port is."""
        settings = self._settings
        if settings.grpc_port is None:
            return []
        held = [bound_socket(settings.host, settings.grpc_port, "--grpc-port", shared=True, listen=False)]
        self._settings = replace(self._settings, grpc_port=held[0].getsockname()[1])
        if settings.tls is not None:
            held.append(
                bound_socket(settings.host, settings.grpc_tls_port, "--grpc-tls-port", shared=True, listen=False)
            )
            self._settings = replace(self._settings, grpc_tls_port=held[1].getsockname()[1])
        return held

    def app(self) -> FastAPI:
        """The merged control port."""
        app = FastAPI(title="Gyre router", docs_url=None, redoc_url=None, openapi_url=None)
        answers: dict[str, Callable[[], Awaitable[Response]]] = {
            "/v1/state": self._state,
            "/v1/counters": self._counters,
            "/metrics": self._metrics,
            "/readyz": self._ready,
            "/docs": self._docs,
            "/openapi.json": self._openapi,
        }
        for path, answer in answers.items():
            app.add_api_route(path, answer)

        @app.get("/healthz")
        async def healthz() -> dict[str, str]:
            """The parent answers; processes that end are started again."""
            return {"status": "ok"}

        return app

    async def _keep(self, number: int, port: int) -> None:
        """One process after the other under this number, until the router stops."""
        while not self._stopping:
            worker = self._start(number, port)
            await self._end_of(worker.process)
            self.workers.pop(number, None)
            if worker.counters is not None:
                self._ended.add(worker.counters)
            worker.link.close()
            if not self._stopping:
                logger.error("process %d ended with %s; it is started again", number, worker.process.exitcode)
                await asyncio.sleep(PAUSE_SECONDS)

    def _start(self, number: int, port: int) -> Worker:
        own, theirs = self._spawn.Pipe()
        chosen = replace(
            self._settings, port=port, control_host="127.0.0.1", control_port=0, shared=True,
            pod=f"{self._settings.pod}-{number}",
        )  # fmt: skip
        level = logging.getLogger().level
        process = self._spawn.Process(target=work, args=(chosen, theirs, level), name=f"router-{number}")
        process.start()
        theirs.close()
        worker = self.workers[number] = Worker(number, process, own)
        asyncio.get_running_loop().add_reader(own.fileno(), self._met, worker)
        return worker

    def _met(self, worker: Worker) -> None:
        """The process told its control port, or is gone."""
        with contextlib.suppress(EOFError, OSError):
            worker.control = worker.link.recv()
        asyncio.get_running_loop().remove_reader(worker.link.fileno())

    async def _end_of(self, process: SpawnProcess) -> None:
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(process.sentinel, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(process.sentinel)
        process.join()

    def _pass_on(self, number: int) -> None:
        self._stopping = True
        for worker in self.workers.values():
            if worker.process.pid is not None and worker.process.is_alive():
                os.kill(worker.process.pid, number)

    async def _read_for_ever(self) -> None:
        while True:
            await asyncio.sleep(READ_SECONDS)
            await self._read_counters()

    async def _read_counters(self) -> list[RouterCounters]:
        for worker, text in (await self._ask_all("/v1/counters")).items():
            known = self.workers.get(worker)
            if known is not None:
                known.counters = RouterCounters.model_validate_json(text)
        return [one.counters for one in self.workers.values() if one.counters is not None]

    async def _ask_all(self, path: str) -> dict[int, str]:
        """Answers of the processes that give one."""
        workers = [one for one in self.workers.values() if one.control]
        answers = await asyncio.gather(*(self._ask(one, path) for one in workers), return_exceptions=True)
        return {
            worker.number: answer[1]
            for worker, answer in zip(workers, answers, strict=True)
            if not isinstance(answer, BaseException) and answer[0] == 200  # noqa: PLR2004
        }

    async def _ask(self, worker: Worker, path: str) -> tuple[int, str]:
        if self._session is None:
            raise ConnectionError
        async with self._session.get(f"http://127.0.0.1:{worker.control}{path}") as answer:
            return answer.status, await answer.text()

    async def _state(self) -> Response:
        """RouterState of all processes together."""
        states = [RouterState.model_validate_json(text) for text in (await self._ask_all("/v1/state")).values()]
        merged = merged_state(self._settings.pod, self._epoch, states)
        return Response(merged.model_dump_json(by_alias=True), media_type="application/json")

    async def _counters(self) -> Response:
        """RouterCounters of all processes together."""
        merged = merged_counters(self._settings.pod, self._epoch, await self._read_counters(), self._ended)
        return Response(merged.model_dump_json(by_alias=True), media_type="application/json")

    async def _metrics(self) -> Response:
        """Prometheus' text format, with a label for the process."""
        texts = {str(number): text for number, text in (await self._ask_all("/metrics")).items()}
        registry = CollectorRegistry()
        registry.register(ProcessMetrics(texts))
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    async def _ready(self) -> Response:
        """200 while any process takes requests."""
        return await self._from_one("/readyz", "application/json")

    async def _docs(self) -> Response:
        """A page for people."""
        return await self._from_one("/docs", "text/html")

    async def _openapi(self) -> Response:
        """OpenAPI of a process, whose paths are those of all."""
        return await self._from_one("/openapi.json", "application/json")

    async def _from_one(self, path: str, kind: str) -> Response:
        """What one process says; 503 while none does."""
        for text in (await self._ask_all(path)).values():
            return Response(text, media_type=kind)
        return Response('{"status": "no process is ready"}', status_code=503, media_type="application/json")


def serve_processes(settings: Settings, count: int) -> None:
    """Run `count` router processes until SIGTERM or SIGINT."""
    asyncio.run(Supervisor(settings, count).run())
