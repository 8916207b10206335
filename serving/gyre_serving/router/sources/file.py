"""A routing table in a file: looked at every quarter of a second, whatever way it is replaced."""

import asyncio
import logging
import os
from pathlib import Path

from gyre_crds.contracts.routing import RoutingTable
from gyre_serving.router.reading import Refused, parse
from gyre_serving.router.table import Tables

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.25


def check_start(path: Path) -> None:
    """See whether a router can start with this file; once it runs, it keeps its last table instead.

    Raises:
        ValueError: the file, its table or a directory of tokens that it names is unusable; says which and the cure.
    """
    try:
        table = parse(path.read_bytes())
    except OSError as error:
        raise ValueError(f"--table {path}: {error.strerror}; write the routing table there before the start") from error
    except Refused as refused:
        raise ValueError(f"--table {path}: {refused}") from refused
    _check_tokens(table)


def _check_tokens(table: RoutingTable) -> None:
    for service in table.services:
        directory = service.auth.tokens if service.auth is not None else None
        if directory is None:
            continue
        try:
            os.scandir(directory).close()
        except OSError as error:
            raise ValueError(
                f"services.{service.name}.auth.tokens: {directory}: {error.strerror}; make it a directory that this "
                "user may read, with one file a caller, or leave tokens out"
            ) from error


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
                if not tables.offer(text):
                    logger.warning("%s: %s; the last table stays", path, tables.refused)
        await asyncio.sleep(POLL_SECONDS)
