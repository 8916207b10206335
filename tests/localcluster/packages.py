"""Debian packages that the node and the image builds need, installed when they are missing."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

from tests.localcluster.errors import ClusterError
from tests.localcluster.lock import locked
from tests.localcluster.paths import cache
from tests.localcluster.progress import step

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def install(packages: Sequence[str]) -> None:
    """Install packages by apt-get; nothing happens where the list is empty.

    Services are not started: this machine's own containerd, if any, is none of our business.
    """
    if not packages:
        return
    names = " ".join(packages)
    if not shutil.which("apt-get"):
        raise ClusterError(f"Install these with your package manager first: {names}.")
    if os.geteuid():
        raise ClusterError(f"Packages are missing: run `sudo apt-get install {names}`.")
    log = cache() / "log" / "apt.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    # apt-get waits for another one that installs, but not for one that updates its lists.
    with locked(cache() / "apt.lock", "another installation of packages"), step(f"apt-get install {names}", log=log):
        arguments = ["install", "-y", "--no-install-recommends", *packages]
        if _apt(log, *arguments) and (_apt(log, "update") or _apt(log, *arguments)):
            raise ClusterError(f"Installing {names} failed: see {log}, then install them yourself.")


def _apt(log: Path, *arguments: str) -> int:
    # RUNLEVEL=1 makes Debian's helper leave freshly installed services alone.
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    with log.open("a", encoding="utf-8") as stream:
        return subprocess.run(
            ["apt-get", "-o", "DPkg::Lock::Timeout=300", *arguments],  # somebody else may be installing
            stdout=stream,
            stderr=stream,
            stdin=subprocess.DEVNULL,
            env=environment,
            check=False,
        ).returncode
