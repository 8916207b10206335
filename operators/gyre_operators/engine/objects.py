"""The object store, read by URI: reports, manifests and digests that other planes wrote."""

from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.exceptions import NotFoundError as ObjectNotFound
from obstore.store import ObjectStore, from_url

from gyre_operators.engine.guard import Guard
from gyre_operators.settings import StoreSettings

_READ_LIMIT = 8 * 2**20


class Objects:
    """Small reads and create-only writes, guarded.

    Every method raises `UnavailableError` when the store is away or refuses the credential.
    """

    def __init__(self, settings: StoreSettings, guard: Guard | None = None) -> None:
        self._settings = settings
        self._guard = guard or Guard("object store", timeout=20.0)
        self._roots: dict[str, ObjectStore] = {}

    def base(self, namespace: str) -> str:
        """The URI under which a namespace's objects live, without a slash at its end."""
        return f"{self._settings.uri.rstrip('/')}/{namespace}"

    async def read(self, uri: str) -> bytes | None:
        """An object's bytes, or None when there is none.

        Raises:
            ValueError: it is larger than 8 MiB; the operator reads documents, not data.
        """
        store, path = self._locate(uri)

        async def call() -> bytes | None:
            try:
                answer = await obstore.get_async(store, path)
            except (ObjectNotFound, FileNotFoundError):
                return None
            if answer.meta["size"] > _READ_LIMIT:
                raise ValueError(f"{uri} is larger than {_READ_LIMIT} bytes")
            return bytes(await answer.bytes_async())

        return await self._guard(call, BaseError)

    async def create(self, uri: str, content: bytes) -> bool:
        """Write an object that is not there yet; False when it is."""
        store, path = self._locate(uri)

        async def call() -> bool:
            try:
                await obstore.put_async(store, path, content, mode="create")
            except (AlreadyExistsError, FileExistsError):
                return False
            return True

        return await self._guard(call, BaseError)

    async def under(self, uri: str, *, limit: int = 1000) -> list[str]:
        """The URIs under a prefix, sorted; at most `limit`."""
        store, path = self._locate(uri)
        root = uri[: len(uri) - len(path)]

        async def call() -> list[str]:
            found: list[str] = []
            async for page in obstore.list(store, path or None):
                found.extend(f"{root}{item['path']}" for item in page)
                if len(found) >= limit:
                    break
            return sorted(found)[:limit]

        return await self._guard(call, BaseError)

    async def delete(self, uri: str) -> None:
        """Remove an object; gone already is fine."""
        store, path = self._locate(uri)

        async def call() -> None:
            try:
                await obstore.delete_async(store, path)
            except (ObjectNotFound, FileNotFoundError):
                return

        await self._guard(call, BaseError)

    def _locate(self, uri: str) -> tuple[ObjectStore, str]:
        parts = urlsplit(uri)
        if parts.scheme == "file":
            return self._root("file:///", {}), parts.path.lstrip("/")
        root = f"{parts.scheme}://{parts.netloc}"
        options = self._s3_options() if parts.scheme == "s3" else {}
        return self._root(root, options), parts.path.lstrip("/")

    def _root(self, url: str, options: Mapping[str, Any]) -> ObjectStore:
        if url not in self._roots:
            self._roots[url] = from_url(url, **cast("Any", options))
        return self._roots[url]

    def _s3_options(self) -> dict[str, Any]:
        options: dict[str, Any] = {"region": self._settings.region}
        endpoint = self._settings.endpoint
        if endpoint:
            options |= {"endpoint": endpoint, "virtual_hosted_style_request": "false"}
            if endpoint.startswith("http://"):
                options["client_options"] = {"allow_http": True}
        return options
