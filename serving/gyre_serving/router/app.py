"""One router process: built from its parts, run until told to stop, drained without a failed request."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from gyre_crds.contracts.routing import GRPC_TLS_PORT, TLS_PORT
from gyre_serving.ports import cure
from gyre_serving.router.access import AccessLog
from gyre_serving.router.auth.kubernetes import ApiServer, NoCluster
from gyre_serving.router.auth.reviews import Reviews
from gyre_serving.router.auth.tls import TlsFiles, TlsPort
from gyre_serving.router.connection import ClientConnection
from gyre_serving.router.control import Identity, control_app
from gyre_serving.router.data_port import DataPort
from gyre_serving.router.endpoints import Registry
from gyre_serving.router.feedback import Feedback
from gyre_serving.router.grpc.budget import Budget
from gyre_serving.router.identity import Signer, new_id
from gyre_serving.router.metrics import RouterCollector, registry
from gyre_serving.router.payloads.recorder import Recorder
from gyre_serving.router.sources.file import follow_file
from gyre_serving.router.sources.kubernetes import Access, follow_kubernetes
from gyre_serving.router.stats import Stats
from gyre_serving.router.table import Tables
from gyre_serving.router.tokens import REFRESH_SECONDS

logger = logging.getLogger(__name__)

SWEEP_SECONDS = 0.5
BACKLOG = 2048
STORE_SECONDS = 10.0
"""Most seconds that the last parts get."""
QUIET_SECONDS = 1.0
"""After the last listener closed, idle connections may still bring a request that was on its way."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line and the environment say."""

    host: str
    port: int
    control_port: int
    table: Path | None
    """None: watch Kubernetes."""
    access: Access | None
    namespace: str
    pod: str
    feedback_key: str
    drain_delay: float
    """Seconds between the failing readiness and the closing of the listener."""
    drain_timeout: float
    """Most seconds that running requests get."""
    control_host: str | None = None
    """Address of the control port where it is not `host`."""
    shared: bool = False
    """Several processes listen on the data port."""
    tls: TlsFiles | None = None
    """Certificates of the data port over TLS; without them there is no such port."""
    tls_port: int = TLS_PORT
    grpc_port: int | None = None
    """None: no gRPC."""
    grpc_tls_port: int = GRPC_TLS_PORT
    """Of gRPC over TLS, where there are certificates and gRPC."""


class Quiet(uvicorn.Server):
    """uvicorn without its signal handlers: the router drains first."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield


class Router:
    """All parts of a process."""

    def __init__(self, settings: Settings, loop: asyncio.AbstractEventLoop) -> None:
        self._settings = settings
        self._loop = loop
        self._drain_delay = settings.drain_delay
        self.identity = Identity(settings.pod, new_id()[:16])
        self.registry = Registry()
        asks = ApiServer(settings.access) if settings.access is not None else NoCluster()
        self.tables = Tables(self.registry, Stats(), Reviews(asks, loop), loop)
        self.recorder = Recorder(f"{_safe(settings.pod)}-{self.identity.epoch[:6]}")
        self.tables.listeners.append(self.recorder.follow)
        signer = Signer(settings.feedback_key, settings.namespace)
        feedback = Feedback(signer, self.recorder)
        self.access = AccessLog()
        self.port = DataPort(
            tables=self.tables,
            recorder=self.recorder,
            signer=signer,
            feedback=feedback,
            access=self.access,
            loop=loop,
        )
        metrics = registry(RouterCollector(self.tables, self.recorder, feedback, self.access, self._certified))
        self.control = control_app(self.identity, self.tables, self.port, metrics)
        self.stop = asyncio.Event()
        self.ports = (0, 0)
        """Data and control port, once `bound` is set."""
        self.grpc_port = 0
        """Once `bound` is set, where gRPC is served."""
        self.grpc_budget = Budget()
        self.bound = asyncio.Event()
        self.grpc_tls: TlsPort | None = None
        """GRPC over TLS, where there are both."""
        self._servers: list[asyncio.Server] = []

    def stop_now(self) -> None:
        """Stop without the delay that lets others hear of it."""
        self._drain_delay = 0.0
        self.stop.set()

    async def run(self) -> None:
        """Serve until `stop` is set, then drain."""
        settings = self._settings
        data = bound_socket(settings.host, settings.port, shared=settings.shared)
        control_socket = bound_socket(settings.control_host or settings.host, settings.control_port, "--control-port")
        self.ports = data.getsockname()[1], control_socket.getsockname()[1]
        self.port.tls = self._tls_port()
        await self._listen(data)
        self.bound.set()
        control = Quiet(uvicorn.Config(self.control, log_level="warning", access_log=False, lifespan="off"))
        tasks = [
            self._loop.create_task(one)
            for one in (
                self._follow(),
                self.recorder.run(),
                self._sweep(),
                self._read_tokens(),
                self.tables.reviews.watch(self.tables.asks_for_reviews),
                *(one.follow() for one in self._over_tls()),
                control.serve([control_socket]),
            )
        ]
        stopped = self._loop.create_task(self.stop.wait())
        logger.info("routing on %s:%d, control on :%d", settings.host, *self.ports)
        try:
            done, _ = await asyncio.wait([*tasks, stopped], return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopped}:
                task.result()
            await self._drain()
        finally:
            self._close()
            control.should_exit = True
            stopped.cancel()
            for task in tasks[:-1]:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.tables.reviews.close()
            self.tables.close()
            self.registry.close()

    def _certified(self) -> float | None:
        return self.port.tls.until if self.port.tls is not None else None

    def _tls_port(self) -> TlsPort | None:
        settings = self._settings
        if settings.tls is None:
            return None
        made = bound_socket(settings.host, settings.tls_port, "--tls-port", shared=settings.shared, listen=False)
        return TlsPort(settings.tls, self.port, made)

    async def _listen(self, data: socket.socket) -> None:
        """Take connections, of gRPC too where it is asked for."""
        settings = self._settings
        if settings.grpc_port is not None:
            from gyre_serving.router.grpc.connection import GrpcConnection  # noqa: PLC0415  10 MB that REST needs not

            made = bound_socket(settings.host, settings.grpc_port, "--grpc-port", shared=settings.shared)
            self.grpc_port = made.getsockname()[1]
            server = await self._loop.create_server(
                lambda: GrpcConnection(self.port, self.grpc_budget), sock=made, backlog=BACKLOG
            )
            self._servers.append(server)
            self.grpc_tls = self._grpc_tls_port()
            logger.info("gRPC on :%d", self.grpc_port)
        server = await self._loop.create_server(lambda: ClientConnection(self.port), sock=data, backlog=BACKLOG)
        self._servers.append(server)

    def _close(self) -> None:
        """Take no more connections."""
        for server in self._servers:
            server.close()
        for port in self._over_tls():
            port.close()

    def _over_tls(self) -> list[TlsPort]:
        return [one for one in (self.port.tls, self.grpc_tls) if one is not None]

    def _grpc_tls_port(self) -> TlsPort | None:
        from gyre_serving.router.grpc.secure import GrpcTlsPort  # noqa: PLC0415  see _listen

        settings = self._settings
        if settings.tls is None:
            return None
        made = bound_socket(
            settings.host, settings.grpc_tls_port, "--grpc-tls-port", shared=settings.shared, listen=False
        )
        return GrpcTlsPort(settings.tls, self.port, self.grpc_budget, made)

    async def _follow(self) -> None:
        if self._settings.table is not None:
            await follow_file(self._settings.table, self.tables)
        elif self._settings.access is not None:
            await follow_kubernetes(self._settings.access, self.tables, self.registry)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            now = self._loop.time()
            for connection in list(self.port.connections):
                connection.sweep(now)

    async def _read_tokens(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            await asyncio.to_thread(self.tables.keyring.refresh)

    async def _drain(self) -> None:
        """Fail readiness, answer with `connection: close`, stop listening, finish, write the logs."""
        settings = self._settings
        self.port.draining = True
        logger.info("draining: new requests are taken for %g s more", self._drain_delay)
        await asyncio.sleep(self._drain_delay)
        self._close()
        until = self._loop.time() + settings.drain_timeout
        quiet = self._loop.time() + min(QUIET_SECONDS, settings.drain_timeout)
        while self.port.connections and self._loop.time() < until:
            if self._loop.time() >= quiet:
                for connection in list(self.port.connections):
                    connection.close_when_idle()
            await asyncio.sleep(0.02)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.recorder.close(), STORE_SECONDS)
        if self.recorder.lost():
            logger.error(
                "%d bytes of logs were not written in %g s; they are lost", self.recorder.lost(), STORE_SECONDS
            )
        await asyncio.to_thread(self.access.close)
        logger.info("drained; %d connections were cut", len(self.port.connections))


def bound_socket(
    host: str, port: int, option: str = "--port", *, shared: bool = False, listen: bool = True
) -> socket.socket:
    """A bound socket, listening unless told otherwise; `option` gave the port.

    Raises:
        OSError: with the address and the cure.
    """
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind((host, port))
        if listen:
            made.listen(BACKLOG)
    except OSError as error:
        made.close()
        raise OSError(f"cannot listen on {host}:{port}: {error.strerror}; {cure(error, option)}") from error
    return made


def _safe(text: str) -> str:
    return "".join(char if char.isalnum() or char in "-." else "-" for char in text)[:60]


def handle_signals(router: Router, loop: asyncio.AbstractEventLoop) -> None:
    """SIGTERM drains; SIGINT too, but at a terminal nobody needs to hear of the end first."""
    loop.add_signal_handler(signal.SIGTERM, router.stop.set)
    loop.add_signal_handler(signal.SIGINT, router.stop_now)


def serve(settings: Settings) -> None:
    """Run one router until SIGTERM or SIGINT."""
    import uvloop  # noqa: PLC0415  not on platforms without it, where nothing else of the package is hurt

    async def run() -> None:
        loop = asyncio.get_running_loop()
        router = Router(settings, loop)
        handle_signals(router, loop)
        await router.run()

    uvloop.run(run())


def default_pod() -> str:
    """The Pod's uid where the manifest passes it on, else the host's name."""
    return os.environ.get("GYRE_POD_UID") or socket.gethostname()
