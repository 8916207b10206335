"""Bounded logs: what waits for its part is capped in bytes, and what does not fit is dropped and counted.

A part is built and uploaded whole by one PUT (a rename on a directory), so a reader sees it
complete or not at all. While the store is away, parts wait within the same cap.
"""

import asyncio
import io
import logging
import re
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Generic, Protocol, TypeVar

import obstore
import pyarrow as pa
import pyarrow.parquet as pq
from obstore.exceptions import BaseError
from obstore.store import ObjectStore

logger = logging.getLogger(__name__)

PART_BYTES = 4 * 2**20
"""Held bytes at which a part is written before its age asks for it."""
MEMORY_BYTES = 32 * 2**20
"""Most bytes that one log holds, waiting parts included."""
RETRY_SECONDS = 5.0
_STATUS = re.compile(r"status code: (\d{3} [A-Za-z -]+)")
"""How obstore tells the answer of an S3 server, behind what it tried and before the answer's body."""


class Item(Protocol):
    """What a log holds."""

    @property
    def time_us(self) -> int:
        """When it happened, microseconds since the epoch."""
        ...

    def size(self) -> int:
        """Bytes held."""
        ...


T = TypeVar("T", bound=Item)
Encode = Callable[[list[T]], tuple[list[pa.Table], int]]
"""Tables of some items and how many items could not be read. Runs in a thread."""


@dataclass(slots=True)
class LogStats:
    """What became of the items."""

    accepted: int = 0
    written: int = 0
    dropped: int = 0
    """Did not fit into memory."""
    unreadable: int = 0
    """Could not be turned into columns."""
    parts: int = 0
    failures: int = 0
    """Uploads that failed and are tried again."""


@dataclass(frozen=True, slots=True)
class Part:
    """An encoded part."""

    path: str
    body: bytes
    items: int


class PartLog(Generic[T]):
    """Collects items, writes parts by age or size."""

    def __init__(
        self, *, store: ObjectStore, router: str, encode: Encode[T], flush_seconds: float, stats: LogStats
    ) -> None:
        self._store = store
        self._router = router
        self._encode = encode
        self.flush_seconds = flush_seconds
        self.stats = stats
        self._items: list[T] = []
        self._bytes = 0
        self._since = 0.0
        self._parts: deque[Part] = deque()
        self._part_bytes = 0
        self._sequence = 0
        self._retry_at = 0.0
        self._busy = asyncio.Lock()

    def add(self, item: T) -> bool:
        """Take an item, or drop it when memory is full."""
        size = item.size()
        if self._bytes + self._part_bytes + size > MEMORY_BYTES:
            self.stats.dropped += 1
            return False
        if not self._items:
            self._since = time.monotonic()
        self._items.append(item)
        self._bytes += size
        self.stats.accepted += 1
        return True

    def due(self, now: float) -> bool:
        """Whether a part should be written now (monotonic seconds)."""
        if self._parts and now >= self._retry_at:
            return True
        return bool(self._items) and (now - self._since >= self.flush_seconds or self._bytes >= PART_BYTES)

    async def flush(self) -> None:
        """Write everything held; what cannot be uploaded stays for the next time."""
        async with self._busy:
            items, self._items = self._items, []
            held, self._bytes = self._bytes, 0
            if items:
                self._part_bytes += held
                try:
                    self._keep(await asyncio.to_thread(self._encoded, items))
                except asyncio.CancelledError:
                    # The router ends before they are encoded: they are held still, and are told as lost.
                    self._items[:0] = items
                    self._bytes += held
                    raise
                except Exception:
                    # Whatever a part's content does, the service and the other logs go on.
                    logger.exception("a part could not be built; its rows are dropped")
                    self.stats.dropped += len(items)
                finally:
                    self._part_bytes -= held
            await self._upload()

    def _keep(self, parts: list[Part]) -> None:
        self._parts.extend(parts)
        self._part_bytes += sum(len(part.body) for part in parts)

    def waiting(self) -> int:
        """Bytes held."""
        return self._bytes + self._part_bytes

    def _encoded(self, items: list[T]) -> list[Part]:
        tables, unreadable = self._encode(items)
        self.stats.unreadable += unreadable
        first = min(item.time_us for item in items) // 1000
        last = max(item.time_us for item in items) // 1000
        hour = datetime.fromtimestamp(first / 1000, UTC).strftime("%Y-%m-%d-%H")
        parts = []
        for table in tables:
            if not table.num_rows:
                continue
            self._sequence += 1
            sink = io.BytesIO()
            texts = [one.name for one in table.schema if one.type == pa.string() or pa.types.is_dictionary(one.type)]
            # A dictionary of numbers costs more than it saves behind zstd, and statistics would repeat what the
            # part's name says of its time and nobody asks of the rest. (The stubs know no list of names.)
            pq.write_table(
                table,
                sink,
                compression="zstd",
                use_dictionary=texts,  # type: ignore[arg-type]
                write_statistics=False,
                store_schema=False,
            )
            path = f"{hour}/{first}-{last}-{self._router}-{self._sequence}.parquet"
            parts.append(Part(path, sink.getvalue(), table.num_rows))
        return parts

    async def _upload(self) -> None:
        while self._parts:
            part = self._parts[0]
            try:
                await obstore.put_async(self._store, part.path, part.body)
            except (BaseError, OSError) as error:
                self.stats.failures += 1
                self._retry_at = time.monotonic() + RETRY_SECONDS
                logger.warning("%d parts wait for the store, which %s", len(self._parts), _said(error))
                return
            self._parts.popleft()
            self._part_bytes -= len(part.body)
            self.stats.parts += 1
            self.stats.written += part.items


def _said(error: Exception) -> str:
    """What the store did, in a line."""
    if found := _STATUS.search(str(error)):
        return f"answers {found[1]}"
    return f"fails: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
