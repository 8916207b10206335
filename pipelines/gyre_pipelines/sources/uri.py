"""Files and directories by URI: s3, gs, az, file, https.

A single file is pinned by its digest: later attempts fetch it again and refuse other bytes. A
directory can gain and lose files meanwhile, so the first attempt copies it below the job's prefix.
"""

import shutil
import urllib.error
import urllib.request
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from gyre_crds.reasons import Common, Training
from gyre_crds.v1alpha1.training import DataSource
from gyre_pipelines.failure import Failure
from gyre_pipelines.objects import Store
from gyre_pipelines.sources.base import Context, Fetched, digest_of, is_latest, listed, verify

_TIMEOUT = 60
_DENIED = frozenset({401, 403})
_GONE = frozenset({404, 410})


def fetch(source: DataSource, context: Context) -> Fetched:
    """The file or directory at `source.uri`, or the job's own copy of it.

    Raises:
        Failure: DataNotFound, DataAccessDenied, DataDigestMismatch, StoreUnreachable.
    """
    wanted = str(source.uri)
    folder = context.staging(source.name)
    pin = context.pin(source.name)
    single = not wanted.endswith("/")
    copied = context.store.path_of(pin.uri) if pin and not single else None
    if copied is not None:
        _directory(context.store, copied, folder)
    elif urlsplit(wanted).scheme in {"http", "https"}:
        _web(source.name, wanted, folder)
    elif single:
        parent, _, name = wanted.rpartition("/")
        context.open(source.name, parent).download(name, folder / name)
    else:
        _directory(context.open(source.name, wanted), "", folder)
    digest = digest_of(source.name, folder, single=single)
    verify(source, pin, digest)
    uri = wanted if single else _pin(context, source.name, folder, copied=copied)
    files = listed(folder)
    return Fetched(source, folder, files, uri, digest, latest=any(is_latest(path) for path in files))


def _directory(store: Store, prefix: str, folder: Path) -> None:
    base = PurePosixPath(prefix) if prefix else None
    entries = [entry for entry in store.list(prefix) if not entry.path.endswith("/")]
    if not entries:
        raise Failure(Training.DATA_NOT_FOUND, f"data[{folder.name}]: {store.uri_of(prefix)} holds no file")
    for entry in entries:
        relative = PurePosixPath(entry.path).relative_to(base) if base else PurePosixPath(entry.path)
        store.download(entry.path, folder / relative)


def _pin(context: Context, name: str, folder: Path, *, copied: str | None) -> str:
    prefix = context.pinned_path(name)
    if copied is None:
        for path in listed(folder):
            context.store.upload(path, f"{prefix}/{path.relative_to(folder).as_posix()}")
    return context.store.uri_of(prefix) + "/"


def _web(name: str, uri: str, folder: Path) -> None:
    file = PurePosixPath(unquote(urlsplit(uri).path)).name
    if not file or uri.endswith("/"):
        raise Failure(Training.DATA_NOT_FOUND, f"data[{name}].uri: a web server lists no directory; name one file")
    try:
        with urllib.request.urlopen(uri, timeout=_TIMEOUT) as answer, (folder / file).open("wb") as out:  # noqa: S310
            shutil.copyfileobj(answer, out)
    except urllib.error.HTTPError as error:
        error.close()
        raise _refused(name, uri, error.code) from error
    except OSError as error:
        raise Failure(
            Common.STORE_UNREACHABLE, f"data[{name}]: {uri} does not answer ({error}); it is tried again", infra=True
        ) from error


def _refused(name: str, uri: str, status: int) -> Failure:
    if status in _GONE:
        return Failure(Training.DATA_NOT_FOUND, f"data[{name}]: {uri} answers {status}; check the path")
    if status in _DENIED:
        return Failure(Training.DATA_ACCESS_DENIED, f"data[{name}]: {uri} answers {status}; check the access")
    return Failure(Common.STORE_UNREACHABLE, f"data[{name}]: {uri} answers {status}; it is tried again", infra=True)
