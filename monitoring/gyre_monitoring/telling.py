"""What a stream says: sentences on standard output, and the same as JSON lines in a file."""

import json
import os
import stat
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, Self

from gyre_monitoring.errors import InputError
from gyre_monitoring.stream import Change

if sys.platform != "win32":
    import fcntl

Told = Change | str
_LONGEST_LINE = 65_536
"""Bytes at the end of the file in which its last line starts."""


class Teller:
    """Sentences on standard output, and the same as JSON lines in a file."""

    def __init__(self, out: Path | None) -> None:
        self._out = out
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self._file = self._out.open("ab") if self._out else None
        except OSError as error:
            raise InputError(f"{self._out} cannot be written: {error.strerror}") from error
        if self._file is not None and not _taken(self._file):
            self._file.close()
            raise InputError(f"{self._out} is written by another process: end that one, or name another --out")
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    @property
    def size(self) -> int | None:
        """Bytes of the file; None without one."""
        return None if self._file is None else os.fstat(self._file.fileno()).st_size

    def say(self, told: Told) -> None:
        """Tell a change, or a sentence about the stream."""
        self._write(f"{line(told)}\n".encode())
        self._print(told)

    def recover(self, lines: Sequence[str], size: int | None) -> None:
        """Say what a killed process may have left unsaid; the file's own end tells how far it came.

        A file that was put away since then tells nothing: all of it is said. A last line that stayed half is taken
        away: nobody could read it. Between the lines may stand what was said of the store meanwhile.
        """
        if self._out is not None and self._out.is_file():
            _cut_half_line(self._out)
        there = Counter(self._since(size) if lines else ())
        for one in lines:
            if there[one]:
                there[one] -= 1
                continue
            self._write(f"{one}\n".encode())
            self._print(_told(one))

    def _since(self, size: int | None) -> list[str]:
        """The lines that stand in the file from a byte on."""
        if self._out is None or size is None or not self._out.is_file() or self._out.stat().st_size < size:
            return []
        with self._out.open("rb") as file:
            file.seek(size)
            return file.read().decode(errors="replace").splitlines()

    def _write(self, content: bytes) -> None:
        if self._file is not None:
            self._file.write(content)
            self._file.flush()

    def _print(self, told: Told) -> None:
        sys.stdout.write((told if isinstance(told, str) else told.words()) + "\n")
        sys.stdout.flush()


def _taken(file: IO[bytes]) -> bool:
    """Take the file for this process alone until it is closed: two that follow would each say every change.

    What is no file on a disk, or on one that knows no locks, is anybody's.
    """
    if sys.platform == "win32" or not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _cut_half_line(path: Path) -> None:
    with path.open("r+b") as file:
        start = max(0, file.seek(0, os.SEEK_END) - _LONGEST_LINE)
        file.seek(start)
        end = file.read()
        if not end.endswith(b"\n"):
            file.truncate(start + end.rfind(b"\n") + 1)


def line(told: Told) -> str:
    """A change or a sentence as a JSON line."""
    body: dict[str, Any] = {"note": told} if isinstance(told, str) else asdict(told)
    return json.dumps(body)


def _told(given: str) -> Told:
    body = json.loads(given)
    return str(body["note"]) if "note" in body else Change(**body)
