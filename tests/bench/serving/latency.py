"""Latency that a proxy adds at 60 % of the router's capacity: requests come at their times, whatever was answered."""

import asyncio
import contextlib
import os
import statistics
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import cast

import uvloop

from tests.bench.serving import proxies, report, routing
from tests.bench.serving.load import CLIENT_CORE, CORES, Started, cpu_seconds, measure, wrk_script
from tests.bench.serving.options import Options

SHARE = 0.6
MOST = 4000.0
"""Requests a second beyond which this client, on one core with the model server, is late itself."""
LANES = 64
TICK = 0.001
LAST = 2.0
"""Seconds that the last answers get."""
NAMES = ("router", "Envoy")


class Lane(asyncio.Protocol):
    """One kept connection with at most one request under way."""

    def __init__(self, bench: "Arrivals") -> None:
        self._bench = bench
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._due = 0.0
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ready for a request."""
        self._transport = cast("asyncio.Transport", transport)
        self._bench.idle.append(self)

    def ask(self, request: bytes, due: float) -> None:
        """Send a request that should have left at `due`."""
        self._due = due
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Take the answer; the time counts from when the request was due."""
        self._buffer += data
        head, mark, body = self._buffer.partition(b"\r\n\r\n")
        if not mark:
            return
        fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:])
        if len(body) < int(fields[b"content-length"]):
            return
        self._buffer = b""
        self._bench.answered(self, time.monotonic() - self._due, ok=head.startswith(b"HTTP/1.1 200"))

    def connection_lost(self, _exc: Exception | None) -> None:
        """A bench of answers has no use for broken connections."""
        self._bench.broken = self._bench.broken or not self._bench.over


class Arrivals:
    """Requests at a steady rate over `LANES` connections."""

    def __init__(self, port: int, rate: float) -> None:
        body, headers = proxies.bodies()["tiny JSON"]
        head = "".join(f"{key}: {value}\r\n" for key, value in headers.items())
        self._requests = [
            f"POST /v2/models/m/infer HTTP/1.1\r\nHost: a\r\nx-user: u{key}\r\n{head}"
            f"Content-Length: {len(body)}\r\n\r\n".encode() + body
            for key in range(1000)
        ]  # fmt: skip
        self._port, self._rate = port, rate
        self.idle: list[Lane] = []
        self._late: deque[float] = deque()
        self._sent = 0
        self.left: list[float] = []
        """When each request left, seconds."""
        self.seconds: list[float] = []
        self.broken = self.over = False

    def answered(self, lane: Lane, seconds: float, *, ok: bool) -> None:
        """An answer came: the lane takes what waits."""
        self.broken = self.broken or not ok
        self.seconds.append(seconds)
        self.idle.append(lane)
        self._send()

    def _send(self) -> None:
        while self._late and self.idle:
            self._sent += 1
            self.left.append(time.monotonic())
            self.idle.pop().ask(self._requests[self._sent % len(self._requests)], self._late.popleft())

    async def run(self, seconds: float) -> list[float]:
        """Latencies in milliseconds, in order.

        Raises:
            RuntimeError: a request failed.
        """
        loop = asyncio.get_running_loop()
        for _ in range(LANES):
            await loop.create_connection(lambda: Lane(self), "127.0.0.1", self._port)
        begun, count = time.monotonic(), 0
        while (now := time.monotonic()) < begun + seconds:
            while count < (now - begun) * self._rate:
                # Due now and not in between two ticks: the client's clock must not count against a server.
                self._late.append(now)
                count += 1
            self._send()
            await asyncio.sleep(TICK)
        await asyncio.sleep(LAST)
        self.over = True
        if self.broken or len(self.seconds) < count:
            raise RuntimeError(f"{count - len(self.seconds)} of {count} requests were not answered with 200")
        return sorted(1000 * one for one in self.seconds)


def added(options: Options) -> None:
    """p50 and p99 behind each proxy less those of the bare model server, in the same round.

    Beside them what of the p99 is mere waiting in line: requests leave together where the client's core was busy, and a
    proxy of one thread answers them one after the other, each for the CPU that it needs.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        model = stack.enter_context(routing.model_server(folder))
        found = [stack.enter_context(routing.started(name, routing.MAKERS[name], folder, model)) for name in NAMES]
        direct = Started("direct", model, 0)
        script = wrk_script(folder, "tiny", *proxies.bodies()["tiny JSON"])
        rate = min(SHARE * measure(found[0], script, 32, options.seconds).rate, MOST)
        os.sched_setaffinity(0, {CLIENT_CORE})
        stack.callback(os.sched_setaffinity, 0, CORES)
        rounds: dict[str, list[list[float]]] = {one.name: [] for one in (direct, *found)}
        lines: dict[str, list[float]] = {one.name: [] for one in found}
        for _ in range(max(options.rounds, 3)):
            for one in (direct, *found):
                arrivals = Arrivals(one.port, rate)
                before = cpu_seconds(one.pid) if one is not direct else 0.0
                rounds[one.name].append(uvloop.run(arrivals.run(options.seconds)))
                if one is not direct:
                    each = (cpu_seconds(one.pid) - before) / len(arrivals.left)
                    lines[one.name].append(_at(_in_line(arrivals.left, each), 0.99))
        columns = ["path", "p50", "p99", "added p99", "p99 in line alone"]
        report.head(f"Router: latency at {rate:.0f}/s, at most 60 % load", columns)
        bare = [_at(one, 0.99) for one in rounds["direct"]]
        for name, each in rounds.items():
            p99 = [_at(one, 0.99) for one in each]
            more = statistics.median(mine - theirs for mine, theirs in zip(p99, bare, strict=True))
            p50 = statistics.median(_at(one, 0.5) for one in each)
            cells = [f"{more:+.2f} ms", f"{statistics.median(lines[name]):.2f} ms"] if name in lines else ["", ""]
            report.row(name, f"{p50:.2f} ms", f"{statistics.median(p99):.2f} ms", *cells)


def _in_line(left: list[float], each: float) -> list[float]:
    """Milliseconds that requests would take of one thread that needs `each` seconds for one, in order."""
    took, free = [], 0.0
    for at in left:
        free = max(at, free) + each
        took.append(1000 * (free - at))
    return sorted(took)


def _at(values: list[float], share: float) -> float:
    return values[min(len(values) - 1, int(len(values) * share))]
