"""A version's tree in the store: files first, the manifest last and create-only."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from gyre_crds.base import ApiModel
from gyre_crds.contracts.artifact import (
    MANIFEST,
    ArtifactError,
    FileEntry,
    TreeManifest,
    first_difference,
    manifest,
    scan,
)  # fmt: skip
from gyre_crds.contracts.store import tree_prefix
from gyre_crds.reasons import Training
from gyre_pipelines.failure import Failure
from gyre_pipelines.objects import Store
from gyre_pipelines.sources.base import copy_in


def build(folder: Path, files: Mapping[str, Path], contents: Mapping[str, ApiModel]) -> TreeManifest:
    """Lay out the tree of a version and digest it.

    Raises:
        Failure: a name or link that has no one meaning.
    """
    shutil.rmtree(folder, ignore_errors=True)
    for path, origin in files.items():
        if origin.is_symlink():
            raise Failure(Training.CANNOT_LOAD, f"{path} is a symbolic link; copy the file it points at")
        copy_in(origin, folder / path)
    for path, content in contents.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(content.dump(), sort_keys=True, ensure_ascii=False, allow_nan=False))
    try:
        return scan(folder)
    except ArtifactError as error:
        raise Failure(Training.CANNOT_LOAD, str(error)) from error


def copy(store: Store, folder: Path, tree: TreeManifest) -> str:
    """Copy a tree to its content-addressed place; returns its URI. A tree that is there already stays as it is."""
    prefix = tree_prefix(tree.tree_digest)
    known = read_manifest(store, prefix)
    if known is None or first_difference(known, tree) is not None:
        for entry in tree.files:
            store.upload(folder / entry.path, f"{prefix}/{entry.path}")
        body = json.dumps(tree.dump(), sort_keys=True).encode()
        if not store.create(f"{prefix}/{MANIFEST}", body) and read_manifest(store, prefix) != tree:
            # Only a damaged manifest gets here: the name of the place is the digest of what belongs into it.
            store.write(f"{prefix}/{MANIFEST}", body)
    return store.uri_of(prefix)


def read_manifest(store: Store, prefix: str) -> TreeManifest | None:
    """The manifest of a stored tree, or None: no manifest, no tree."""
    data = store.find(f"{prefix}/{MANIFEST}")
    if data is None:
        return None
    try:
        return TreeManifest.model_validate_json(data)
    except ValidationError:
        return None


def digest_stored(store: Store, prefix: str) -> TreeManifest:
    """Digest every stored byte again."""
    entries = []
    for entry in store.list(prefix):
        path = entry.path.removeprefix(prefix + "/") if prefix else entry.path
        if path == MANIFEST:
            continue
        digest, size = hashlib.sha256(), 0
        for chunk in store.chunks(entry.path):
            digest.update(chunk)
            size += len(chunk)
        entries.append(FileEntry(path=path, sha256=digest.hexdigest(), size=size))
    return manifest(entries)


def fetch(store: Store, prefix: str, digest: str, folder: Path) -> TreeManifest:
    """Download a tree and hold it against its digest.

    Raises:
        Failure: the tree is gone, or has other bytes.
    """
    shutil.rmtree(folder, ignore_errors=True)
    known = read_manifest(store, prefix)
    if known is None:
        raise Failure("ArtifactGone", f"{store.uri_of(prefix)} holds no version; restore the store or train again")
    for entry in known.files:
        store.download(f"{prefix}/{entry.path}", folder / entry.path)
    found = scan(folder)
    if found.tree_digest != digest:
        difference = first_difference(known, found) or f"the tree has digest {found.tree_digest}"
        raise Failure("DigestMismatch", f"{store.uri_of(prefix)}: {difference}")
    return found
