"""What nodes change on the machine as a whole: remembered by the first, put back by the last."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.localcluster.lock import locked

if TYPE_CHECKING:
    from collections.abc import Iterator

# Folders whose place is a constant in kubelet, containerd or the network plugins. Each node
# mounts its own over them, so they must exist; they stay empty.
FOLDERS: Final = ("/var/lib/kubelet", "/var/lib/cni", "/var/log/pods", "/var/log/containers")
CABLE_PREFIX: Final = "gyre"
# What a kubelet sets, and the forwarding that pods need to reach the outside.
_SETTINGS: Final = (
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
    "net/ipv4/ip_forward",
)
_SYSTEM: Final = Path("/proc/sys")
_INTERFACES: Final = Path("/sys/class/net")
_RUN: Final = Path("/run/gyre-localcluster")


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Hold the machine's lock: nodes of several checkouts come and go side by side."""
    with locked(_RUN / "lock", "another node of this machine"):
        yield


def remember() -> None:
    """Write down how the machine is, unless a node that runs has done so, and make the folders."""
    record = _RUN / "before.json"
    if not record.exists():
        before = {
            "folders": [folder for folder in FOLDERS if not Path(folder).is_dir()],
            "settings": {name: (_SYSTEM / name).read_text().strip() for name in _SETTINGS},
        }
        record.write_text(json.dumps(before, indent=1), encoding="utf-8")
    for folder in FOLDERS:
        Path(folder).mkdir(mode=0o755, parents=True, exist_ok=True)


def restore() -> None:
    """Put the machine back to how it was, unless another node still runs on it."""
    record = _RUN / "before.json"
    if any(path.name.startswith(CABLE_PREFIX) for path in _INTERFACES.iterdir()):
        return
    with contextlib.suppress(FileNotFoundError):
        before = json.loads(record.read_text(encoding="utf-8"))
        _restore_settings(before["settings"])
        # Removing a folder takes away what is mounted on it in any namespace: only the last may.
        for folder in before["folders"]:
            with contextlib.suppress(OSError):
                Path(folder).rmdir()
    record.unlink(missing_ok=True)
    (_RUN / "lock").unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        _RUN.rmdir()


def _restore_settings(settings: dict[str, str]) -> None:
    for name, value in settings.items():
        with contextlib.suppress(OSError):
            if (_SYSTEM / name).read_text().strip() != value:
                (_SYSTEM / name).write_text(f"{value}\n")
