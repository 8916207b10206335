"""A routing table in a file: looked at every quarter of a second, whatever way it is replaced."""

import asyncio
from pathlib import Path

from gyre_serving.router.table import Tables

POLL_SECONDS = 0.25


async def follow_file(path: Path, tables: Tables) -> None:
    """Offer the file's content whenever it changes, for ever; a missing file leaves the last table."""
    last: bytes | None = None
    while True:
        try:
            # Read, not stat: a table is small, and a rewrite within one clock tick must not be missed.
            text = await asyncio.to_thread(path.read_bytes)
        except OSError as error:
            tables.missing(f"{path}: {error.strerror}")
            last = None
        else:
            if text != last:
                last = text
                tables.offer(text)
        await asyncio.sleep(POLL_SECONDS)
