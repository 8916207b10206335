"""Locks, volumes, settings of the machine, other clusters, and what the command line says."""

from __future__ import annotations

import errno
import multiprocessing
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.localcluster import adopt, cli, control, errors, images, machine, node, paths, recycler
from tests.localcluster.errors import ClusterError
from tests.localcluster.lock import locked

if TYPE_CHECKING:
    from pathlib import Path


def _hold(path: Path, seconds: float, *, remove: bool) -> None:
    with locked(path, "nobody"):
        time.sleep(seconds)
        if remove:
            path.unlink()


@pytest.mark.parametrize("remove", [False, True], ids=["the file stays", "the holder removes the file"])
def test_lock_excludes(tmp_path: Path, capsys: pytest.CaptureFixture[str], *, remove: bool) -> None:
    """The second waits for the first and says so."""
    path = tmp_path / "lock"
    holder = multiprocessing.get_context("spawn").Process(target=_hold, args=(path, 1.0), kwargs={"remove": remove})
    holder.start()
    while not path.exists():
        time.sleep(0.01)
    time.sleep(0.2)
    with locked(path, "the other one"):
        assert path.exists()
        holder.join(timeout=10)
        assert holder.exitcode == 0
    assert "Waiting for the other one" in capsys.readouterr().err


def test_lock_of_the_dead(tmp_path: Path) -> None:
    """A holder that was killed holds nothing."""
    path = tmp_path / "lock"
    holder = multiprocessing.get_context("spawn").Process(target=_hold, args=(path, 60.0), kwargs={"remove": False})
    holder.start()
    while not path.exists():
        time.sleep(0.01)
    holder.kill()
    holder.join()
    started = time.monotonic()
    with locked(path, "the dead one"):
        assert time.monotonic() - started < 5


@pytest.mark.parametrize("name", ["a", "default", "cp-12-3", "x" * 32])
def test_names(name: str) -> None:
    """Names that fit a folder, a node and an interface are taken."""
    assert paths.State(name).root.name == name


@pytest.mark.parametrize("name", ["", "A", "a_b", "-a", "a-", "../up", "x" * 33])
def test_bad_names(name: str) -> None:
    """Other names are refused with what is allowed."""
    with pytest.raises(ClusterError, match="use 1 to 32 lower-case letters, digits and dashes"):
        paths.State(name)


@pytest.mark.parametrize(
    ("volume", "expected"),
    [
        ({"storageClassName": "standard", "local": {}}, True),
        ({"storageClassName": "fast", "local": {}}, False),
        ({"storageClassName": "standard", "csi": {}}, False),
    ],
    ids=["ours", "another class", "another kind of volume"],
)
def test_released(volume: dict[str, Any], *, expected: bool) -> None:
    """Only our own released volumes are emptied."""
    assert recycler.released({"spec": volume, "status": {"phase": "Released"}}) is expected
    assert recycler.released({"spec": volume, "status": {"phase": "Bound"}}) is False


def test_empty(tmp_path: Path) -> None:
    """A volume is given back empty and with its first mode."""
    volume = tmp_path / "local-00"
    (volume / "deep").mkdir(parents=True)
    (volume / "deep" / "file").write_text("data")
    volume.chmod(0o2777)
    recycler.empty(volume)
    assert list(volume.iterdir()) == []
    assert volume.stat().st_mode & 0o7777 == 0o755


def test_machine_settings_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last node restores settings and removes folders; one that is not the last leaves them."""
    system, interfaces = tmp_path / "sys", tmp_path / "net"
    interfaces.mkdir()
    folders = (str(tmp_path / "kubelet"), str(tmp_path / "cni"))
    (tmp_path / "cni").mkdir()  # the machine's own
    for name in machine._SETTINGS:
        (system / name).parent.mkdir(parents=True, exist_ok=True)
        (system / name).write_text("0\n")
    for name, value in {
        "_SYSTEM": system,
        "_INTERFACES": interfaces,
        "_RUN": tmp_path / "run",
        "FOLDERS": folders,
    }.items():
        monkeypatch.setattr(machine, name, value)
    with machine.alone():
        machine.remember()
    (system / "kernel/panic").write_text("10\n")
    with machine.alone():
        machine.remember()  # a second node finds the settings already changed
    (interfaces / "gyre00000001").mkdir()
    with machine.alone():
        machine.restore()
    assert (system / "kernel/panic").read_text() == "10\n"
    assert (tmp_path / "kubelet").is_dir()
    (interfaces / "gyre00000001").rmdir()
    with machine.alone():
        machine.restore()
    assert (system / "kernel/panic").read_text() == "0\n"
    assert not (tmp_path / "kubelet").exists()
    assert (tmp_path / "cni").is_dir()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["nameserver 192.0.2.53\nsearch x\n"], "nameserver 192.0.2.53\n"),
        (["nameserver 127.0.0.53\n"], ""),
        (["", "nameserver ::1\nnameserver 192.0.2.1\n"], "nameserver 192.0.2.1\n"),
    ],
    ids=["a server of the network", "a stub on loopback is no use", "the first file with a usable server"],
)
def test_resolvers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: list[str], expected: str) -> None:
    """Pods ask the machine's name servers, as far as they can reach them."""
    found = [tmp_path / str(number) for number in range(len(files))]
    for path, text in zip(found, files, strict=True):
        path.write_text(text)
    monkeypatch.setattr(node, "_RESOLVERS", tuple(found))
    assert node.resolvers() == expected


@pytest.mark.parametrize(
    ("choice", "kind"),
    [("", type(None)), ("local", type(None)), ("existing", adopt.Existing), ("kind", adopt.Kind)],
    ids=["unset", "ours by name", "the current one", "kind"],
)
def test_choice(monkeypatch: pytest.MonkeyPatch, choice: str, kind: type) -> None:
    """CLUSTER chooses whose cluster is used."""
    monkeypatch.setenv("CLUSTER", choice)
    assert isinstance(adopt.chosen("default"), kind)


def test_existing_is_never_stopped(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`down` leaves a cluster alone that we did not start."""
    monkeypatch.setenv("CLUSTER", "existing")
    assert cli.main(["down"]) == 0
    assert "your cluster stays as it is" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "environment", "sentence"),
    [
        (["up"], {"CLUSTER": "minikube"}, "CLUSTER=minikube: use `existing`, `kind`, or leave it unset."),
        (["up", "--name", "A"], {}, "--name 'A': use 1 to 32 lower-case letters, digits and dashes."),
        (["images", "nope"], {}, "There is no image 'nope': use operators,"),
        (["up"], {"CLUSTER": "existing", "KUBECONFIG": "/nowhere"}, "does not answer, or has no Ready node"),
    ],
    ids=["an unknown choice", "a bad name", "an unknown image", "a cluster that does not answer"],
)
def test_errors_are_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    *,
    arguments: list[str],
    environment: dict[str, str],
    sentence: str,
) -> None:
    """What a user did wrong ends with one sentence and exit code 1, never with a traceback."""
    (tmp_path / "kubectl").write_text("#!/bin/sh\necho refused >&2; exit 1\n")
    (tmp_path / "kubectl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("CLUSTER", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert cli.main(arguments) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert sentence in said
    assert said.count("\n") == 1


def test_not_root(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without root the node is refused before anything is touched, with the other ways."""
    monkeypatch.delenv("CLUSTER", raising=False)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert cli.main(["up", "--name", "unit-not-root"]) == 1
    assert "A node needs root" in capsys.readouterr().err
    assert not paths.State("unit-not-root").exists


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "The disk is full: free some space"),
        (errno.EACCES, "Permission denied: run as the owner"),
        (errno.EIO, "Input/output error (/x)."),
    ],
    ids=["full disk", "no permission", "anything else keeps the system's words"],
)
def test_system_errors(number: int, words: str) -> None:
    """An error of the system comes with a cure where one is known."""
    assert words in str(errors.from_os_error(OSError(number, "Input/output error", "/x")))


def test_free_ports_differ() -> None:
    """Ports that are handed out together are different ones."""
    assert len(set(control.free_ports(20))) == 20


def test_references() -> None:
    """Product images carry the platform's version and the chart's registry."""
    found = images.references()
    assert found["operators"] == f"ghcr.io/gyre-dev/operators:{images.version()}"
    assert len(set(found.values())) == len(found)
