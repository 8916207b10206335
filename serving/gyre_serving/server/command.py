"""The container `server` of runtime Python: settings, start, end."""

import argparse
import asyncio
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import uvloop

from gyre_crds.contracts.serving import SERVER_PORT, FetchOrder
from gyre_crds.v1alpha1.version import Signature
from gyre_serving.golden import prove
from gyre_serving.golden.signature import of_version
from gyre_serving.pod.failure import Failure, report
from gyre_serving.pod.http import Server, listen
from gyre_serving.pod.order import Places, golden_rows, order, places
from gyre_serving.pod.readiness import Readiness
from gyre_serving.ports import port as as_port
from gyre_serving.server.app import App
from gyre_serving.server.batcher import Batcher, Limits, Runner
from gyre_serving.server.load import ask, verify
from gyre_serving.server.memory import resident
from gyre_serving.server.metrics import Metrics
from gyre_serving.server.models import load, pieces
from gyre_serving.server.processes.start import ISOLATED
from gyre_serving.server.workers import Workers
from gyre_serving.triton.config import batchable


@dataclass(frozen=True)
class Settings:
    """What the command line says."""

    host: str
    port: int
    workers: int
    deadline: float
    load_deadline: float
    worker_memory: int
    patience: float
    drain: float
    max_body: int


def run(arguments: list[str]) -> int:
    """Serve as `gyre_serving.server.main` says."""
    settings = _settings(arguments)
    try:
        uvloop.run(_serve(order(), places(), settings))
    except Failure as failure:
        code = report(failure)
    else:
        code = 0
    sys.stdout.flush()
    sys.stderr.flush()
    # A model that hangs holds its thread for ever, and interpreters wait for extension threads.
    os._exit(code)


def _settings(arguments: list[str]) -> Settings:
    parser = argparse.ArgumentParser(
        prog="gyre-serving serve",
        description="Serve the version that GYRE_FETCH names from GYRE_MODEL_ROOT (/models) over V2 REST.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--host", default="0.0.0.0", help="address to listen on")  # noqa: S104  a pod's address
    parser.add_argument("--port", type=as_port, default=SERVER_PORT, help="port to listen on")
    parser.add_argument("--workers", type=int, default=min(2, cpus()), help="runs of the model at the same time")
    parser.add_argument("--deadline", type=float, default=30.0, help="seconds until a request is answered 504")
    parser.add_argument("--load-deadline", type=float, default=600.0, help="seconds that loading user code may take")
    parser.add_argument(
        "--worker-memory", type=int, default=0,
        help="MiB that a process of user code may take beyond the loaded version; 0 is its share of what is left",
    )  # fmt: skip
    parser.add_argument("--patience", type=float, default=20.0, help="seconds a failure stands in /readyz")
    parser.add_argument("--drain", type=float, default=30.0, help="seconds answers may take after SIGTERM")
    parser.add_argument("--max-body", type=int, default=64 << 20, help="largest request in bytes")
    return Settings(**vars(parser.parse_args(arguments)))


async def _serve(told: FetchOrder, where: Places, settings: Settings) -> None:
    app = App(told, Readiness(told.version), Metrics(told.name, told.version))
    server = Server(app, max_body=settings.max_body)
    await listen(server, settings.host, settings.port)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    try:
        await _start(told, where, settings, app)
    except Failure as failure:
        app.readiness.down(failure)
        await _until(stopped, settings.patience)
        raise
    await stopped.wait()
    await server.close(settings.drain)
    sys.stdout.write("server stopped\n")


async def _start(told: FetchOrder, where: Places, settings: Settings, app: App) -> None:
    metrics, readiness = app.metrics, app.readiness
    started = time.monotonic()
    readiness.wait(f"{told.version} is verified and loaded")
    await asyncio.to_thread(verify, told, where.tree)
    signature = await asyncio.to_thread(of_version, where.tree)
    workers = await _runner(told, where.tree, signature, settings, metrics)
    limits = Limits(max_rows=told.max_batch, max_delay=told.max_delay_ms / 1000, deadline=settings.deadline)
    joins = _joins(told, signature)
    app.serve(Batcher(workers, limits, joins=joins, metrics=metrics), signature, batched=batchable(signature))
    golden = golden_rows(where.tree)
    message = await prove(lambda inputs: ask(app, signature, inputs), told.version, signature, golden)
    metrics.ready.set(1)
    readiness.up(f"{message}; ready after {time.monotonic() - started:.2f} s")
    sys.stdout.write(f"serving {told.version} as {told.name}: {readiness.message}\n")


async def _runner(told: FetchOrder, tree: Path, signature: Signature, settings: Settings, metrics: Metrics) -> Runner:
    """Processes for a user's code, threads for what runs none."""
    threads = max(1, cpus() // settings.workers)
    piece = told.max_batch if _joins(told, signature) else 0
    if told.format in ISOLATED:
        from gyre_serving.server.processes.pool import Processes  # noqa: PLC0415  ONNX needs none of it
        from gyre_serving.server.processes.worker import Plan  # noqa: PLC0415

        plan = Plan(told.format, tree, signature, threads, piece, settings.workers, settings.worker_memory << 20)
        processes = Processes(plan, settings.deadline, metrics)
        await processes.open(settings.load_deadline)
        return processes
    before = resident()
    model = await asyncio.to_thread(load, told.format, tree, signature, threads)
    metrics.model_bytes.set(max(0, resident() - before))
    metrics.workers.set(settings.workers)
    return Workers(pieces(model.run, piece) if piece else model.run, settings.workers, asyncio.get_running_loop())


def _joins(told: FetchOrder, signature: Signature) -> bool:
    return batchable(signature) and told.max_batch > 1


async def _until(event: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return


def cpus() -> int:
    """CPUs of the container: its limit, which affinity does not show, rounded up."""
    available = len(os.sched_getaffinity(0))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(available, -(-int(quota) // int(period))))
    except (OSError, ValueError):
        return available  # no cgroup v2, or no limit ("max")
