"""The image builder: buildah with storage of its own, below the cache."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.localcluster import settings
from tests.localcluster.errors import ClusterError
from tests.localcluster.packages import install
from tests.localcluster.paths import cache
from tests.localcluster.process import run

if TYPE_CHECKING:
    from pathlib import Path

_ENVIRONMENT: Final = {
    # A chroot needs no runtime, no network set-up and no privileges that a guest may lack.
    "BUILDAH_ISOLATION": "chroot",
    "STORAGE_DRIVER": "overlay",
}


@dataclass(frozen=True)
class Buildah:
    """buildah with ``root`` as its storage; a user's own images are never touched."""

    root: Path

    def _argv(self, *arguments: str) -> list[str]:
        places = ["--root", str(self.root / "storage"), "--runroot", str(self.root / "run")]
        return ["nice", "buildah", *places, *arguments]

    def run(self, *arguments: str) -> str:
        """Run one command and return its output."""
        return run(self._argv(*arguments), env=_ENVIRONMENT)

    def has(self, image: str) -> bool:
        """Whether the builder knows the image."""
        with contextlib.suppress(ClusterError):
            self.run("inspect", "--type", "image", "--format", "{{.FromImageID}}", image)
            return True
        return False

    def build(self, *, dockerfile: Path, context: Path, tag: str, log: Path) -> None:
        """Build one image; layers whose inputs did not change are taken from earlier builds."""
        mounts = settings.mounts(self.root / "settings")
        argv = self._argv(
            "build",
            "--layers",
            "--pull-never",
            "--network=host",
            "--ulimit=nofile=1024:1024",
            "--format=oci",
            *(f"--volume={source}:{target}:ro" for source, target in mounts.items()),
            f"--file={dockerfile}",
            f"--tag={tag}",
            str(context),
        )
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("w", encoding="utf-8") as stream:
            done = subprocess.run(
                argv,
                stdout=stream,
                stderr=stream,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **_ENVIRONMENT},
                check=False,
            )
        if done.returncode:
            last = "\n".join(log.read_text(errors="replace").strip().splitlines()[-8:])
            raise ClusterError(f"Building {tag} failed; the log is {log}. Last lines:\n{last}")

    def push(self, image: str, layout: Path, tag: str) -> None:
        """Copy an image into an OCI layout; blobs that are there already stay."""
        self.run("push", "--quiet", image, f"oci:{layout}:{tag}")

    def clear(self) -> None:
        """Remove the working containers that a failed build left."""
        self.run("rm", "--all")


def builder() -> Buildah:
    """Return the builder, installed where it is missing."""
    if os.geteuid():
        raise ClusterError("Building images needs root where there is no Docker: run it with sudo.")
    if not shutil.which("buildah"):
        install(["buildah"])
    root = cache() / "containers"
    root.mkdir(parents=True, exist_ok=True)
    return Buildah(root)
