"""Identity of a version: the tree digest `gyre.artifact.v1`, its manifest, and the tree's layout.

Layout of a version's tree (all of it digested but the manifest)::

    model.onnx            the payload (or an MLflow model directory below `model/`, or model.py and what it reads)
    gyre/signature.json   gyre_crds.v1alpha1.version.Signature
    gyre/golden.json      gyre_crds.contracts.golden.GoldenRows
    gyre-manifest.json    TreeManifest, written last and create-only: no manifest, no tree
"""

import hashlib
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from gyre_crds.base import ApiModel, Digest

SCHEMA = "gyre.artifact.v1"
MANIFEST = "gyre-manifest.json"
SIGNATURE = "gyre/signature.json"
GOLDEN = "gyre/golden.json"
ONNX = "model.onnx"
MLFLOW_DIR = "model"
PYTHON = "model.py"

# Files that MLflow adds or stamps with times and ids: part of the tree, not of the payload.
_PACKAGING = frozenset({"MLmodel", "conda.yaml", "python_env.yaml", "requirements.txt"})
_SKIPPED = frozenset({MANIFEST, "registered_model_meta"})
_CHUNK = 1 << 20


class ArtifactError(ValueError):
    """A tree that has no identity; the message names the file."""


class FileEntry(ApiModel):
    """One file of a tree."""

    path: str
    """`/`-separated path below the root."""
    sha256: str
    """64 hex digits."""
    size: int
    """Bytes."""


class TreeManifest(ApiModel):
    """All files of a tree and its digests."""

    schema_: str = SCHEMA
    files: list[FileEntry]
    tree_digest: Digest
    payload_digest: Digest
    size: int


def manifest(files: Sequence[FileEntry]) -> TreeManifest:
    """The manifest of these files; the order they are given in does not matter."""
    ordered = sorted(files, key=lambda entry: entry.path.encode())
    payload = [entry for entry in ordered if _is_payload(entry.path)]
    return TreeManifest(
        files=ordered,
        tree_digest=_digest(ordered),
        payload_digest=_digest(payload),
        size=sum(entry.size for entry in ordered),
    )


def scan(root: Path) -> TreeManifest:
    """Digest a directory.

    Raises:
        ArtifactError: a symlink, a name that is not NFC, holds a line break or leaves the root, or no file at all.
    """
    entries = []
    for path in sorted(root.rglob("*")):
        relative = path.relative_to(root).as_posix()
        if path.is_symlink():
            raise ArtifactError(f"{relative} is a symbolic link; copy the file it points at")
        if path.is_dir() or relative in _SKIPPED or path.name in _SKIPPED:
            continue
        check_path(relative)
        entries.append(FileEntry(path=relative, sha256=file_sha256(path), size=path.stat().st_size))
    if not entries:
        raise ArtifactError("the model directory holds no file")
    return manifest(entries)


def check_path(relative: str) -> None:
    """Refuse names that two systems could read in two ways.

    Raises:
        ArtifactError: naming the path.
    """
    parts = PurePosixPath(relative).parts
    if relative.startswith("/") or ".." in parts or "\n" in relative or "\\" in relative:
        raise ArtifactError(f"{relative!r} is no plain path below the model directory")
    if unicodedata.normalize("NFC", relative) != relative:
        raise ArtifactError(f"{relative!r} is not in Unicode normal form NFC; rename the file")


def file_sha256(path: Path) -> str:
    """64 hex digits over a file, read in chunks of one MiB."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def first_difference(wanted: TreeManifest, found: TreeManifest) -> str | None:
    """The first file that differs, as a sentence; None when the trees are the same."""
    have = {entry.path: entry for entry in found.files}
    for entry in wanted.files:
        other = have.pop(entry.path, None)
        if other is None:
            return f"{entry.path} is missing"
        if other.sha256 != entry.sha256:
            return f"{entry.path} has sha256 {other.sha256[:12]}, the version was made with {entry.sha256[:12]}"
    return f"{min(have)} was added" if have else None


def _digest(entries: Iterable[FileEntry]) -> str:
    lines = "".join(f"{entry.sha256} {entry.size} {entry.path}\n" for entry in entries)
    return "sha256:" + hashlib.sha256(f"{SCHEMA}\n{lines}".encode()).hexdigest()


def _is_payload(path: str) -> bool:
    name = PurePosixPath(path).name
    return not path.startswith("gyre/") and name not in _PACKAGING and "input_example" not in name
