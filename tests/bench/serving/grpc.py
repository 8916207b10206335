"""GRPC of the router beside its REST, and the two ways to speak HTTP/2 that were to choose from: CPU a call."""

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from tests.bench.serving import proxies, report
from tests.bench.serving.load import (
    CLIENT_CORE,
    SERVER_CORE,
    Command,
    Round,
    Started,
    cpu_seconds,
    free_port,
    measure,
    running,
    wait,
    wrk_script,
)
from tests.bench.serving.options import Options
from tests.bench.serving.routing import model_server

ROWS = {"tiny": 1, "600 kB raw": 37_500}
REST = {"tiny": "tiny JSON", "600 kB raw": "600 kB binary"}
SERVERS = {"HTTP/2 by h2, no steps": "h2", "HTTP/2 by grpcio.aio, no steps": "grpcio"}


def call(target: Started, connections: int, seconds: int, rows: int) -> Round:
    """One round of calls from a client of grpcio on the other core.

    Raises:
        RuntimeError: when a call failed.
    """
    before, begun = cpu_seconds(target.pid), time.monotonic()
    arguments = [str(one) for one in (target.port, connections, seconds, rows)]
    client = ["taskset", "-c", str(CLIENT_CORE), sys.executable, "-m", "tests.bench.serving.grpc_load", *arguments]
    said = subprocess.run(client, capture_output=True, text=True, check=False)
    used, lasted = cpu_seconds(target.pid) - before, time.monotonic() - begun
    if said.returncode:
        raise RuntimeError(f"{target.name}: {said.stderr[-500:]}")
    found = json.loads(said.stdout)
    return Round(used * 1e6 / found["calls"], found["calls"] / lasted, found["p50"], found["p99"])


def cpu(options: Options) -> None:
    """CPU a call; rounds interleaved."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        model = stack.enter_context(model_server(folder))
        command, port = proxies.router(folder / "router", model), free_port()
        router = replace(command, argv=[*command.argv, "--grpc-port", str(port)])
        pid = stack.enter_context(running(router, SERVER_CORE))
        rest, grpc = Started("router, REST", router.port, pid), Started("router, gRPC", port, pid)
        wait(rest, *proxies.bodies()["tiny JSON"])
        found = [grpc]
        for name, kind in SERVERS.items():
            argv = [sys.executable, "-m", "tests.bench.serving.grpc_echo", kind]
            echo = Command([*argv, str(at := free_port())], at)
            found.append(Started(name, at, stack.enter_context(running(echo, SERVER_CORE))))
        report.head(
            "gRPC: CPU a call (and median latency)", ["body", "connections", rest.name, *[o.name for o in found]]
        )
        for name, rows in ROWS.items():
            script = wrk_script(folder, name.replace(" ", "-"), *proxies.bodies()[REST[name]])
            for count in options.connections:
                rounds: dict[str, list[Round]] = {one.name: [] for one in (rest, *found)}
                for _ in range(options.rounds):
                    rounds[rest.name].append(measure(rest, script, count, options.seconds))
                    for one in found:
                        rounds[one.name].append(call(one, count, options.seconds, rows))
                report.row(name, str(count), *[report.cell(each) for each in rounds.values()])
