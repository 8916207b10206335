"""Where a stream stands, kept over restarts: one versioned JSON document in a file or an object.

The document is written whole between two parts, never within one. It carries the lines that were found since the
one before: they are said only after it was written, so that a process killed at any instant neither leaves one out
nor says it twice.
"""

import contextlib
import json
import os
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit
from urllib.request import url2pathname

from pydantic import BaseModel, ConfigDict, ValidationError

from gyre_monitoring.errors import InputError, StoreError
from gyre_monitoring.store import Store, Version
from gyre_monitoring.stream import Stream, StreamState

FORMAT: Final = "gyre.stream-state.v2"
"""Rises whenever the state of the detectors means something else."""


class Standing(BaseModel):
    """A stream between two parts."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    format: Literal["gyre.stream-state.v2"] = FORMAT
    follows: str
    """Digest of reference and configuration; another one starts the stream anew."""
    place: str
    """Directory or prefix that the parts come from."""
    read: list[str]
    """Names of the parts that were read and are still there."""
    parts: int
    changes: int
    lines: list[str]
    """What was found since the last document, as JSON lines: perhaps said, perhaps not."""
    said: int | None = None
    """Bytes of the changes' file before these lines; None without a file."""
    stream: StreamState


class Checkpoint:
    """The document's place."""

    def __init__(self, place: str) -> None:
        self.place = place
        scheme = urlsplit(place).scheme
        self._path = Path(url2pathname(urlsplit(place).path) if scheme == "file" else place)
        self._store = Store() if "://" in place and scheme != "file" else None
        self._version: Version | None = None
        self._stamp: tuple[int, int] | None = None
        """Which document was read or written last, in the store or on disk: nobody else's is written over."""
        if self._store is None and not self._path.absolute().parent.is_dir():
            raise InputError(f"--state {place} is in no directory that exists")
        if self._store is None and self._path.is_dir():
            raise InputError(f"--state {place} is a directory: name a file in it")

    def read(self, stream: Stream, place: str) -> tuple[Standing | None, str]:
        """The last document where it can be taken up, and a sentence where one cannot.

        Raises:
            StoreError: the store does not answer.
        """
        try:
            content = self._file() if self._store is None else self._object(self._store)
        except (FileNotFoundError, InputError):
            return None, ""
        except OSError as error:
            raise StoreError(f"{self.place} cannot be read: {error.strerror}") from error
        problem, found = _understood(content)
        if found is not None and (found.follows, {*found.stream.channels}) != (stream.follows, {*stream.channels}):
            problem = "it was kept for another profile or configuration"
        elif found is not None and found.place != place:
            problem = f"it was kept for the parts of {found.place}"
        if problem:
            return None, f"the state in {self.place} is not taken up, every part that is there is read: {problem}"
        return found, ""

    def _taken(self) -> InputError:
        return InputError(f"--state {self.place} is written by another process: end that one, or name another --state")

    def _file(self) -> bytes:
        self._stamp = _stamp(self._path)
        return self._path.read_bytes()

    def _object(self, store: Store) -> bytes:
        content, self._version = store.versioned(self.place)
        return content

    def write(self, standing: Standing) -> None:
        """Put the document in place of the last one, whole or not at all.

        Raises:
            InputError: another process has put its own there since.
            StoreError: there is no room for it, or the store does not take it.
        """
        content = standing.model_dump_json().encode()
        if self._store is not None:
            self._version = self._store.replace(self.place, content, self._version)
            if self._version is None:
                raise self._taken()
            return
        if _stamp(self._path) not in {self._stamp, None}:
            raise self._taken()
        beside = self._path.with_name(self._path.name + ".new")
        try:
            with beside.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self._path)
            self._stamp = _stamp(self._path)
        except OSError as error:
            with contextlib.suppress(OSError):
                beside.unlink()
            raise StoreError(f"{self.place} cannot be written: {error.strerror}") from error


def _stamp(path: Path) -> tuple[int, int] | None:
    """Which file stands there: each one written is another."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


def _understood(content: bytes) -> tuple[str, Standing | None]:
    """What is wrong with the document, or the document."""
    try:
        body = json.loads(content)
    except ValueError:
        return "it is no JSON", None
    kept = body.get("format") if isinstance(body, dict) else None
    if kept != FORMAT:
        return f"it is a {kept}, this release keeps a {FORMAT}" if kept else f"it is no {FORMAT}", None
    try:
        return "", Standing.model_validate(body)
    except ValidationError as error:
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))} is wrong: {first['msg']}", None
