"""A wall clock of a process's own that steps while it runs; its monotonic clock goes on, as a machine's does."""

from pathlib import Path

import pytest

from tests.localcluster import packages
from tests.localcluster.errors import ClusterError

_LIBRARIES = Path("/usr/lib")


class Clock:
    """Steps the clock of every process that has its environment."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "clock"
        self.step(0)

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to have this clock; the test is skipped where the library cannot be had."""
        found = _library()
        if found is None:
            try:
                packages.install(["libfaketime"])
            except ClusterError as error:
                pytest.skip(str(error))
            found = _library()
        return {
            "LD_PRELOAD": str(found),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    def step(self, seconds: int) -> None:
        """From now on the clock is so far from the machine's."""
        partial = self._file.with_suffix(".partial")
        partial.write_text(f"{seconds:+d}")
        partial.replace(self._file)


def _library() -> Path | None:
    return next(iter(_LIBRARIES.glob("*/faketime/libfaketimeMT.so.1")), None)
