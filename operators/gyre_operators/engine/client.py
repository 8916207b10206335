"""The one client of the API server: aiohttp, orjson, and the few verbs that Gyre speaks."""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import aiohttp
import msgspec
import orjson
from yarl import URL

from gyre_operators.engine.errors import ApiError, error_from
from gyre_operators.engine.guard import UnavailableError
from gyre_operators.engine.kinds import POD, Kind
from gyre_operators.engine.metrics import Metrics
from gyre_operators.engine.plan import Key, Manifest

if TYPE_CHECKING:
    from prometheus_client import Counter

_JSON = "application/json"
_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"
_METADATA_LIST = f"{_JSON};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,{_JSON}"
_PAGE = 500
_SILENCE = 75.0
"""Seconds without a byte after which a watch counts as frozen; bookmarks come each minute."""


class _ListMeta(msgspec.Struct, rename={"next": "continue", "version": "resourceVersion"}):
    version: str = "0"
    next: str = ""


class Page(msgspec.Struct):
    """One page of a LIST, its items undecoded."""

    metadata: _ListMeta
    items: list[msgspec.Raw] | None = None


class Change(msgspec.Struct):
    """One line of a WATCH: ADDED, MODIFIED, DELETED, BOOKMARK or ERROR, its object undecoded."""

    type: str
    object: msgspec.Raw


_page = msgspec.json.Decoder(Page)
_change = msgspec.json.Decoder(Change)


class Client:
    """Speaks to one API server.

    Every method raises `ApiError` for an answer of 400 or above, and `UnavailableError` when there
    is no answer within the time limit.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        server: str,
        metrics: Metrics,
        *,
        timeout: float = 30.0,
        silence: float = _SILENCE,
    ) -> None:
        self._session = session
        self._server = server.rstrip("/")
        self._host = urlsplit(server).netloc
        self._metrics = metrics
        self._timeout = timeout
        self._silence = silence
        self._counters: dict[tuple[str, int | str], Counter] = {}

    async def get(self, kind: Kind, key: Key) -> dict[str, Any] | None:
        """One object, or None when there is none."""
        try:
            body = await self.send("GET", kind.path(key.namespace, key.name))
        except ApiError as error:
            if error.reason == "NotFound":
                return None
            raise
        return _object(body)

    async def heads(self, kind: Kind, namespace: str) -> tuple[Manifest, ...]:
        """See `controller.Api.heads`."""
        pages = self.pages(kind, namespace, head=True)
        return tuple([orjson.loads(memoryview(item)) async for page in pages for item in page.items or ()])

    async def create(self, kind: Kind, manifest: Manifest, manager: str) -> dict[str, Any]:
        """The object as the server made it; `ApiError` with reason AlreadyExists if it is there."""
        path = kind.path(manifest["metadata"].get("namespace", ""))
        return _object(await self.send("POST", path, params={"fieldManager": manager}, body=manifest))

    async def apply(self, kind: Kind, manifest: Manifest, manager: str) -> dict[str, Any]:
        """Server-side apply; fields that others own are taken over."""
        meta = manifest["metadata"]
        body = await self.send(
            "PATCH",
            kind.path(meta.get("namespace", ""), meta["name"]),
            params={"fieldManager": manager, "force": "true"},
            body=manifest,
            content=_APPLY,
        )
        return _object(body)

    async def merge(
        self, kind: Kind, key: Key, change: Manifest, manager: str, *, subresource: str = ""
    ) -> dict[str, Any]:
        """JSON merge patch; with `metadata.resourceVersion` in it, only over that very version."""
        body = await self.send(
            "PATCH",
            kind.path(key.namespace, key.name, subresource),
            params={"fieldManager": manager},
            body=change,
            content=_MERGE,
        )
        return _object(body)

    async def replace(self, kind: Kind, manifest: Manifest, manager: str) -> dict[str, Any]:
        """PUT; with `metadata.resourceVersion`, only over that very version."""
        meta = manifest["metadata"]
        path = kind.path(meta.get("namespace", ""), meta["name"])
        return _object(await self.send("PUT", path, params={"fieldManager": manager}, body=manifest))

    async def delete(self, kind: Kind, key: Key, uid: str | None = None) -> bool:
        """Delete, dependents in the background; False when it (or that uid) is gone already."""
        options: dict[str, Any] = {"propagationPolicy": "Background"}
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        try:
            await self.send("DELETE", kind.path(key.namespace, key.name), body=options)
        except ApiError as error:
            if error.reason == "NotFound" or (uid is not None and error.reason == "Conflict"):
                return False
            raise
        return True

    async def logs(self, pod: Key, container: str, *, lines: int = 20, limit: int = 16_384) -> str | None:
        """See `controller.Api.logs`."""
        params = {"container": container, "tailLines": str(lines), "limitBytes": str(limit)}
        try:
            body = await self.send("GET", POD.path(pod.namespace, pod.name, "log"), params=params)
        except ApiError as error:
            if error.reason in ("NotFound", "BadRequest"):
                return None
            raise
        return body.decode(errors="replace")

    async def served(self, api_version: str) -> set[str]:
        """The plurals that the server knows of a group and version; empty when it knows none."""
        try:
            answer = _object(await self.send("GET", f"/apis/{api_version}"))
        except ApiError as error:
            if error.reason == "NotFound":
                return set()
            raise
        return {resource["name"] for resource in answer["resources"]}

    async def pages(
        self, kind: Kind, namespace: str, *, labels: str = "", fields: str = "", head: bool = False
    ) -> AsyncIterator[Page]:
        """A consistent LIST, page by page; with `head` only metadata.

        Raises:
            ApiError: `gone` when the pages took longer than the server remembers; begin anew.
        """
        params = _selectors(labels, fields) | {"limit": str(_PAGE)}
        accept = _METADATA_LIST if head else _JSON
        while True:
            body = await self.send("GET", kind.path(namespace), params=params, accept=accept)
            page = _page.decode(body)
            yield page
            if not page.metadata.next:
                return
            params = params | {"continue": page.metadata.next}

    async def watch(
        self, kind: Kind, namespace: str, version: str, *, labels: str = "", fields: str = ""
    ) -> AsyncIterator[Change]:
        """Changes after `version`, bookmarks among them, until the server ends the stream.

        An ERROR line is raised as `ApiError`. A stream without a byte for longer than bookmarks
        take ends as well: some load balancers freeze idle connections silently, and the next
        stream brings what was missed. (Kinds without a watch cache, Events, get no bookmarks.)
        """
        params = _selectors(labels, fields) | {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            # Spread, or all streams of all operators would reconnect in the same second.
            "timeoutSeconds": str(random.randint(240, 600)),  # noqa: S311 -- no secret
        }
        limits = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=self._silence)
        url = self._server + kind.path(namespace)
        try:
            async with self._session.get(url, params=params, timeout=limits) as answer:
                self._count("WATCH", answer.status)
                await _raise_for(answer)
                async for line in _lines(answer.content):
                    change = _change.decode(line)
                    if change.type == "ERROR":
                        status = bytes(change.object)
                        raise error_from(orjson.loads(status).get("code", 500), status)
                    yield change
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise UnavailableError("API server", _sentence(error)) from error

    async def send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Any = None,
        content: str = _JSON,
        accept: str = _JSON,
    ) -> bytes:
        """One request; the body of the answer."""
        headers = {"Accept": accept}
        data = None
        if body is not None:
            headers["Content-Type"] = content
            data = orjson.dumps(body)
        try:
            async with (
                asyncio.timeout(self._timeout),
                self._session.request(method, self._url(path, params), data=data, headers=headers) as answer,
            ):
                self._count(method, answer.status)
                await _raise_for(answer)
                return await answer.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            self._count(method, "<error>")
            raise UnavailableError("API server", _sentence(error)) from error

    def _url(self, path: str, params: Mapping[str, str] | None) -> URL:
        # Put together by hand: names of Kubernetes need no escapes, and the queries are few.
        query = f"?{_query(tuple(params.items()))}" if params else ""
        return URL(f"{self._server}{path}{query}", encoded=True)

    def _count(self, method: str, code: int | str) -> None:
        counter = self._counters.get((method, code))
        if counter is None:
            counter = self._counters[method, code] = self._metrics.requests.labels(str(code), method, self._host)
        counter.inc()


def _selectors(labels: str, fields: str) -> dict[str, str]:
    pairs = {"labelSelector": labels, "fieldSelector": fields}
    return {name: value for name, value in pairs.items() if value}


@lru_cache(maxsize=256)
def _query(params: tuple[tuple[str, str], ...]) -> str:
    return urlencode(params)


def _object(body: bytes) -> dict[str, Any]:
    decoded: dict[str, Any] = orjson.loads(body)
    return decoded


async def _raise_for(answer: aiohttp.ClientResponse) -> None:
    if answer.status >= 400:  # noqa: PLR2004 -- HTTP's own border between answers and errors
        raise error_from(answer.status, await answer.read(), answer.headers.get("Retry-After"))


async def _lines(stream: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Lines of any length; the stream's own readline gives up at 64 KiB."""
    rest = b""
    while chunk := await _chunk(stream):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line:
                yield line


async def _chunk(stream: aiohttp.StreamReader) -> bytes:
    """What comes next; nothing at the end, and nothing when it was silent for too long."""
    try:
        return await stream.readany()
    except aiohttp.SocketTimeoutError:
        return b""


def _sentence(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(error) or type(error).__name__
