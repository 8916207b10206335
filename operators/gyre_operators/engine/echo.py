"""Spares kopf the echo of our own writes: a watch line that a store knows already is left out.

Every status that the operator writes comes back on kopf's watch, and kopf takes about half a millisecond to hand it
to a handler that finds it known. What a store does not know, deletions and bookmarks come through untouched, so
nothing is lost, and kopf's idea of where it stands only lags: after a break it gets the lines once more.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

import aiohttp
import msgspec

from gyre_operators.engine.plan import Key
from gyre_operators.engine.store import Store


class _Meta(msgspec.Struct, rename="camel"):
    name: str = ""
    namespace: str = ""
    resource_version: str = "0"


class _Object(msgspec.Struct):
    metadata: _Meta


class _Line(msgspec.Struct):
    type: str
    object: _Object


_line = msgspec.json.Decoder(_Line)


def without_echo(stores: Sequence[Store[Any]]) -> aiohttp.ClientMiddlewareType:
    """What a session's watches of these kinds have to pass."""
    by_plural = {store.source.kind.plural: store for store in stores}

    async def spare(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        answer = await handler(request)
        store = by_plural.get(request.url.name)
        if store is not None and "watch" in request.url.query and answer.ok:
            answer.content = cast("Any", Unheard(answer.content, store))
        return answer

    return spare


class Unheard:
    """The body of a watch without what `store` knows already; in all else the stream that it wraps."""

    def __init__(self, stream: aiohttp.StreamReader, store: Store[Any]) -> None:
        self._stream = stream
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        """Whole lines, as soon as they are there."""
        rest = b""
        async for chunk in self._stream.iter_chunked(size):
            *lines, rest = (rest + chunk).split(b"\n")
            news = [line + b"\n" for line in lines if line and not self._is_known(line)]
            if news:
                yield b"".join(news)
        if rest:
            yield rest

    def _is_known(self, line: bytes) -> bool:
        try:
            said = _line.decode(line)
            meta, version = said.object.metadata, int(said.object.metadata.resource_version)
        except (msgspec.DecodeError, ValueError):
            return False  # An error, or something new: kopf's to judge.
        if said.type not in ("ADDED", "MODIFIED"):
            return False
        entry = self._store.entry(Key(meta.namespace, meta.name))
        return entry is not None and entry.version >= version
