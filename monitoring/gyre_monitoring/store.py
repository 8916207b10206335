"""The namespace's object store: coordinates from the environment, URIs in, bytes out."""

import os
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple, TypedDict
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError, PreconditionError
from obstore.store import ObjectStore, from_url

from gyre_crds.contracts.store import StoreEnv
from gyre_monitoring.errors import InputError, StoreError


class Entry(NamedTuple):
    """An object in the store."""

    uri: str
    at: datetime
    """When it was written last."""
    version: str
    """Changes with its bytes."""


class Version(TypedDict, total=False):
    """Which bytes an object holds, in the store's words."""

    e_tag: str | None
    version: str | None


class Store:
    """Reads and writes objects by full URI, with one credential."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        env = os.environ if environment is None else environment
        self.root = env.get(StoreEnv.URI, "").rstrip("/")
        self._config = _s3_config(env)
        self._buckets: dict[str, ObjectStore] = {}

    def uri(self, *parts: str) -> str:
        """A URI below the namespace's root.

        Raises:
            InputError: no root is known.
        """
        if not self.root:
            raise InputError(f"{StoreEnv.URI.value} is not set: give the store's root, e.g. file:///var/lib/gyre")
        return "/".join([self.root, *(part.strip("/") for part in parts)])

    def read(self, uri: str) -> bytes:
        """The object's bytes.

        Raises:
            InputError: it does not exist.
            StoreError: the store does not answer.
        """
        return self.versioned(uri)[0]

    def versioned(self, uri: str) -> tuple[bytes, Version]:
        """The object's bytes and which they are; errors as of `read`."""
        bucket, path = self._open(uri)
        try:
            found = obstore.get(bucket, path)
            return bytes(found.bytes()), _version(found.meta)
        except (NotFoundError, FileNotFoundError):
            raise InputError(f"{uri} does not exist", reason="NoReference") from None
        except (BaseError, OSError) as error:
            raise StoreError(f"{uri} cannot be read: {_first_line(error)}") from error

    def write(self, uri: str, content: bytes) -> None:
        """Put an object whole; a second look at the same window replaces it.

        Raises:
            StoreError: the store does not take it.
        """
        bucket, path = self._open(uri)
        try:
            obstore.put(bucket, path, content)
        except (BaseError, OSError) as error:
            raise StoreError(f"{uri} cannot be written: {_first_line(error)}") from error

    def replace(self, uri: str, content: bytes, over: Version | None) -> Version | None:
        """Put an object where the one of that version stands, or where none does; None if another stands there by now.

        Raises:
            StoreError: the store does not take it.
        """
        bucket, path = self._open(uri)
        try:
            return _version(obstore.put(bucket, path, content, mode="create" if over is None else over))
        except (AlreadyExistsError, PreconditionError):
            return self._resolved(uri, content, over)
        except (BaseError, OSError) as error:
            raise StoreError(f"{uri} cannot be written: {_first_line(error)}") from error

    def _resolved(self, uri: str, content: bytes, over: Version | None) -> Version | None:
        """The version after a conflict: an answer that was lost is no other writer, nor is an object taken away."""
        try:
            found, version = self.versioned(uri)
        except InputError:
            return None if over is None else self.replace(uri, content, None)
        return version if found == content else None

    def list(self, prefix: str, *, after: str | None = None) -> Iterator[str]:
        """URIs below a prefix in ascending order, those after `after` (a URI) only.

        Raises:
            StoreError: the store does not answer.
        """
        # A directory on disk lists in any order.
        yield from sorted(entry.uri for entry in self.entries(prefix, after=after))

    def entries(self, prefix: str, *, after: str | None = None) -> tuple[Entry, ...]:
        """What lies below a prefix, in any order.

        Raises:
            StoreError: the store does not answer.
        """
        bucket, path = self._open(prefix)
        offset = self._open(after)[1] if after else None
        base = prefix.rstrip("/")
        try:
            found = [item for page in obstore.list(bucket, path, offset=offset) for item in page]
        except (NotFoundError, FileNotFoundError):
            return ()
        except (BaseError, OSError) as error:
            raise StoreError(f"{prefix} cannot be listed: {_first_line(error)}") from error
        return tuple(
            Entry(
                uri=f"{base}/{str(item['path']).removeprefix(path).lstrip('/')}",
                at=item["last_modified"],
                version=item["e_tag"] or f"{item['size']}@{item['last_modified'].isoformat()}",
            )
            for item in found
        )

    def _open(self, uri: str) -> tuple[ObjectStore, str]:
        parts = urlsplit(uri)
        if parts.scheme not in {"s3", "gs", "az", "file", "https", "http"}:
            raise InputError(f"{uri!r} is no store URI: write s3://, gs://, az:// or file://")
        base = "file:///" if parts.scheme == "file" else f"{parts.scheme}://{parts.netloc}"
        if base not in self._buckets:
            config: dict[str, Any] = self._config if parts.scheme == "s3" else {}
            try:
                self._buckets[base] = from_url(base, **config)
            except (BaseError, ValueError) as error:
                raise InputError(f"{uri} cannot be opened: {_first_line(error)}") from error
        return self._buckets[base], parts.path.strip("/")


def _version(told: Mapping[str, Any]) -> Version:
    made = Version()
    if told.get("e_tag"):
        made["e_tag"] = told["e_tag"]
    if told.get("version"):
        made["version"] = told["version"]
    return made


def _s3_config(env: Mapping[str, str]) -> dict[str, Any]:
    names = {
        "endpoint": StoreEnv.ENDPOINT,
        "region": StoreEnv.REGION,
        "access_key_id": StoreEnv.ACCESS_KEY_ID,
        "secret_access_key": StoreEnv.SECRET_ACCESS_KEY,
    }
    config: dict[str, Any] = {key: env[name] for key, name in names.items() if env.get(name)}
    if config:
        config.setdefault("region", "us-east-1")
    if str(config.get("endpoint", "")).startswith("http://"):
        config["client_options"] = {"allow_http": True}
    return config


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:300] if text else type(error).__name__
