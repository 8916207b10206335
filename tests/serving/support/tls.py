"""Requests on a TLS connection that stays, and its end."""

import asyncio
import contextlib
import json
from typing import Any

INFER = "/v2/models/m/infer"


async def close(writer: asyncio.StreamWriter) -> None:
    """Close, and wait for the end: it takes a round trip."""
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rows: Any) -> int:
    """Status of one more request on the connection."""
    return (await exchange(reader, writer, rows))[0]


async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rows: Any) -> tuple[int, bool]:
    """The same, and whether the answer is the connection's last."""
    body = json.dumps(rows([1, 1, 1])).encode()
    writer.write(b"POST %b HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n%b" % (INFER.encode(), len(body), body))
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    length = next(int(line.partition(":")[2]) for line in head.split("\r\n") if line.startswith("content-length:"))
    await reader.readexactly(length)
    return int(head.split(" ")[1]), "connection: close" in head
