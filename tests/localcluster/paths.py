"""Where everything lives: the checkout, the cache outside of it, and one state folder a cluster."""

from __future__ import annotations

import os
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.localcluster.errors import ClusterError

HERE: Final = Path(__file__).resolve().parent
REPOSITORY: Final = HERE.parent.parent
_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")


def cache() -> Path:
    """Return the cache folder: ``$GYRE_CACHE`` or ``~/.cache/gyre``."""
    return Path(os.environ.get("GYRE_CACHE") or Path.home() / ".cache" / "gyre")


def clusters() -> Path:
    """Return the folder that holds one state folder per cluster of this checkout."""
    return REPOSITORY / ".gyre" / "cluster"


@dataclass(frozen=True)
class State:
    """The state folder of one cluster: ``.gyre/cluster/<name>/``."""

    name: str

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ClusterError(f"--name {self.name!r}: use 1 to 32 lower-case letters, digits and dashes.")

    @property
    def root(self) -> Path:
        """The folder itself."""
        return clusters() / self.name

    @property
    def identity(self) -> str:
        """Eight digits that tell this cluster from those of other checkouts on the machine."""
        return f"{zlib.crc32(str(self.root).encode()):08x}"

    @property
    def lock(self) -> Path:
        """Held by whoever starts or stops the cluster."""
        return clusters() / f".{self.name}.lock"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig, mode 0600."""
        return self.root / "kubeconfig"

    @property
    def record(self) -> Path:
        """What ``down`` must know: kind of cluster, addresses, changed settings."""
        return self.root / "cluster.json"

    @property
    def logs(self) -> Path:
        """One log file per program."""
        return self.root / "logs"

    @property
    def pids(self) -> Path:
        """One pid file per program: ``<pid> <start time>``."""
        return self.root / "pids"

    @property
    def pki(self) -> Path:
        """Certificates and keys of this cluster."""
        return self.root / "pki"

    def make(self) -> None:
        """Create the folders, readable by their owner only."""
        for folder in (self.root, self.logs, self.pids, self.pki):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    @property
    def exists(self) -> bool:
        """Whether something was ever started under this name and not taken down."""
        return self.root.is_dir()
