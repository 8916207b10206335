"""Programs of Debian's Prometheus packages: those that are installed, else unpacked once below the cache."""

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

_PACKAGES = ("prometheus", "prometheus-alertmanager")


@cache
def program(name: str) -> str:
    """Where a program is.

    Raises:
        RuntimeError: it is not installed, and apt-get cannot bring it.
    """
    found = shutil.which(name)
    if found is not None:
        return found
    folder = Path(os.environ.get("GYRE_CACHE") or Path.home() / ".cache" / "gyre") / "prometheus"
    path = folder / "usr" / "bin" / name
    if not path.exists():
        _unpack(folder)
    return str(path)


def _unpack(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if _call(folder, "apt-get", "download", *_PACKAGES) and _call(folder, "apt-get", "update"):
        pass  # old lists may do
    if not list(folder.glob("*.deb")) and _call(folder, "apt-get", "download", *_PACKAGES):
        raise RuntimeError(f"apt-get cannot bring {', '.join(_PACKAGES)}: install them by hand")
    for package in folder.glob("*.deb"):
        subprocess.run(["dpkg", "-x", str(package), str(folder)], check=True)


def _call(folder: Path, *command: str) -> int:
    return subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode
