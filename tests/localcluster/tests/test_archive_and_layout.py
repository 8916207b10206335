"""Images travel as valid archives, and a blob that the node has does not travel again."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

from tests.localcluster.archive import write_program_image
from tests.localcluster.layout import Layout

if TYPE_CHECKING:
    from pathlib import Path

REFERENCE = "registry.example/one:1"


def _members(archive: tarfile.TarFile) -> dict[str, bytes]:
    return {one.name: archive.extractfile(one).read() for one in archive}  # type: ignore[union-attr]


def test_program_image(tmp_path: Path) -> None:
    """Every blob is named by its digest, and index, manifest, configuration and layer belong together."""
    program = tmp_path / "pause"
    program.write_bytes(b"\x7fELF static")
    write_program_image(tmp_path / "image.tar", program, "example/pause:1")
    with tarfile.open(tmp_path / "image.tar") as archive:
        files = _members(archive)
    blobs = {name.rpartition("/")[2]: data for name, data in files.items() if name.startswith("blobs/")}
    assert all(hashlib.sha256(data).hexdigest() == name for name, data in blobs.items())
    entry = json.loads(files["index.json"])["manifests"][0]
    assert entry["annotations"]["io.containerd.image.name"] == "example/pause:1"
    manifest = json.loads(blobs[entry["digest"][7:]])
    config = json.loads(blobs[manifest["config"]["digest"][7:]])
    layer = manifest["layers"][0]["digest"]
    assert config["rootfs"]["diff_ids"] == [layer]
    assert config["config"]["Entrypoint"] == ["/pause"]
    with tarfile.open(fileobj=io.BytesIO(blobs[layer[7:]])) as content:
        member = content.getmember("pause")
        assert member.mode & 0o111
        assert member.size == len(b"\x7fELF static")


def _blob(folder: Path, data: bytes) -> str:
    digest = hashlib.sha256(data).hexdigest()
    (folder / "blobs/sha256" / digest).write_bytes(data)
    return f"sha256:{digest}"


@pytest.fixture
def shelf(tmp_path: Path) -> tuple[Layout, dict[str, str]]:
    """Lay out one image of two large layers."""
    (tmp_path / "blobs/sha256").mkdir(parents=True)
    digests = {name: _blob(tmp_path, name.encode() * 100_000) for name in ("old", "new")}
    digests["config"] = _blob(tmp_path, b"{}")
    manifest: dict[str, Any] = {
        "config": {"digest": digests["config"]},
        "layers": [{"digest": digests["old"]}, {"digest": digests["new"]}],
    }
    digests["manifest"] = _blob(tmp_path, json.dumps(manifest).encode())
    entry = {
        "digest": digests["manifest"],
        "annotations": {"org.opencontainers.image.ref.name": REFERENCE},
    }
    (tmp_path / "index.json").write_text(json.dumps({"manifests": [entry]}))
    return Layout(tmp_path), digests


@pytest.mark.parametrize(
    ("present", "sent"),
    [
        ([], ["config", "manifest", "new", "old"]),
        (["old"], ["config", "manifest", "new"]),
        (["old", "new", "config", "manifest"], ["config", "manifest"]),
    ],
    ids=["a fresh node gets all", "a known layer stays at home", "a known image is only named"],
)
def test_only_missing_blobs_travel(shelf: tuple[Layout, dict[str, str]], present: list[str], sent: list[str]) -> None:
    """The stream holds what the node lacks, and the small files that the importer reads from it."""
    layout, digests = shelf
    entry = layout.manifest(REFERENCE)
    assert entry is not None
    stream = io.BytesIO()
    layout._write(stream, entry, REFERENCE, {digests[name] for name in present})
    stream.seek(0)
    with tarfile.open(fileobj=stream) as archive:
        files = _members(archive)
    names = {digest[7:]: name for name, digest in digests.items()}
    assert sorted(names[file[13:]] for file in files if file.startswith("blobs/")) == sent
    named = json.loads(files["index.json"])["manifests"][0]
    assert named["annotations"] == {"io.containerd.image.name": REFERENCE}


def test_inputs_are_forgotten_with_the_image(shelf: tuple[Layout, dict[str, str]]) -> None:
    """What an image was built from counts only while the image is there."""
    layout, _ = shelf
    assert layout.inputs(REFERENCE) == ""
    layout.remember(REFERENCE, "abc")
    assert layout.inputs(REFERENCE) == "abc"
    (layout.folder / "index.json").write_text('{"manifests": []}')
    assert layout.inputs(REFERENCE) == ""
