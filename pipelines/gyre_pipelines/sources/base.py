"""What every kind of source shares: where it stages files, how it pins and how it verifies them."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from gyre_crds.contracts.artifact import ArtifactError, file_sha256, scan
from gyre_crds.contracts.attempt import AttemptOrder, Env
from gyre_crds.contracts.store import StoreSecret, job_prefix
from gyre_crds.reasons import Training
from gyre_crds.v1alpha1.training import DataSource, ResolvedData
from gyre_pipelines.failure import Failure
from gyre_pipelines.layout import Layout
from gyre_pipelines.objects import Credentials, Store
from gyre_pipelines.objects import source as source_reasons


@dataclass(frozen=True)
class Context:
    """What a source needs to be fetched."""

    order: AttemptOrder
    layout: Layout
    store: Store
    """The namespace's store."""
    environment: Mapping[str, str]
    now: datetime

    def staging(self, name: str) -> Path:
        """An empty folder for the source's whole files, out of the user's sight: they hold rows that never train."""
        folder = self.layout.scratch / "data" / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def pin(self, name: str) -> ResolvedData | None:
        """What an earlier attempt resolved the source to."""
        pins = self.order.resolved.data if self.order.resolved else []
        return next((pin for pin in pins if pin.name == name), None)

    def pinned_path(self, name: str) -> str:
        """Where the job keeps its own copy of a source, below the namespace's store."""
        return f"{job_prefix(self.order.uid)}/data/{name}"

    def open(self, name: str, uri: str) -> Store:
        """A foreign store: with the source's own credential where one is given, else the namespace's."""
        prefix = f"{Env.SOURCE_PREFIX}{name.upper().replace('-', '_')}_"
        given = any(prefix + key.value.upper() in self.environment for key in StoreSecret)
        reasons = source_reasons(name)
        return (
            Store(uri, Credentials.of(self.environment, prefix), reasons) if given else self.store.beside(uri, reasons)
        )


@dataclass(frozen=True)
class Fetched:
    """The files of one source, staged and verified."""

    source: DataSource
    folder: Path
    files: list[Path]
    uri: str
    """Where the bytes are that every attempt of the job uses."""
    digest: str
    as_of: datetime | None = None
    """For a window: the moment it ended."""
    latest: bool = False
    """Whether the holdout is the latest rows, oldest rows first in the file; else it goes by hash of the key."""


SPLIT = b"gyre.split"
LATEST = b"latest"


def is_latest(path: Path) -> bool:
    """Whether a file was pinned from a service's rows: read again by its uri, it is divided as it was then."""
    if path.suffix.lower() not in {".parquet", ".pq"}:
        return False
    try:
        metadata = pq.read_schema(path).metadata
    except pa.ArrowInvalid:
        return False
    return bool(metadata) and metadata.get(SPLIT) == LATEST


def listed(folder: Path) -> list[Path]:
    """Every file below a folder, in a fixed order."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def digest_of(name: str, folder: Path, *, single: bool) -> str:
    """`sha256:` of the one file, or the tree digest of the folder.

    Raises:
        Failure: a name or link that has no one meaning.
    """
    if single:
        return f"sha256:{file_sha256(listed(folder)[0])}"
    try:
        return scan(folder).tree_digest
    except ArtifactError as error:
        raise Failure(Training.DATA_NOT_FOUND, f"data[{name}]: {error}") from error


def verify(source: DataSource, pin: ResolvedData | None, digest: str) -> None:
    """Hold the digest against the spec's and against the pin of an earlier attempt.

    Raises:
        Failure: DataDigestMismatch.
    """
    if source.sha256 is not None and source.sha256 != digest:
        raise Failure(
            Training.DATA_DIGEST_MISMATCH,
            f"data[{source.name}].sha256 is {source.sha256}, the bytes have {digest}; correct one of them",
        )
    if pin is not None and pin.digest != digest:
        raise Failure(
            Training.DATA_DIGEST_MISMATCH,
            f"data[{source.name}]: {pin.uri} changed since the first attempt ({pin.digest} then, {digest} now); "
            "start a new job",
        )


def copy_in(origin: Path, target: Path) -> None:
    """A file, linked where the file system can and copied where it cannot."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(origin, target)
    except OSError:
        shutil.copyfile(origin, target)
