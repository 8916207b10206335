"""Download a tree by its manifest and prove every byte of it."""

import hashlib
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import obstore
from obstore.exceptions import BaseError
from obstore.store import ObjectStore
from pydantic import ValidationError

from gyre_crds.contracts import artifact
from gyre_crds.contracts.artifact import ArtifactError, FileEntry, TreeManifest
from gyre_crds.reasons import Inference, Version
from gyre_serving.fetch.store import failed, open_tree
from gyre_serving.pod.failure import Failure, one_line

_PARALLEL = 4
_CHUNK = 4 << 20


def download(uri: str, digest: str, target: Path) -> TreeManifest:
    """Bring the tree at `uri` to `target`; nothing is left there unless all of it is right.

    Args:
        uri: the version's tree in the store.
        digest: its tree digest, `sha256:` and 64 hex digits.
        target: a directory; a right tree that is there already is kept.

    Returns:
        The tree's manifest.

    Raises:
        Failure: DigestMismatch naming the file, ArtifactGone, StoreDenied, StoreUnreachable or a full volume.
    """
    present = _present(target, digest)
    if present is not None:
        return present
    store = open_tree(uri)
    wanted = _manifest(store, uri, digest)
    partial = target.with_name(f"{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(target, ignore_errors=True)
    try:
        found = _files(store, uri, wanted, partial)
        _check(found, digest)
        (partial / artifact.MANIFEST).write_text(wanted.model_dump_json(by_alias=True))
        partial.rename(target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return wanted


def _present(target: Path, digest: str) -> TreeManifest | None:
    """The tree of an earlier run of this container, if it is still right."""
    try:
        found = artifact.scan(target)
    except (ArtifactError, OSError):
        return None
    return found if found.tree_digest == digest else None


def _manifest(store: ObjectStore, uri: str, digest: str) -> TreeManifest:
    try:
        raw = bytes(obstore.get(store, artifact.MANIFEST).bytes())
    except (BaseError, OSError) as error:
        raise failed(error, uri) from error
    try:
        given = TreeManifest.model_validate_json(raw)
        for entry in given.files:
            artifact.check_path(entry.path)
    except (ValidationError, ArtifactError) as error:
        raise Failure(
            Version.DIGEST_MISMATCH, _mismatch(f"{artifact.MANIFEST} cannot be read ({one_line(error, 200)})")
        ) from error
    # The manifest's own claim is worth nothing: what counts is what its entries add up to.
    if artifact.manifest(given.files).tree_digest != digest:
        raise Failure(Version.DIGEST_MISMATCH, _mismatch(f"{artifact.MANIFEST} lists other files than {digest}"))
    return given


def _check(found: list[FileEntry], digest: str) -> None:
    """What was written adds up to the version, whatever the manifest said."""
    if artifact.manifest(found).tree_digest != digest:
        raise Failure(Version.DIGEST_MISMATCH, _mismatch(f"the whole tree is not {digest}"))


def _files(store: ObjectStore, uri: str, wanted: TreeManifest, root: Path) -> list[FileEntry]:
    fetch: Callable[[FileEntry], FileEntry] = lambda entry: _file(store, uri, entry, root)  # noqa: E731
    with ThreadPoolExecutor(_PARALLEL) as pool:
        return list(pool.map(fetch, wanted.files))


def _file(store: ObjectStore, uri: str, entry: FileEntry, root: Path) -> FileEntry:
    path = root / entry.path
    path.parent.mkdir(parents=True, exist_ok=True)
    hasher, size = hashlib.sha256(), 0
    try:
        chunks = obstore.get(store, entry.path).stream(min_chunk_size=_CHUNK)
    except (BaseError, OSError) as error:
        raise failed(error, f"{uri}/{entry.path}") from error
    with path.open("wb") as out:
        iterator = iter(chunks)
        while (chunk := _next(iterator, f"{uri}/{entry.path}")) is not None:
            hasher.update(chunk)
            size += len(chunk)
            _write(out.write, chunk)
    found = FileEntry(path=entry.path, sha256=hasher.hexdigest(), size=size)
    if found != entry:
        raise Failure(
            Version.DIGEST_MISMATCH,
            _mismatch(
                f"{entry.path} has sha256 {found.sha256[:12]} ({size} bytes), "
                f"the version was made with {entry.sha256[:12]} ({entry.size} bytes)"
            ),
        )
    return found


def _next(iterator: object, where: str) -> memoryview | None:
    try:
        chunk = next(iterator, None)  # type: ignore[call-overload]
    except (BaseError, OSError) as error:
        raise failed(error, where) from error
    return None if chunk is None else memoryview(chunk)


def _write(write: Callable[[memoryview], int], chunk: memoryview) -> None:
    try:
        write(chunk)
    except OSError as error:
        raise volume_failure(error) from error


def volume_failure(error: OSError) -> Failure:
    """What it means that the pod's volume cannot be written."""
    return Failure(
        Inference.MODEL_DOES_NOT_LOAD,
        f"the model volume cannot take the version ({error.strerror}); give the pod more ephemeral storage",
        retry=True,
    )


def _mismatch(what: str) -> str:
    return f"{what}; the stored bytes are not the version's: restore them or publish the version again"
