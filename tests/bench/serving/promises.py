"""What the router promises beside speed: the split it was told."""

import asyncio
import contextlib
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.bench.serving import proxies, report, routing
from tests.bench.serving.load import Started
from tests.bench.serving.options import Options

SECOND = 0.1
"""The share that the table gives to the second revision."""


async def _exchange(port: int, requests: list[bytes], seen: dict[bytes, int]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for request in requests:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        lines = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
        await reader.readexactly(int(lines[b"content-length"]))
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(head.decode("latin-1"))
        seen[lines[b"x-gyre-revision"]] = seen.get(lines[b"x-gyre-revision"], 0) + 1
    writer.close()
    await writer.wait_closed()


_BODY = proxies.bodies()["tiny JSON"][0]


def _request(key: int) -> bytes:
    head = f"POST /v2/models/m/infer HTTP/1.1\r\nhost: a\r\nx-user: user-{key}\r\ncontent-length: {len(_BODY)}\r\n\r\n"
    return head.encode() + _BODY


@contextlib.contextmanager
def _router() -> Iterator[Started]:
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        model = stack.enter_context(routing.model_server(folder))
        yield stack.enter_context(routing.started("router", routing.MAKERS["router"], folder, model))


def split(options: Options) -> None:
    """One request of each of many keys; Pearson's chi-square against 90:10, one degree of freedom."""
    total, seen = options.requests, dict[bytes, int]()
    width = 32

    async def ask(port: int) -> None:
        shares = [[_request(key) for key in range(start, total, width)] for start in range(width)]
        await asyncio.gather(*(_exchange(port, share, seen) for share in shares))

    with _router() as router:
        asyncio.run(ask(router.port))
    second = seen.get(b"r2", 0)
    wanted = total * SECOND
    square = (second - wanted) ** 2 * (1 / wanted + 1 / (total - wanted))
    chance = math.erfc(math.sqrt(square / 2))
    report.head("Router: split error, sticky, weights 90:10", ["keys", "second revision", "chi-square", "p"])
    report.row(str(total), f"{second} ({second / total:.3%})", f"{square:.2f}", f"{chance:.3f}")
