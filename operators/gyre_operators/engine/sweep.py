"""Keeps the stores of Gyre's own kinds honest: kopf delivers their changes, this finds the rest.

kopf lists again after a gap without telling what was deleted in it, and forgets events it failed
to hand over. A metadata LIST now and then is cheap and finds both.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Any, NoReturn

import msgspec

from gyre_operators.engine.client import Client
from gyre_operators.engine.errors import ApiError
from gyre_operators.engine.guard import UnavailableError
from gyre_operators.engine.metrics import Metrics
from gyre_operators.engine.plan import Key
from gyre_operators.engine.project import decode, entry_of
from gyre_operators.engine.store import Entry, Store

log = logging.getLogger(__name__)

_FEW = 20
"""More objects than this behind are fetched by one LIST instead of one by one."""


class Sweeper:
    """The first LIST and the periodic comparison of one of Gyre's kinds in one namespace."""

    def __init__(
        self,
        client: Client,
        store: Store[Any],
        metrics: Metrics,
        *,
        namespace: str = "",
        every: float = 60.0,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._client = client
        self._store = store
        self._metrics = metrics
        self._namespace = namespace
        self._every = every
        self._jitter = jitter
        self.contact = asyncio.get_running_loop().time()
        """Loop time of the last answer from the server."""
        self.trouble = ""
        """Why the last look failed; "" when it did not."""
        store.expect(namespace)

    @property
    def name(self) -> str:
        """For metrics and health: the plural kind."""
        return self._store.source.kind.plural

    async def run(self) -> NoReturn:
        """Sweep until cancelled."""
        listed = False
        while True:
            try:
                await (self.compare() if listed else self.fill())
                listed = True
                self._well()
            except (ApiError, UnavailableError) as error:
                self._ill(str(error))
            except Exception:
                log.exception("sweep failed", extra={"kind": self.name})
                self._ill("an unforeseen error, see the log")
            pause = min(self._every, 5.0) if self.trouble or not listed else self._every
            await asyncio.sleep(pause * (0.75 + 0.5 * self._jitter()))

    async def fill(self) -> None:
        """Take over a whole LIST."""
        kind, source = self._store.source.kind, self._store.source
        entries: list[Entry[Any]] = []
        version = "0"
        async for page in self._client.pages(kind, self._namespace):
            entries.extend(decode(source, item) for item in page.items or ())
            version = page.metadata.version
        self._store.replace(entries, int(version), self._namespace)

    async def compare(self) -> None:
        """Remove what is gone, fetch what is missing or older than the server's."""
        kind = self._store.source.kind
        listed: dict[Key, int] = {}
        version = "0"
        async for page in self._client.pages(kind, self._namespace, head=True):
            listed |= _keys_of(page.items or [])
            version = page.metadata.version
        lost = self._store.retain(listed, int(version), self._namespace)
        behind = [key for key, newest in listed.items() if self._version(key) < newest]
        if len(behind) > _FEW:
            await self.fill()
            found = len(behind)
        else:
            found = sum([await self._fetch(key) for key in behind])
        self._metrics.swallowed.labels(self.name).inc(lost + found)

    async def _fetch(self, key: Key) -> bool:
        body = await self._client.get(self._store.source.kind, key)
        return body is not None and self._store.upsert(entry_of(self._store.source, body))

    def _version(self, key: Key) -> int:
        entry = self._store.entry(key)
        return entry.version if entry else -1

    def _well(self) -> None:
        self.contact = asyncio.get_running_loop().time()
        if self.trouble:
            log.info("listing resumed", extra={"kind": self.name})
        self.trouble = ""

    def _ill(self, sentence: str) -> None:
        if not self.trouble:
            log.warning("listing failed", extra={"kind": self.name, "why": sentence[:500]})
        self.trouble = sentence


class _Named(msgspec.Struct, rename="camel"):
    name: str
    resource_version: str
    namespace: str = ""


class _Head(msgspec.Struct):
    metadata: _Named


def _keys_of(items: list[msgspec.Raw]) -> dict[Key, int]:
    """Key and version of each item of a metadata LIST."""
    metas = (msgspec.json.decode(item, type=_Head).metadata for item in items)
    return {Key(meta.namespace, meta.name): int(meta.resource_version) for meta in metas}
