"""Programs built once from Go modules into the cache, one go.mod and go.sum per group."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tests.localcluster import golang, paths
from tests.localcluster.errors import ClusterError
from tests.localcluster.lock import locked
from tests.localcluster.progress import say, step

if TYPE_CHECKING:
    from pathlib import Path

_GO_VERSION: Final = re.compile(r"^go (\d+)\.(\d+)", re.MULTILINE)
# Measured on a machine without any cache: modules, compiled packages and programs together.
_NEEDED_GIB: Final = {"k8s": 6}
_NEEDED_BY_OTHERS: Final = 1


@dataclass(frozen=True)
class Group:
    """Programs that share one module graph: ``programs`` maps a name to its main package."""

    name: str
    programs: dict[str, str]
    stamps: tuple[str, ...] = field(default=())

    @property
    def module(self) -> Path:
        """The folder of go.mod and go.sum."""
        return paths.HERE / "go" / self.name

    @property
    def bin(self) -> Path:
        """The cache folder of the built programs, keyed by everything that goes into them."""
        digest = hashlib.sha256()
        for path in [self.module / "go.mod", self.module / "go.sum", *self._sources()]:
            digest.update(path.read_bytes())
        return paths.cache() / "bin" / f"{self.name}-{digest.hexdigest()[:12]}"

    def _sources(self) -> list[Path]:
        return sorted(self.module.rglob("*.go"))

    def missing(self) -> list[str]:
        """Return the programs that still have to be built."""
        folder = self.bin
        return [name for name in self.programs if not (folder / name).is_file()]


def _kubernetes_stamps() -> tuple[str, ...]:
    # Without them the API server calls itself v0.0.0 and clients refuse to talk to it.
    values = {"gitVersion": "v1.34.4", "gitMajor": "1", "gitMinor": "34"}
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    return tuple(f"-X {package}.{key}={values[key]}" for package in packages for key in values)


_KUBERNETES: Final = (
    "kube-apiserver",
    "kube-controller-manager",
    "kubelet",
    "kubectl",
    "kube-scheduler",
    "kube-proxy",
)
GROUPS: Final = {
    group.name: group
    for group in (
        Group("etcd", {"etcd": "go.etcd.io/etcd/server/v3"}),
        Group("node", {"pause": "./pause", "pki": "./pki"}),
        Group(
            "k8s",
            {name: f"k8s.io/kubernetes/cmd/{name}" for name in _KUBERNETES},
            _kubernetes_stamps(),
        ),
        Group("coredns", {"coredns": "github.com/coredns/coredns"}),
        Group("helm", {"helm": "helm.sh/helm/v3/cmd/helm"}),
        Group("kwok", {"kwok": "sigs.k8s.io/kwok/cmd/kwok"}),
        Group("versitygw", {"versitygw": "github.com/versity/versitygw/cmd/versitygw"}),
    )
}
CONTROL_PLANE: Final = ("node", "etcd", "k8s")
FULL_NODE: Final = (*CONTROL_PLANE, "coredns", "helm")
_GROUP_OF: Final = {name: group for group in GROUPS.values() for name in group.programs}


def program(name: str) -> str:
    """Return the path of a built program; it must have been built before."""
    path = _GROUP_OF[name].bin / name
    if not path.is_file():
        raise ClusterError(f"{name} is not built: run `python3 -m tests.localcluster build {_GROUP_OF[name].name}`.")
    return str(path)


def search_path() -> list[str]:
    """Return the folders of the built programs that a person may want on PATH."""
    return [str(group.bin) for group in GROUPS.values() if group.bin.is_dir()]


def build(names: tuple[str, ...] = ()) -> None:
    """Build what is missing of the named groups (all by default).

    Each program appears under its name only when complete, so an interrupted build goes on
    where it stopped; Go's own cache carries the half of a program.
    """
    unknown = sorted(set(names) - set(GROUPS))
    if unknown:
        raise ClusterError(f"There is no group {unknown[0]!r}: use {', '.join(GROUPS)}.")
    groups = [GROUPS[name] for name in (names or tuple(GROUPS))]
    if not any(group.missing() for group in groups):
        return
    with locked(paths.cache() / "build.lock", "another build of the cluster's programs"):
        wanted = [(group, name) for group in groups for name in group.missing()]
        if not wanted:
            return
        _check_disk({group.name for group, _ in wanted})
        go = golang.program(max(_go_version(group) for group in groups))
        log = paths.cache() / "log" / "build.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        say(f"Building {len(wanted)} programs from Go modules; log: {log}")
        for number, (group, name) in enumerate(wanted, start=1):
            with step(f"build {name}", number=number, of=len(wanted), log=log):
                _build(go, group, name, log)
        golang.tidy()


def _check_disk(groups: set[str]) -> None:
    paths.cache().mkdir(parents=True, exist_ok=True)
    needed = sum(_NEEDED_GIB.get(name, _NEEDED_BY_OTHERS) for name in groups)
    free = shutil.disk_usage(paths.cache()).free / 2**30
    if free < needed:
        raise ClusterError(
            f"Building needs about {needed} GiB in {paths.cache()}, {free:.1f} GiB are free: "
            "free some space, or point GYRE_CACHE at a larger disk."
        )


def _build(go: str, group: Group, name: str, log: Path) -> None:
    folder = group.bin
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{name}.partial"
    argv = [go, "build", "-trimpath", "-ldflags", " ".join(("-s -w", *group.stamps))]
    with log.open("a", encoding="utf-8") as stream:
        stream.write(f"== {name}\n")
        stream.flush()
        # Nice, because a build must not starve the person who waits for it.
        done = subprocess.run(
            ["nice", *argv, "-o", str(partial), group.programs[name]],
            cwd=group.module,
            env=golang.environment(),
            stdout=stream,
            stderr=stream,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    if done.returncode:
        partial.unlink(missing_ok=True)
        last = log.read_text(errors="replace").strip().splitlines()[-3:]
        raise ClusterError(
            f"Building {name} failed (log: {log}); it goes on from here when run again. Last lines:\n" + "\n".join(last)
        )
    partial.replace(folder / name)


def _go_version(group: Group) -> tuple[int, int]:
    found = _GO_VERSION.search((group.module / "go.mod").read_text(encoding="utf-8"))
    return (int(found[1]), int(found[2])) if found else (1, 26)
