"""The logs of all services: made from the table's rules, flushed in the background, emptied at the end."""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa
from obstore.exceptions import BaseError

from gyre_crds.contracts.routing import PayloadRule
from gyre_serving.router.payloads.columns import payload_table
from gyre_serving.router.payloads.log import LogStats, PartLog
from gyre_serving.router.payloads.records import Label, Layout, Record, feedback_table
from gyre_serving.router.payloads.store import open_store
from gyre_serving.router.service import Compiled, Revision

logger = logging.getLogger(__name__)

TICK_SECONDS = 0.25
AGAIN_SECONDS = 1.0
"""How long a router that ends leaves a store alone which did not take what is held."""
FEEDBACK_SECONDS = 5.0
"""Longest age of an acknowledged label that only memory holds."""


@dataclass(slots=True)
class Logs:
    """The two logs of a service, and the rule they were made from."""

    rule: PayloadRule
    payloads: PartLog[Record]
    labels: PartLog[Label]
    layouts: dict[str, Layout]
    """Revision to columns."""


class Recorder:
    """Takes records and labels by service."""

    def __init__(self, router: str) -> None:
        self._router = router
        self._logs: dict[str, Logs] = {}
        self._retired: list[PartLog[Record] | PartLog[Label]] = []
        self.payload_stats: dict[str, LogStats] = {}
        self.label_stats: dict[str, LogStats] = {}
        self.problems: dict[str, str] = {}
        """Service to why it has no log."""

    def follow(self, compiled: Compiled) -> None:
        """Make, keep or retire logs so that they are the table's."""
        for name in set(self._logs) - set(compiled.services):
            self._retire(name)
        for service in compiled.services.values():
            rule = service.route.payloads
            if rule is None:
                self._retire(service.name)
                continue
            logs = self._logs.get(service.name)
            if logs is None or logs.rule != rule:
                self._retire(service.name)
                logs = self._open(service.name, rule)
            if logs is not None:
                logs.layouts.update(_layouts(service.revisions, rule))

    def logs(self, service: str) -> Logs | None:
        """The logs of a service; None when it keeps none."""
        return self._logs.get(service)

    async def run(self) -> None:
        """Flush what is due, for ever."""
        # Arrow's own allocator keeps what a part took; the C library's gives it to the next bodies.
        pa.set_memory_pool(pa.system_memory_pool())
        while True:
            await asyncio.sleep(TICK_SECONDS)
            now = time.monotonic()
            # Side by side: a store that hangs must not hold up another service's.
            await self._flush([log for log in self._all() if log.due(now)])
            self._retired = [log for log in self._retired if log.waiting()]

    async def close(self) -> None:
        """Write everything that is held, however often that takes: whoever waits no longer cancels it."""
        await self._flush(self._all())
        while self.lost():
            await asyncio.sleep(AGAIN_SECONDS)
            await self._flush(self._all())

    def lost(self) -> int:
        """Bytes that are not written yet."""
        return sum(log.waiting() for log in self._all())

    async def _flush(self, logs: "list[PartLog[Record] | PartLog[Label]]") -> None:
        for result in await asyncio.gather(*(log.flush() for log in logs), return_exceptions=True):
            if isinstance(result, Exception):
                # Nothing that a log meets may end the router.
                logger.error("a log could not be written; it is tried again", exc_info=result)

    def _all(self) -> list[PartLog[Record] | PartLog[Label]]:
        live = [log for logs in self._logs.values() for log in (logs.payloads, logs.labels)]
        return [*live, *self._retired]

    def _retire(self, name: str) -> None:
        logs = self._logs.pop(name, None)
        if logs is None:
            return
        for log in (logs.payloads, logs.labels):
            log.flush_seconds = 0
            self._retired.append(log)

    def _open(self, name: str, rule: PayloadRule) -> Logs | None:
        try:
            payload_store = open_store(rule.prefix)
            label_store = open_store(rule.feedback_prefix)
        except (BaseError, OSError, ValueError) as error:
            self.problems[name] = str(error)
            logger.warning("%s: payloads are not logged: %s", name, error)
            return None
        self.problems.pop(name, None)
        layouts: dict[str, Layout] = {}
        logs = Logs(
            rule=rule,
            payloads=PartLog(
                store=payload_store,
                router=self._router,
                encode=_payload_encoder(layouts),
                flush_seconds=rule.flush_seconds,
                stats=self.payload_stats.setdefault(name, LogStats()),
            ),
            labels=PartLog(
                store=label_store,
                router=self._router,
                encode=_encode_labels,
                flush_seconds=min(rule.flush_seconds, FEEDBACK_SECONDS),
                stats=self.label_stats.setdefault(name, LogStats()),
            ),
            layouts=layouts,
        )
        self._logs[name] = logs
        return logs


def _layouts(revisions: tuple[Revision, ...], rule: PayloadRule) -> dict[str, Layout]:
    redact = frozenset(rule.redact)
    return {
        one.route.revision: Layout(one.route.signature, redact, rule.label_sample)
        for one in revisions
        if one.route.signature is not None
    }


def _payload_encoder(layouts: dict[str, Layout]) -> Callable[[list[Record]], tuple[list[pa.Table], int]]:
    def encode(records: list[Record]) -> tuple[list[pa.Table], int]:
        keys = {revision: layout.key() for revision, layout in layouts.copy().items()}
        groups: dict[str, tuple[Layout, list[Record]]] = {}
        tables, unreadable = [], 0
        for record in records:
            key = keys.get(record.revision)
            if key is None:
                unreadable += 1  # its revision has no signature, or left with a table before this log was opened
                continue
            if key not in groups:
                groups[key] = layouts[record.revision], []
            groups[key][1].append(record)
        for layout, members in groups.values():
            table, skipped = payload_table(members, layout)
            tables.append(table)
            unreadable += skipped
        return tables, unreadable

    return encode


def _encode_labels(labels: list[Label]) -> tuple[list[pa.Table], int]:
    numbers = [one for one in labels if not isinstance(one.label, str)]
    texts = [one for one in labels if isinstance(one.label, str)]
    return [feedback_table(group) for group in (numbers, texts) if group], 0
