"""One at a time: a file lock that the kernel drops when its holder dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import IO, TYPE_CHECKING

from tests.localcluster.progress import say

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def locked(path: Path, who: str) -> Iterator[None]:
    """Hold the lock file at ``path``; say that we wait for ``who`` where it is taken.

    The holder may remove the file: whoever waited for the removed one tries again.
    """
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="ascii") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(f"Waiting for {who} ...")
                fcntl.flock(stream, fcntl.LOCK_EX)
            if _is(stream, path):
                yield
                return


def _is(stream: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(stream.fileno()), path.stat())
    except FileNotFoundError:
        return False
