"""Version swaps under load: a pod of the built-in server for each version behind the router, and Triton by hand."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from gyre_crds.contracts.routing import REVISION_HEADER, RoutingTable, stamped
from gyre_serving.pod.order import Places
from gyre_serving.triton import render
from tests.bench.serving import report, servers
from tests.bench.serving import triton as by_hand
from tests.bench.serving.load import CLIENT_CORE, Command, Started, free_port, running, wait, wrk_script
from tests.bench.serving.options import Options
from tests.bench.serving.programs import Missing, debian
from tests.serving.support.versions import Version, publish, signature

INFER = "/v2/models/census/infer"
CLIENTS = 8


@dataclass
class Traffic:
    """What wrk counted."""

    requests: int = 0
    failed: int = 0


@contextlib.contextmanager
def _traffic(port: int, folder: Path) -> Iterator[Traffic]:
    """Clients that ask without pause until the block ends."""
    wrk, script = debian("wrk"), wrk_script(folder, "swap", servers.v2(1), servers.KIND)
    load = [wrk.path, "-t1", f"-c{CLIENTS}", "-d3600s", "--timeout", "30s", "-s", str(script)]
    command = ["taskset", "-c", str(CLIENT_CORE), *load, f"http://127.0.0.1:{port}{INFER}"]
    counted = Traffic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | wrk.environment) as process:
        try:
            yield counted
        finally:
            process.send_signal(signal.SIGINT)
            said, _ = process.communicate(timeout=60)
    found = re.search(r"(\d+) requests in", said)
    if found is None:
        raise RuntimeError(said)
    counted.requests = int(found[1])
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", said)
    other = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    counted.failed = (int(other[1]) if other else 0) + (sum(map(int, errors.groups())) if errors else 0)


def _table(path: Path, number: int, port: int) -> None:
    """One revision with all traffic, in place of the table that was there."""
    revision = {"revision": f"r{number}", "version": f"v{number}", "service": f"127.0.0.1:{port}", "model": "census",
                "weight": 100, "upstreamVersion": "1"}  # fmt: skip
    service = {"name": "census", "revisions": [revision]}
    table = stamped(RoutingTable.model_validate({"namespace": "bench", "services": [service]}))
    new = path.with_suffix(".new")
    new.write_text(json.dumps(table.dump()))
    new.rename(path)


def _follows(port: int, number: int) -> None:
    """Wait until the router sends requests to the revision."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        request = urllib.request.Request(f"http://127.0.0.1:{port}{INFER}", servers.v2(1), servers.KIND)
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310  http of this machine
            if answer.headers[REVISION_HEADER] == f"r{number}":
                return
        time.sleep(0.02)
    raise RuntimeError(f"the router never went to revision r{number}")


@contextlib.contextmanager
def _pod(server: servers.Server) -> Iterator[int]:
    """A pod of the built-in server that is ready; its port."""
    with running(server.command) as pid:
        wait(Started("built-in", server.command.port, pid, server.path), server.body(1), servers.KIND)
        yield server.command.port


def _built_in(folder: Path, versions: list[Version], swaps: int) -> Traffic:
    """Each swap: a new pod is ready, the table names it, the router follows, the old pod is told to end."""
    folder.mkdir()
    both = [servers.built_in(folder / str(at), version, batch=64, delay=2) for at, version in enumerate(versions)]
    table, port = folder / "table.json", free_port()
    argv = [sys.executable, "-m", "gyre_serving", "router", "--table", str(table), "--host", "127.0.0.1"]
    argv += ["--port", str(port), "--control-port", "0", "--drain-delay", "0"]
    with contextlib.ExitStack() as stack:
        pods = stack.enter_context(contextlib.ExitStack())  # entered before the clients, so that it ends after them
        old = pods.enter_context(contextlib.ExitStack())
        _table(table, 0, old.enter_context(_pod(both[0])))
        router = Started("router", port, stack.enter_context(running(Command(argv, port))), INFER)
        wait(router, servers.v2(1), servers.KIND)
        counted = stack.enter_context(_traffic(port, folder))
        for number in range(1, swaps + 1):
            new = pods.enter_context(contextlib.ExitStack())
            _table(table, number, new.enter_context(_pod(both[number % 2])))
            _follows(port, number)
            old.close()
            old = new
    return counted


def _triton(folder: Path, versions: list[Version], swaps: int) -> Traffic:
    """Each swap: the next number is laid out beside the one that serves, and the model is loaded over itself."""
    order = versions[0].order()
    command, load = by_hand.server(folder, order)
    repository = Places(folder / "models").repository
    with running(command):
        load()
        wait(Started("Triton", command.port, 0, INFER), servers.v2(1), servers.KIND)
        with _traffic(command.port, folder) as counted:
            for number in range(2, swaps + 2):
                shutil.rmtree(repository / order.name / str(number - 2), ignore_errors=True)
                render(order, signature(), tree=versions[number % 2].tree, repository=repository, number=number)
                load()
    return counted


def swapped(options: Options) -> None:
    """Failed requests while pods of the built-in server come and go behind the router."""
    _report("Version swaps under load: router and built-in server", _built_in, options.swaps)


def swapped_by_hand(options: Options) -> None:
    """Failed requests while versions are loaded over each other by hand on a Triton without a router."""
    _report("Version swaps under load: Triton, load-over by hand", _triton, options.swaps)


def _report(title: str, run: Callable[[Path, list[Version], int], Traffic], swaps: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        versions = [publish(folder / f"store{seed}", seed=seed) for seed in (0, 1)]
        begun = time.monotonic()
        try:
            counted = run(folder / "run", versions, swaps)
        except Missing as error:
            report.say(f"{title} is left out: {error}")
            return
        report.head(title, ["swaps", "seconds", "requests", "failed"])
        report.row(str(swaps), f"{time.monotonic() - begun:.0f}", str(counted.requests), str(counted.failed))
