"""Settings of the whole machine that a kubelet changes: remembered, and put back."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final

_CHANGED: Final = (
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
_ROOT: Final = Path("/proc/sys")


def read() -> dict[str, str]:
    """Return the settings as they are."""
    return {name: (_ROOT / name).read_text().strip() for name in _CHANGED}


def restore(settings: dict[str, str]) -> None:
    """Write the settings back where they differ."""
    for name, value in settings.items():
        with contextlib.suppress(OSError):
            if (_ROOT / name).read_text().strip() != value:
                (_ROOT / name).write_text(f"{value}\n")
