"""The object store: bytes in and out, create-only writes, and errors as sentences.

Errors are told apart by whose store it is (`Reasons`): the namespace's own or a data source's.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import obstore
from obstore import exceptions
from obstore.store import LocalStore, ObjectStore, S3Store, from_url

from gyre_crds.contracts.store import StoreEnv, StoreSecret
from gyre_crds.reasons import Common, Training
from gyre_pipelines.failure import Failure

_T = TypeVar("_T")
_TRIES = 4
_PATIENCE = timedelta(seconds=30)


@dataclass(frozen=True)
class Reasons:
    """What a missing object, a refused credential and a silent server are called."""

    what: str
    missing: str
    denied: str
    credential: str
    """Where the credential stands, for the sentence that it is wrong."""
    unreachable: str = Common.STORE_UNREACHABLE


NAMESPACE = Reasons("the namespace's store", Training.DATA_NOT_FOUND, Training.STORE_DENIED, "Secret gyre-store")


def source(name: str) -> Reasons:
    """The reasons of data source `name`."""
    credential = f"data[{name}].secretRef, or Secret gyre-store where there is none,"
    return Reasons(f"data[{name}]", Training.DATA_NOT_FOUND, Training.DATA_ACCESS_DENIED, credential)


@dataclass(frozen=True)
class Credentials:
    """How to get to an S3 store; empty means the provider's own chain."""

    endpoint: str = ""
    region: str = ""
    access_key_id: str = ""
    secret_access_key: str = ""

    @classmethod
    def of(cls, environment: Mapping[str, str], prefix: str) -> "Credentials":
        """From variables such as `<prefix>ENDPOINT`."""
        keys = (StoreSecret.ENDPOINT, StoreSecret.REGION, StoreSecret.ACCESS_KEY_ID, StoreSecret.SECRET_ACCESS_KEY)
        return cls(*(environment.get(prefix + key.value.upper(), "") for key in keys))


@dataclass(frozen=True)
class Entry:
    """One object."""

    path: str
    """Below the store's root."""
    size: int


class Store:
    """Objects below one URI.

    Raises `Failure` from every method, with the reasons given at construction.
    """

    def __init__(self, uri: str, credentials: Credentials, reasons: Reasons = NAMESPACE) -> None:
        self.uri = uri.rstrip("/")
        self._credentials = credentials
        self._reasons = reasons
        self._store = _connect(self.uri, credentials, reasons)

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "Store":
        """The namespace's store, as the environment gives it.

        Raises:
            Failure: there is none.
        """
        uri = environment.get(StoreEnv.URI, "")
        if not uri:
            raise Failure(Training.STORE_DENIED, f"{StoreEnv.URI} is empty; fill the key uri of Secret gyre-store")
        return cls(uri, Credentials.of(environment, StoreEnv.URI.removesuffix("URI")))

    def beside(self, uri: str, reasons: Reasons = NAMESPACE) -> "Store":
        """Another place that the same credential opens."""
        return Store(uri, self._credentials, reasons)

    def uri_of(self, path: str) -> str:
        """The full URI of an object."""
        return f"{self.uri}/{path}"

    def path_of(self, uri: str) -> str | None:
        """The path of a URI below this store's root; None outside of it."""
        return uri.removeprefix(self.uri + "/") if uri.startswith(self.uri + "/") else None

    def read(self, path: str) -> bytes:
        """The whole object."""
        return self._do(path, lambda: bytes(obstore.get(self._store, path).bytes()))

    def find(self, path: str) -> bytes | None:
        """The whole object, or None where there is none."""
        try:
            return self.read(path)
        except Failure as failure:
            if failure.reason == self._reasons.missing:
                return None
            raise

    def chunks(self, path: str) -> Iterator[bytes]:
        """The object piece by piece."""
        stream = self._do(path, lambda: obstore.get(self._store, path).stream(min_chunk_size=1 << 20))
        iterator = iter(stream)
        while (chunk := self._do(path, lambda: next(iterator, None))) is not None:
            yield bytes(chunk)

    def download(self, path: str, target: Path) -> None:
        """The object as a file; its folder is made, and half a file never has its name."""
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(target.name + ".partial")
        with partial.open("wb") as stream:
            for chunk in self.chunks(path):
                stream.write(chunk)
        partial.replace(target)

    def write(self, path: str, data: bytes) -> str:
        """Write or overwrite; returns the full URI."""
        self._do(path, lambda: obstore.put(self._store, path, data))
        return self.uri_of(path)

    def create(self, path: str, data: bytes) -> bool:
        """Write only where nothing is; False when the object exists."""
        try:
            self._do(path, lambda: obstore.put(self._store, path, data, mode="create"))
        except FileExistsError:
            return False
        return True

    def upload(self, source_file: Path, path: str) -> str:
        """A file as an object, in parts when it is large; returns the full URI."""
        self._do(path, lambda: obstore.put(self._store, path, source_file))
        return self.uri_of(path)

    def list(self, prefix: str = "") -> list[Entry]:
        """Every object below the prefix, which names a folder; sorted by path."""
        folder = prefix.rstrip("/")
        pages = self._do(
            prefix or "/", lambda: [meta for page in obstore.list(self._store, folder or None) for meta in page]
        )
        return sorted((Entry(meta["path"], meta["size"]) for meta in pages), key=lambda entry: entry.path)

    def delete(self, path: str) -> None:
        """Remove an object; one that is not there is removed already."""
        try:
            self._do(path, lambda: obstore.delete(self._store, path))
        except Failure as failure:
            if failure.reason != self._reasons.missing:
                raise

    def _do(self, path: str, action: Callable[[], _T]) -> _T:
        where = f"{self._reasons.what}: {self.uri_of(path)}"
        try:
            return action()
        except (exceptions.AlreadyExistsError, exceptions.PreconditionError) as error:
            raise FileExistsError(where) from error
        except (exceptions.NotFoundError, FileNotFoundError) as error:
            raise Failure(self._reasons.missing, f"{where} holds nothing; check the path") from error
        except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError, PermissionError) as error:
            raise _denied(self._reasons, where) from error
        except (exceptions.BaseError, OSError) as error:
            raise _other(self._reasons, where, error) from error


def _denied(reasons: Reasons, where: str) -> Failure:
    return Failure(reasons.denied, f"{where} is refused; check {reasons.credential} and what its key may do")


def _other(reasons: Reasons, where: str, error: Exception) -> Failure:
    text = str(error)
    if "NoSuchBucket" in text:
        return Failure(reasons.missing, f"{where}: there is no such bucket; create it or correct the uri")
    if any(code in text for code in ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "403 Forbidden")):
        return _denied(reasons, where)
    first = text.strip().splitlines()[0][:200] if text.strip() else type(error).__name__
    return Failure(reasons.unreachable, f"{where} does not answer ({first}); it is tried again", infra=True)


def _connect(uri: str, credentials: Credentials, reasons: Reasons) -> ObjectStore:
    parts = urlsplit(uri)
    try:
        if parts.scheme == "file":
            return LocalStore(_folder(parts.path), mkdir=reasons is NAMESPACE)
        if parts.scheme == "s3":
            return _s3(parts.netloc, parts.path.strip("/"), credentials)
        return from_url(uri)
    except (exceptions.BaseError, ValueError, OSError) as error:
        first = str(error).splitlines()[0][:200]
        raise Failure(reasons.missing, f"{reasons.what}: {uri} cannot be opened ({first}); correct the uri") from error


def _folder(path: str) -> str:
    return os.path.normpath(path) or "/"


def _s3(bucket: str, prefix: str, credentials: Credentials) -> ObjectStore:
    options: dict[str, str] = {"region": credentials.region or "us-east-1"}
    if credentials.endpoint:
        options["endpoint"] = credentials.endpoint
    if credentials.access_key_id:
        options["access_key_id"] = credentials.access_key_id
        options["secret_access_key"] = credentials.secret_access_key
    return S3Store(
        bucket,
        prefix=prefix or None,
        config=options,  # type: ignore[arg-type]  # a plain dict of the same keys
        client_options={"allow_http": True, "connect_timeout": timedelta(seconds=5), "timeout": timedelta(minutes=10)},
        retry_config={
            "max_retries": _TRIES,
            "retry_timeout": _PATIENCE,
            "backoff": {"init_backoff": timedelta(milliseconds=200), "max_backoff": timedelta(seconds=5), "base": 2},
        },
    )
