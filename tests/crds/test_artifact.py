"""The tree digest: what changes it and what does not."""

import random
from pathlib import Path

import pytest

from gyre_crds.contracts.artifact import ArtifactError, FileEntry, first_difference, manifest, scan


def _tree(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


FILES = {"model.onnx": b"weights", "gyre/golden.json": b"{}", "model/MLmodel": b"stamp"}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"model.onnx": b"weightz"}, "model.onnx has sha256"),
        ({"extra.bin": b""}, "extra.bin was added"),
        ({"gyre/golden.json": b"{ }"}, "gyre/golden.json has sha256"),
    ],
    ids=["one flipped byte", "one added file", "one more space"],
)
def test_every_change_is_seen_and_named(tmp_path: Path, change: dict[str, bytes], sentence: str) -> None:
    """A tree that differs in one byte or file has another digest, and the file is named."""
    wanted = scan(_tree(tmp_path / "a", FILES))
    found = scan(_tree(tmp_path / "b", {**FILES, **change}))

    assert found.tree_digest != wanted.tree_digest
    assert (first_difference(wanted, found) or "").startswith(sentence)


def test_a_renamed_file_is_another_tree(tmp_path: Path) -> None:
    """Names are part of the identity, unlike in digests over file digests alone."""
    assert (
        scan(_tree(tmp_path / "a", {"1/m": b"x"})).tree_digest != scan(_tree(tmp_path / "b", {"2/m": b"x"})).tree_digest
    )


def test_packaging_changes_the_tree_and_not_the_payload(tmp_path: Path) -> None:
    """MLflow's stamps do not make another payload."""
    one = scan(_tree(tmp_path / "a", FILES))
    two = scan(_tree(tmp_path / "b", {**FILES, "model/MLmodel": b"later"}))

    assert one.payload_digest == two.payload_digest
    assert one.tree_digest != two.tree_digest


def test_the_order_of_files_does_not_matter() -> None:
    """The same entries in any order have one digest."""
    entries = [FileEntry(path=f"f{index}", sha256="0" * 64, size=index) for index in range(20)]
    shuffled = entries[:]
    random.Random(1).shuffle(shuffled)  # noqa: S311  test data

    assert manifest(entries) == manifest(shuffled)


@pytest.mark.parametrize(("name", "word"), [("a\nb", "no plain path"), ("e\u0301", "normal form")])
def test_ambiguous_names_are_refused(tmp_path: Path, name: str, word: str) -> None:
    """A name that two systems could read in two ways has no digest."""
    with pytest.raises(ArtifactError, match=word):
        scan(_tree(tmp_path, {name: b""}))


def test_symbolic_links_and_empty_trees_are_refused(tmp_path: Path) -> None:
    """A link could point anywhere, and nothing is no model."""
    with pytest.raises(ArtifactError, match="no file"):
        scan(tmp_path)
    (tmp_path / "link").symlink_to("/etc/passwd")
    with pytest.raises(ArtifactError, match="symbolic link"):
        scan(tmp_path)
