"""The Python base image, made by debootstrap and tagged with the public image's name.

The very same Dockerfiles then build here, without any registry, and on a normal machine.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.localcluster.errors import ClusterError
from tests.localcluster.packages import install
from tests.localcluster.paths import cache
from tests.localcluster.process import run
from tests.localcluster.progress import step

if TYPE_CHECKING:
    from tests.localcluster.buildah import Buildah

NAME: Final = "docker.io/library/python:3.11-slim-bookworm"
_SUITE: Final = "bookworm"
_PACKAGES: Final = "python3,python3-pip,python3-venv,ca-certificates"
# What no container reads: 60 of 300 MB.
_DROPPED: Final = (
    "usr/share/doc",
    "usr/share/man",
    "usr/share/info",
    "usr/share/locale",
    "var/cache/apt",
    "var/lib/apt/lists",
    "var/log",
)
# Build settings of this machine are mounted over these; they stay empty in every image.
_PLACEHOLDERS: Final = ("etc/pip.conf", "etc/uv/uv.toml")
_KINDS: Final = ("sbin", "bin")
_RECIPE: Final = "\n".join((_SUITE, _PACKAGES, *_DROPPED, *_PLACEHOLDERS, "2"))


def key() -> str:
    """Return a digest of everything that makes the base image what it is."""
    return hashlib.sha256(_RECIPE.encode()).hexdigest()[:12]


def ensure(buildah: Buildah) -> None:
    """Make the base image available to the builder."""
    archive = cache() / "images" / f"base-{key()}.tar"
    if not archive.is_file():
        if not shutil.which("debootstrap"):
            install(["debootstrap"])
        _make(buildah, archive)
    if not buildah.has(_local_name()):
        with step("load the base image into the builder"):
            buildah.run("pull", "--quiet", f"oci-archive:{archive}")
            buildah.run("tag", _local_name(), NAME)


def _local_name() -> str:
    return f"localhost/gyre-base:{key()}"


def _make(buildah: Buildah, archive: Path) -> None:
    archive.parent.mkdir(parents=True, exist_ok=True)
    log = cache() / "log" / "debootstrap.log"
    with tempfile.TemporaryDirectory(dir=cache(), prefix="base-") as folder:
        root = Path(folder) / "root"
        with step("make the base image (debootstrap)", log=log):
            _bootstrap(root, log)
            _adapt(root)
        with step("store the base image"):
            _store(buildah, root, archive)


def _store(buildah: Buildah, root: Path, archive: Path) -> None:
    path = ":".join(f"{place}/{kind}" for place in ("/usr/local", "/usr", "") for kind in _KINDS)
    partial = archive.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    container = buildah.run("from", "scratch").strip()
    buildah.run("add", "--quiet", container, str(root), "/")
    environment = ("--env", f"PATH={path}", "--env", "LANG=C.UTF-8")
    buildah.run("config", *environment, "--cmd", "python3", container)
    target = f"oci-archive:{partial}:{_local_name()}"
    buildah.run("commit", "--quiet", "--rm", container, target)
    partial.replace(archive)


def _bootstrap(root: Path, log: Path) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    command = f"debootstrap --variant=minbase --include={_PACKAGES} {_SUITE} '{root}'"
    try:
        run(["sh", "-c", f"nice {command} > '{log}' 2>&1"])
    except ClusterError:
        raise ClusterError(
            f"debootstrap failed: see {log}; it needs root and Debian's mirror, or a proxy for it."
        ) from None


def _adapt(root: Path) -> None:
    for folder in _DROPPED:
        for path in (root / folder).iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    for name in ("python", "python3", "python3.11"):
        (root / "usr/local/bin" / name).symlink_to("/usr/bin/python3.11")
    # The public image lets pip install beside the interpreter; Debian's would refuse.
    (root / "usr/lib/python3.11/EXTERNALLY-MANAGED").unlink(missing_ok=True)
    for name in _PLACEHOLDERS:
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).touch()
