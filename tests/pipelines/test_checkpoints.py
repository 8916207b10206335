"""The checkpoint mirror: finished files only, pointers last, what the training dropped is dropped."""

import os
from pathlib import Path

import pytest

from gyre_pipelines.checkpoints import Mirror, restore
from gyre_pipelines.objects import Store


@pytest.fixture
def mirror(tmp_path: Path, directory_environment: dict[str, str]) -> Mirror:
    """A mirror over an empty folder."""
    (tmp_path / "checkpoints").mkdir()
    return Mirror(Store.of(directory_environment), "uid-1", tmp_path / "checkpoints")


def stored(mirror: Mirror) -> list[str]:
    """Names in the store."""
    return [entry.path.removeprefix("jobs/uid-1/checkpoints/") for entry in mirror.store.list("jobs/uid-1/checkpoints")]


def test_a_file_that_still_grows_waits(mirror: Mirror) -> None:
    """Only a file that two looks saw alike is copied."""
    path = mirror.folder / "epoch-1.pt"
    path.write_bytes(b"half")
    mirror.look()
    path.write_bytes(b"half and half")
    mirror.look()
    assert stored(mirror) == []
    mirror.look()
    assert mirror.store.read("jobs/uid-1/checkpoints/epoch-1.pt") == b"half and half"
    assert mirror.look() == 0


def test_names_that_say_unfinished_are_left_alone(mirror: Mirror) -> None:
    """*.tmp and *.partial are never copied, not even at the end."""
    (mirror.folder / "a.tmp").write_bytes(b"x")
    (mirror.folder / "b.partial").write_bytes(b"x")
    (mirror.folder / "c.pt").write_bytes(b"x")
    mirror.look(final=True)
    assert stored(mirror) == ["c.pt"]


def test_what_the_training_dropped_is_dropped(mirror: Mirror) -> None:
    """A training that keeps its last checkpoint alone does not get all of them back."""
    (mirror.folder / "1.pt").write_bytes(b"1")
    mirror.look(final=True)
    (mirror.folder / "1.pt").unlink()
    (mirror.folder / "2.pt").write_bytes(b"2")
    mirror.look(final=True)
    assert stored(mirror) == ["2.pt"]


def test_an_older_file_goes_first(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pointer written after the weights is copied after them, so it never points at nothing."""
    for age, name in ((20, "weights"), (10, "a-pointer")):
        (mirror.folder / name).write_bytes(b"x")
        os.utime(mirror.folder / name, (1_700_000_000 - age, 1_700_000_000 - age))
    sent: list[str] = []
    monkeypatch.setattr(Store, "upload", lambda _store, path, _name: sent.append(path.name))
    mirror.look(final=True)
    assert sent == ["weights", "a-pointer"]


def test_restored_files_are_what_was_saved(mirror: Mirror, tmp_path: Path) -> None:
    """The next attempt finds the same tree."""
    (mirror.folder / "deep" / "er").mkdir(parents=True)
    (mirror.folder / "deep" / "er" / "x.pt").write_bytes(b"x")
    mirror.look(final=True)
    assert restore(mirror.store, "uid-1", tmp_path / "again") == 1
    assert (tmp_path / "again" / "deep" / "er" / "x.pt").read_bytes() == b"x"
