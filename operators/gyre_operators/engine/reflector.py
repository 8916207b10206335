"""Keeps one store like the API server: LIST, then WATCH for ever, whatever happens."""

import asyncio
import logging
import random
from collections.abc import Callable
from typing import NoReturn

import msgspec

from gyre_operators.engine.client import Client
from gyre_operators.engine.errors import ApiError
from gyre_operators.engine.guard import UnavailableError
from gyre_operators.engine.metrics import Metrics
from gyre_operators.engine.project import decode
from gyre_operators.engine.store import Entry, Store

log = logging.getLogger(__name__)

_FIRST_DELAY, _LAST_DELAY = 0.8, 30.0
_ABSENT_DELAY = 60.0
_SHORT = 1.0


class _BookmarkMeta(msgspec.Struct, rename="camel"):
    resource_version: str


class _Bookmark(msgspec.Struct):
    metadata: _BookmarkMeta


_bookmark = msgspec.json.Decoder(_Bookmark)


class Reflector:
    """One stream of one namespace (or of all, with "").

    A watch that ends or breaks goes on from the last version seen. When the server has forgotten
    that version (410), everything is listed again and the store finds out itself what vanished in
    between. No error ends it: it backs off with jitter and says so once.
    """

    def __init__(
        self,
        client: Client,
        store: Store[object],
        metrics: Metrics,
        *,
        namespace: str = "",
        optional: bool = False,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._client = client
        self._store = store
        self._metrics = metrics
        self._namespace = namespace
        self._optional = optional
        self._jitter = jitter
        self._kind = store.source.kind
        self._version: str | None = None
        self._failures = 0
        self.contact = asyncio.get_running_loop().time()
        """Loop time of the last byte from the server."""
        self.trouble = ""
        """Why there is no stream at the moment; "" when there is one."""
        store.expect(namespace)

    @property
    def name(self) -> str:
        """For metrics and health: the plural kind."""
        return self._kind.plural

    async def run(self) -> NoReturn:
        """Reflect until cancelled."""
        while True:
            try:
                if self._version is None:
                    await self._list()
                await self._watch(self._version or "0")
            except ApiError as error:
                await self._after(error)
            except UnavailableError as error:
                await self._pause("broken", str(error))
            except Exception:
                # Whatever it is, a dead reflector would blind the operator for good.
                log.exception("reflector failed", extra={"kind": self._kind.plural})
                self._version = None
                await self._pause("failed", "an unforeseen error, see the log")

    async def _list(self) -> None:
        entries: list[Entry[object]] = []
        version = "0"
        source = self._store.source
        async for page in self._client.pages(self._kind, self._namespace, labels=source.labels, fields=source.fields):
            entries.extend(decode(source, item) for item in page.items or ())
            version = page.metadata.version
            self._heard()
        self._store.replace(entries, int(version), self._namespace)
        self._version = version

    async def _watch(self, version: str) -> None:
        source = self._store.source
        began = asyncio.get_running_loop().time()
        changes = self._client.watch(self._kind, self._namespace, version, labels=source.labels, fields=source.fields)
        async for change in changes:
            self._heard()
            self._failures = 0
            if change.type == "BOOKMARK":
                self._version = _bookmark.decode(change.object).metadata.resource_version
                continue
            entry = decode(source, change.object)
            if change.type == "DELETED":
                self._store.remove(entry.key, entry.version)
            else:
                self._store.upsert(entry)
            self._version = str(entry.version)
        self._heard()
        if asyncio.get_running_loop().time() - began < _SHORT:
            # Something between us and the server closes every stream at once: do not spin.
            self._failures += 1
            await self._back_off()

    async def _after(self, error: ApiError) -> None:
        if error.gone:
            self._version = None
            self._metrics.watch_restarts.labels(self.name, "gone").inc()
            # At once the first time; a server that forgets at every turn is not hammered.
            if self._failures:
                await self._back_off()
            self._failures += 1
        elif error.reason == "NotFound" and self._optional:
            self._store.replace([], 0, self._namespace)
            self._heard()
            self._version = None
            await asyncio.sleep(_ABSENT_DELAY * (0.5 + self._jitter()))
        else:
            await self._pause(error.reason, str(error), error.retry_after)

    async def _pause(self, reason: str, sentence: str, at_least: float = 0.0) -> None:
        if not self.trouble:
            log.warning("watch interrupted", extra={"kind": self._kind.plural, "why": sentence[:500]})
        self.trouble = sentence
        self._metrics.watch_restarts.labels(self.name, reason).inc()
        self._failures += 1
        await self._back_off(at_least)

    async def _back_off(self, at_least: float = 0.0) -> None:
        ceiling = min(_LAST_DELAY, _FIRST_DELAY * 2.0 ** min(self._failures, 10))
        await asyncio.sleep(max(at_least, ceiling * (0.5 + 0.5 * self._jitter())))

    def _heard(self) -> None:
        self.contact = asyncio.get_running_loop().time()
        if self.trouble:
            log.info("watch resumed", extra={"kind": self._kind.plural})
            self.trouble = ""
