"""Clients that ask once and then say nothing, and what a process holds for them."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

MANY = 1000

Client = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def clients(port: int, path: str) -> AsyncIterator[list[Client]]:
    """`MANY` connections; each asked for `path`, was answered, and stays open."""
    opened: list[Client] = []

    async def one() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        opened.append((reader, writer))
        writer.write(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        assert head.startswith(b"http/1.1 200")
        await reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r\n")[0]))

    try:
        for _ in range(0, MANY, 100):
            await asyncio.gather(*(one() for _ in range(100)))
        yield opened
    finally:
        for _, writer in opened:
            writer.close()


async def ended(opened: list[Client], seconds: float) -> int:
    """How many connections the server closed within the time."""
    ends = await asyncio.wait_for(asyncio.gather(*(reader.read() for reader, _ in opened)), seconds)
    return sum(end == b"" for end in ends)


def resident(process: int) -> int:
    """Bytes of memory that a process holds."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
