"""Processes under load: wrk in front, CPU and memory of the process from /proc."""

import contextlib
import os
import random
import re
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.serving.programs import debian

CORES = sorted(os.sched_getaffinity(0))
CLIENT_CORE, SERVER_CORE = CORES[0], CORES[-1]
TICKS = os.sysconf("SC_CLK_TCK")
QUIET = 1.6
"""Longer than logs wait before they are written."""
LONGEST_REST = 30.0
_PORTS = (15_000, 32_000)
_END_WITH_PARENT = ("setpriv", "--pdeathsig", "TERM")
"""A bench that is killed leaves no program behind: the kernel ends it then."""
_SCALE = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}


@dataclass(frozen=True)
class Command:
    """How a program is started, and the port it will answer on."""

    argv: list[str]
    port: int
    environment: Mapping[str, str] = field(default_factory=dict)
    works_on: bool = False
    """It has work left when it has answered, which counts too."""


@dataclass(frozen=True)
class Started:
    """A started program: its name, port and process."""

    name: str
    port: int
    pid: int
    path: str = "/v2/models/m/infer"
    """Where it takes requests."""
    rows: int = 1
    works_on: bool = False
    """See `Command`."""


@dataclass(frozen=True)
class Round:
    """One round of load."""

    cpu: float
    """Microseconds a request."""
    rate: float
    """Requests a second."""
    p50: float
    """Milliseconds."""
    p99: float


def free_port() -> int:
    """A port that was free just now, below those that the kernel gives to clients: they would take it meanwhile."""
    while True:
        port = random.randrange(*_PORTS)  # noqa: S311  no secret
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@contextlib.contextmanager
def running(command: Command, core: int | None = None, seconds: float = 60, log: Path | None = None) -> Iterator[int]:
    """Run a program, on one core where given, until the block ends; its pid, once the port answers.

    Raises:
        RuntimeError: it ended, or its port did not answer in time.
    """
    argv = [*_END_WITH_PARENT, *([] if core is None else ["taskset", "-c", str(core)]), *command.argv]
    environment = os.environ | dict(command.environment)
    with (
        (log or Path(os.devnull)).open("wb") as out,
        subprocess.Popen(argv, stdout=out, stderr=out, env=environment, start_new_session=True) as process,
    ):
        try:
            _await_port(process, command, time.monotonic() + seconds)
            yield process.pid
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)


def _await_port(process: "subprocess.Popen[bytes]", command: Command, until: float) -> None:
    while True:
        if process.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"{' '.join(command.argv[:4])} did not start")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", command.port)) == 0:
                return
        time.sleep(0.02)


def family(pid: int) -> list[int]:
    """The process and everything it started."""
    found = [pid]
    for one in found:
        with contextlib.suppress(OSError):  # it may have ended just now
            for task in Path(f"/proc/{one}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and its children."""
    total = 0.0
    for one in family(pid):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{one}/stat").read_text().rsplit(")", 1)[1].split()
            total += (int(fields[11]) + int(fields[12])) / TICKS
    return total


def memory(pid: int, field: str = "VmRSS") -> float:
    """MB of the process: what it holds now, or with VmHWM the most that it ever held."""
    found = re.search(rf"^{field}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    if found is None:
        raise RuntimeError(f"/proc/{pid}/status has no {field}")
    return int(found[1]) / 1000


def wrk_script(folder: Path, name: str, body: bytes, headers: Mapping[str, str]) -> Path:
    """A wrk script that posts the body with a sticky key that changes."""
    data, script = folder / f"{name}.body", folder / f"{name}.lua"
    data.write_bytes(body)
    lines = [f'local f = io.open("{data}", "rb"); wrk.body = f:read("*all"); f:close()', 'wrk.method = "POST"']
    lines += [f'wrk.headers["{key}"] = "{value}"' for key, value in headers.items()]
    lines += [
        "local n = 0",
        'request = function() n = n + 1; wrk.headers["x-user"] = "u" .. (n % 1000);',
        "return wrk.format() end",
    ]
    script.write_text("\n".join(lines))
    return script


def measure(target: Started, script: Path, connections: int, seconds: int) -> Round:
    """One round of wrk on the core that no measured program has.

    Raises:
        RuntimeError: when any request failed, for a failed request costs less than an answered one.
    """
    url = f"http://127.0.0.1:{target.port}{target.path}"
    wrk = debian("wrk")
    before, begun = cpu_seconds(target.pid), time.monotonic()
    load = [wrk.path, "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "--timeout", "30s", "-s", str(script)]
    command = ["taskset", "-c", str(CLIENT_CORE), *load, url]
    said = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | wrk.environment).stdout
    lasted = time.monotonic() - begun
    if target.works_on:
        rest(target.pid)
    used = cpu_seconds(target.pid) - before
    if "Non-2xx" in said or "Socket errors" in said:
        raise RuntimeError(f"{target.name}: {said}")
    found = re.search(r"(\d+) requests in", said)
    if found is None or not int(found[1]):
        raise RuntimeError(f"{target.name}: {said}")
    count = int(found[1])
    return Round(used * 1e6 / count, count / lasted, _quantile(said, 50), _quantile(said, 99))


def rest(pid: int) -> None:
    """Wait until a program has done nothing to speak of for `QUIET` seconds."""
    until = time.monotonic() + LONGEST_REST
    before, since = cpu_seconds(pid), time.monotonic()
    while time.monotonic() < min(until, since + QUIET):
        time.sleep(0.1)
        now = cpu_seconds(pid)
        if now - before > 2 / TICKS:
            before, since = now, time.monotonic()


def _quantile(said: str, share: int) -> float:
    found = re.search(rf"^ +{share}% +([\d.]+)(us|ms|s|m) *$", said, re.MULTILINE)
    if found is None:
        raise RuntimeError(said)
    return float(found[1]) * _SCALE[found[2]]


def wait(target: Started, body: bytes, headers: Mapping[str, str], seconds: float = 60) -> float:
    """Until it answers 200; seconds that took.

    Raises:
        RuntimeError: it never does.
    """
    begun = time.monotonic()
    last = ""
    while time.monotonic() - begun < seconds:
        request = urllib.request.Request(
            f"http://127.0.0.1:{target.port}{target.path}", data=body, headers=dict(headers)
        )
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310  http of this machine
                if answer.status == 200:
                    return time.monotonic() - begun
        except urllib.error.HTTPError as error:
            with error:
                last = error.read()[:300].decode("utf-8", "replace")
        except OSError as error:
            last = str(error)
        time.sleep(0.02)
    raise RuntimeError(f"{target.name} does not answer: {last}")
