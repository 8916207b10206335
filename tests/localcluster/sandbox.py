"""The node's own namespaces: processes, mounts and network that end with one kill.

Everything of the full node runs below one init process in a PID, mount and network namespace,
as a container engine would do it. So nothing of it meets the machine's own kubelet, containerd
or firewall, two nodes run side by side, and after a crash the kernel cleans up.
"""

from __future__ import annotations

import contextlib
import functools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.localcluster.errors import ClusterError
from tests.localcluster.machine import FOLDERS
from tests.localcluster.process import Process, run, wait_until
from tests.localcluster.toolchain import program

if TYPE_CHECKING:
    from tests.localcluster.paths import State

_CGROUPS: Final = Path("/sys/fs/cgroup")
_CPUSET_FILES: Final = ("cpuset.cpus", "cpuset.mems")


@dataclass(frozen=True)
class Sandbox:
    """The namespaces of one node."""

    state: State

    @property
    def _outer(self) -> Process:
        return Process(self.state, "unshare")

    @property
    def _init(self) -> Process:
        return Process(self.state, "init")

    @property
    def cgroup(self) -> str:
        """The node's own control group, below which the kubelet keeps its pods."""
        return f"gyre-{self.state.identity}"

    def alive(self) -> bool:
        """Whether the namespaces exist."""
        return self._init.pid() is not None

    def init(self) -> int:
        """Return the pid of the namespaces' first process."""
        pid = self._init.pid()
        if pid is None:
            raise ClusterError("The node is not running: run `python3 -m tests.localcluster up`.")
        return pid

    def inside(self) -> list[str]:
        """Return the prefix that runs a command in all of the namespaces."""
        return ["nsenter", "-t", str(self.init()), "-r", "-m", "-n", "-p", "--"]

    def among_mounts(self) -> list[str]:
        """Return the prefix that sees the node's files but this machine's network."""
        return ["nsenter", "-t", str(self.init()), "-r", "-m", "--"]

    def start(self) -> None:
        """Create the namespaces, with folders of their own where kubelet and plugins insist."""
        unshare = "unshare --mount --net --pid --fork --mount-proc --kill-child --propagation slave"
        outer = self._outer.start([*unshare.split(), program("pause")])
        if not wait_until(lambda: bool(_children(outer)) or not _exists(outer), seconds=10):
            raise ClusterError("The namespaces of the node did not start.")
        children = _children(outer)
        if not children:
            raise ClusterError(
                f"The kernel refused the node's namespaces ({self._outer.tail(1)}): run as root "
                "on the machine itself, or in a privileged container."
            )
        self._init.adopt(children[0])
        self._mount()

    def _mount(self) -> None:
        lines = ["mount --make-rshared /", "mount -t tmpfs -o mode=755 gyre-run /run"]
        for folder in FOLDERS:
            own = self.state.root / "node" / folder.lstrip("/")
            own.mkdir(mode=0o755, parents=True)
            lines.append(f"mount --bind '{own}' {folder}")
        # The kubelet mounts below its folder; those mounts must reach the containers.
        lines.append("mount --make-rshared /var/lib/kubelet")
        run([*self.among_mounts(), "sh", "-ec", "\n".join(lines)])

    def make_cgroups(self) -> None:
        """Create the node's control group in every hierarchy."""
        if not _hierarchies():
            raise ClusterError(
                "No control groups are mounted at /sys/fs/cgroup: mount them (systemd does), or "
                "run in a privileged container with its own cgroup namespace."
            )
        for hierarchy in _hierarchies():
            own = hierarchy / self.cgroup
            try:
                own.mkdir(exist_ok=True)
            except OSError as error:
                raise ClusterError(
                    f"Control groups cannot be created in {hierarchy} ({error.strerror}): run as "
                    "root, or in a privileged container."
                ) from None
            for name in _CPUSET_FILES:  # version 1 starts with an empty set, in which nothing runs
                if (own / name).exists() and not (own / name).read_text().strip():
                    (own / name).write_text((hierarchy / name).read_text())

    def left(self) -> bool:
        """Whether control groups of the node exist."""
        return any((hierarchy / self.cgroup).exists() for hierarchy in _hierarchies())

    def stop(self) -> None:
        """End every process of the node and remove what the kernel does not remove itself."""
        # When the first process of a PID namespace is gone, all others are.
        for process in (self._init, self._outer):
            process.stop(patience=0.0)
        self._remove_cgroups()

    def _remove_cgroups(self) -> None:
        for hierarchy in _hierarchies():
            own = hierarchy / self.cgroup
            for folder, _, _ in os.walk(own, topdown=False):
                # The kernel lets go of an ended process a moment after its end.
                wait_until(functools.partial(_removed, Path(folder)), seconds=5.0)


def _removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _hierarchies() -> list[Path]:
    """Return the mount points: one in version 2, one a controller in version 1."""
    if (_CGROUPS / "cgroup.controllers").exists():
        return [_CGROUPS]
    if not _CGROUPS.is_dir():
        return []
    return sorted(
        folder for folder in _CGROUPS.iterdir() if not folder.is_symlink() and (folder / "cgroup.procs").exists()
    )


def _children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def _exists(pid: int) -> bool:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True
