"""Mutated HTTP against the router's client connection, with h11 as the judge of what was asked.

    python -m tests.serving.fuzz --cases 1000000

Everything runs in memory: valid pipelined requests are mutated, cut anywhere, and fed to the protocol
object of the data port. For each case, of whatever the bytes are:

- no exception escapes, and no answer says that the router failed;
- what the router understood is a beginning of what h11 understood: same methods, targets, headers, bodies;
- what it would send to a model server reads, for h11, as that one request and nothing behind it;
- answers come whole, in the order of the requests, one each.
"""

import argparse
import random
import re
import sys
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import h11

from gyre_serving.router.connection import ClientConnection
from gyre_serving.router.message import Request, answer
from gyre_serving.router.orders import upstream_head

SEEDS = [
    b"GET /v2 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /v2/health/ready HTTP/1.1\r\nHost: a\r\nAccept: */*\r\nX-A: 1\r\nX-A: 2\r\n\r\n",
    b"POST /v2/models/m/infer HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 41\r\n\r\nGET /inner HTTP/1.1\r\nHost: smuggled\r\n\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: 1\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1a\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
    b"POST /a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc",
    b"GET /a HTTP/1.0\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: a\r\nConnection: close, Upgrade\r\nUpgrade: x\r\nContent-Length: 3\r\n\r\nabc",
    b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
]
PIECES = [
    b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b",", b";", b"Content-Length: 3\r\n", b"Content-Length: 0\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: identity\r\n", b"Transfer-Encoding : chunked\r\n",
    b"Transfer-Encoding:\x0bchunked\r\n", b"0\r\n\r\n", b"0\r\n", b"Host: b\r\n", b"\xff", b"HTTP/1.1", b"HTTP/1.0",
    b"5\r\n", b"-1", b"+", b"0x", b"_", b"ffffffffffffffff\r\n", b"\x0b", b"Upgrade: x\r\n", b"GET ", b"Connection: ",
    b"close", b"keep-alive", b"\r\n folded\r\n", b"X: y\r\n", b"Content_Length: 9\r\n", b"Expect: 100-continue\r\n",
]  # fmt: skip
Reading = tuple[bytes, bytes, dict[bytes, bytes], bytes]
"""Method, target, headers (joined as RFC 9110, 5.3 says), body."""


class Turns:
    """The part of an event loop that the connection uses, run by hand: a real loop costs more than the parser."""

    def __init__(self) -> None:
        self._soon: deque[Callable[[], None]] = deque()

    def time(self) -> float:
        """No time passes."""
        return 0.0

    def call_soon(self, call: Callable[[], None]) -> None:
        """In the next turn."""
        self._soon.append(call)

    def call_later(self, _delay: float, _call: Callable[[], None]) -> None:
        """Never: no time passes."""

    def run(self) -> None:
        """All turns."""
        while self._soon:
            self._soon.popleft()()


class Wire:
    """A transport that keeps what was written."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.closing = False

    def write(self, data: bytes) -> None:
        """Keep."""
        if self.closing:
            raise AssertionError("written after the end")
        self.written += data

    def write_eof(self) -> None:
        """The answer is out."""

    def close(self) -> None:
        """No more."""
        self.closing = True

    abort = close

    def can_write_eof(self) -> bool:
        """As a socket."""
        return True

    def pause_reading(self) -> None:
        """The driver feeds on."""

    resume_reading = pause_reading


@dataclass
class Late:
    """A job that answers when the driver says so."""

    answer: Callable[[], None]

    def abandon(self) -> None:
        """Nobody waits."""

    pause = resume = abandon


@dataclass
class Port:
    """Takes requests as the data port does, and answers each with its number, now or later."""

    loop: Turns
    source: random.Random
    draining: bool = False
    connections: set[ClientConnection] = field(default_factory=set)
    seen: list[Reading] = field(default_factory=list)
    passed: list[tuple[bytes, bytes]] = field(default_factory=list)
    """What a model server would get, and the body that it must read in it."""

    def body_limits(self, _request: Request) -> tuple[int, float]:
        """Generous."""
        return 10_000, 60.0

    def in_doubt(self, _request: Request, _client: ClientConnection) -> None:
        """Everybody is known."""

    def handle(self, request: Request, client: ClientConnection) -> Late | None:
        """Note the request and its form upstream; answer."""
        number, body = len(self.seen), request.content()
        self.seen.append((request.method, request.url, request.headers, body))
        head = upstream_head(b"POST", b"/v2/models/m/versions/1/infer", request, f"id-{number}", len(body))
        self.passed.append((head + b"host: 127.0.0.1\r\n\r\n" + body, body))

        def reply() -> None:
            close = client.closes(request)
            client.write(answer(200, b"%d" % number, close=close))
            client.finish(close=close)

        if self.source.random() < 0.5:
            reply()
            return None
        self.loop.call_soon(reply)
        return Late(reply)


def mutated(source: random.Random) -> bytes:
    """One to four requests, changed in up to four places."""
    data = bytearray(b"".join(source.choices(SEEDS, k=source.randint(1, 4))))
    for _ in range(source.randint(0, 4)):
        place = source.randrange(len(data) + 1)
        match source.randrange(5):
            case 0 | 1:
                # Most rules of HTTP are about lines: half of what is put in goes to the start of one.
                line = data.find(b"\n", place) + 1
                place = line if line and source.random() < 0.5 else place
                data[place:place] = source.choice(PIECES)
            case 2:
                del data[place : place + source.randint(1, 6)]
            case 3 if place < len(data):
                data[place] = source.randrange(256)
            case _:
                end = min(len(data), place + source.randint(1, 20))
                data[place:place] = data[place:end]
    return bytes(data)


def cut(data: bytes, source: random.Random) -> list[bytes]:
    """The bytes as they might arrive."""
    places = sorted(source.randrange(len(data) + 1) for _ in range(source.randrange(5)))
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True) if a != b]


def tolerantly(data: bytes) -> bytes:
    """What a server may overlook and h11 does not: empty lines before a request, and several spaces in its line.

    RFC 9112, 2.2 and 3; neither changes where a request ends, and what the router passes on has its own line.
    """
    line, end, rest = data.lstrip(b"\r\n").partition(b"\n")
    return re.sub(b" +", b" ", line) + end + rest


def strictly(data: bytes, begin: Callable[[bytes], bytes] = bytes) -> list[Reading]:
    """What h11 reads, up to where it refuses, closes or wants more; `begin` is applied before each request."""
    found: list[Reading] = []
    while data := begin(data):
        link = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
        link.receive_data(data)
        try:
            asked, persists = _one(link)
        except h11.RemoteProtocolError:
            return found
        if asked is None:
            return found
        found.append(asked)
        if not persists:
            return found
        data = link.trailing_data[0]
    return found


def _one(link: h11.Connection) -> tuple[Reading | None, bool]:
    request, body = None, b""
    while True:
        event: Any = link.next_event()
        if isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage) and request is not None:
            headers = _joined(request.headers)
            asks = {one.strip().lower() for one in headers.get(b"connection", b"").split(b",")}
            # h11 keeps no HTTP/1.0 connection open; the router does where it is asked to.
            persists = b"close" not in asks and (request.http_version != b"1.0" or b"keep-alive" in asks)
            return (request.method, request.target, headers, body), persists
        else:
            return None, False


def _joined(headers: Any) -> dict[bytes, bytes]:
    joined: dict[bytes, bytes] = {}
    for name, value in headers:
        between = b"; " if name == b"cookie" else b", "
        joined[bytes(name)] = joined[bytes(name)] + between + bytes(value) if name in joined else bytes(value)
    return joined


def statuses(written: bytes) -> list[tuple[int, bytes]]:
    """Status and body of each answer.

    Raises:
        AssertionError: an answer is not whole.
    """
    found = []
    while written:
        head, separator, rest = written.partition(b"\r\n\r\n")
        if not separator:
            raise AssertionError("an answer's head is not whole")
        status = int(head[9:12])
        if status == 100:
            written = rest
            continue
        length = int(head.lower().rpartition(b"content-length: ")[2])
        if len(rest) < length:
            raise AssertionError("an answer's body is not whole")
        found.append((status, rest[:length]))
        written = rest[length:]
    return found


def check(data: bytes, source: random.Random) -> Counter[str]:
    """Run one case; what came of it.

    Raises:
        AssertionError: one of the promises above is broken.
    """
    loop, wire = Turns(), Wire()
    port = Port(loop, source)
    connection = ClientConnection(port)  # type: ignore[arg-type]
    connection.connection_made(wire)  # type: ignore[arg-type]
    for piece in cut(data, source):
        if wire.closing:
            break
        connection.data_received(piece)
        if source.random() < 0.7:
            loop.run()
    loop.run()
    connection.connection_lost(None)
    answers = statuses(bytes(wire.written))
    wanted = strictly(data, tolerantly)
    if [_plain(one) for one in port.seen] != [_plain(one) for one in wanted[: len(port.seen)]]:
        raise AssertionError(f"router: {port.seen}\nh11:    {wanted}")
    for raw, body in port.passed:
        read = strictly(raw)
        if len(read) != 1 or read[0][3] != body:
            raise AssertionError(f"a model server would read {read} in {raw!r}")
    good = [body for status, body in answers if status == 200]
    if good != [b"%d" % number for number in range(len(port.seen))] or len(answers) - len(good) > 1:
        raise AssertionError(f"{len(port.seen)} requests were answered {answers}")
    if any(status == 500 for status, _ in answers):
        raise AssertionError(f"the router failed: {answers}")
    refused = answers[-1][0] if len(answers) > len(good) else 0
    return Counter({"requests": len(good), "refused": bool(refused), "refused though h11 took it": bool(
        refused and len(wanted) > len(port.seen))})  # fmt: skip


def _plain(reading: Reading) -> Reading:
    """Without what means nothing: blanks around values, and the case of a coding's name, which h11 lowers."""
    method, target, headers, body = reading
    plain = {name: b",".join(one.strip(b" \t") for one in value.split(b",")) for name, value in headers.items()}
    if b"transfer-encoding" in plain:
        plain[b"transfer-encoding"] = plain[b"transfer-encoding"].lower()
    return method, target, plain, body


def run(cases: int, seed: int, *, keep: int = 20) -> tuple[Counter[str], list[tuple[bytes, str]]]:
    """Run cases; counts, and the first findings with their bytes."""
    source = random.Random(seed)  # noqa: S311  the same cases for the same seed
    counts: Counter[str] = Counter()
    found: list[tuple[bytes, str]] = []
    for _ in range(cases):
        data = mutated(source)
        try:
            counts += check(data, source)
        except Exception as error:  # noqa: BLE001  whatever escapes is a finding
            counts["findings"] += 1
            if len(found) < keep:
                found.append((data, f"{type(error).__name__}: {error}"))
    return counts, found


def main() -> int:
    """Run and say what was found; 1 where anything was."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    begun, counts, found = time.monotonic(), Counter[str](), []
    block = 10_000
    for number in range(-(-given.cases // block)):
        more, news = run(min(block, given.cases - number * block), given.seed + number)
        counts += more
        found += news
        for data, error in news:
            print(f"{data!r}\n  {error}", flush=True)
        print(f"{min(given.cases, (number + 1) * block)} cases in {time.monotonic() - begun:.0f} s, {dict(counts)}",
              flush=True)  # fmt: skip
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
