"""Fetching: what arrives is the version, byte by byte, or nothing does."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from gyre_crds.contracts import artifact
from gyre_serving.fetch import store
from gyre_serving.fetch.main import main
from gyre_serving.pod.order import Places
from tests.serving.support import pod
from tests.serving.support.triton import free_port
from tests.serving.support.versions import Version, publish, write_tree


@pytest.fixture
def run(root: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run the init container in this process; returns its exit code."""

    def go(version: Version, **fields: object) -> int:
        order = version.order(**fields)  # type: ignore[arg-type]
        monkeypatch.setenv("GYRE_FETCH", order.model_dump_json(by_alias=True))
        return main([])

    del root
    return go


def test_a_version_is_laid_out_for_triton(version: Version, root: Path) -> None:
    """The container leaves the verified tree and a model repository whose ONNX takes no room twice."""
    done = pod.fetch(version.order(), root)
    assert done.returncode == 0, done.stderr
    where = Places(root)
    assert artifact.scan(where.tree).tree_digest == version.digest
    model = where.repository / "census"
    assert sorted(path.relative_to(model).as_posix() for path in model.rglob("*") if path.is_file()) == [
        "1/model.onnx",
        "1/model.py",
        "config.pbtxt",
    ]
    assert (model / "1" / "model.onnx").samefile(where.tree / "model.onnx")
    assert where.key.stat().st_mode & 0o777 == 0o600
    assert len(where.key.read_text()) == 64


def test_the_python_runtime_gets_the_tree_alone(version: Version, root: Path, run: Callable[..., int]) -> None:
    """The built-in server needs neither repository nor key."""
    assert run(version, runtime="Python") == 0
    assert [path.name for path in root.iterdir()] == ["tree"]


@pytest.mark.parametrize("name", ["model.onnx", "gyre/signature.json", "gyre/golden.json"])
def test_one_flipped_byte_is_refused_with_the_file_s_name(
    name: str, tmp_path: Path, root: Path, run: Callable[..., int]
) -> None:
    """One wrong bit anywhere in the tree: nothing is laid out, and the sentence names the file."""
    version = publish(tmp_path / "store")
    path = version.tree / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert run(version) == 64
    said = pod.failure(root)
    assert said.reason == "DigestMismatch"
    assert said.message.startswith(f"{name} has sha256 ")
    assert list(root.iterdir()) == []


def _shorten(tree: Path) -> None:
    path = tree / "model.onnx"
    path.write_bytes(path.read_bytes()[:-1])


def _remove(tree: Path) -> None:
    (tree / "model.onnx").unlink()


def _rewrite_manifest(tree: Path) -> None:
    (tree / "model.onnx").write_bytes(b"another model")
    (tree / artifact.MANIFEST).write_text(artifact.scan(tree).model_dump_json(by_alias=True))


def _leave_the_root(tree: Path) -> None:
    manifest = json.loads((tree / artifact.MANIFEST).read_text())
    manifest["files"][0]["path"] = "../outside"
    (tree / artifact.MANIFEST).write_text(json.dumps(manifest))


def _garble(tree: Path) -> None:
    (tree / artifact.MANIFEST).write_text("{")


def _no_manifest(tree: Path) -> None:
    (tree / artifact.MANIFEST).unlink()


@pytest.mark.parametrize(
    ("spoil", "wanted"),
    [
        pytest.param(_shorten, ("DigestMismatch", "model.onnx has sha256"), id="a truncated file"),
        pytest.param(_remove, ("ArtifactGone", "model.onnx"), id="a file that is gone"),
        pytest.param(
            _rewrite_manifest,
            ("DigestMismatch", "gyre-manifest.json lists other files"),
            id="a manifest of other bytes",
        ),
        pytest.param(
            _leave_the_root, ("DigestMismatch", "'../outside' is no plain path"), id="a path that leaves the root"
        ),
        pytest.param(_garble, ("DigestMismatch", "gyre-manifest.json cannot be read"), id="a manifest that is no JSON"),
        pytest.param(_no_manifest, ("ArtifactGone", "holds no version"), id="a tree without manifest"),
    ],
)
def test_a_spoilt_tree_is_refused(
    spoil: Callable[[Path], None], wanted: tuple[str, str], tmp_path: Path, root: Path, run: Callable[..., int]
) -> None:
    """Each way to spoil a stored tree ends with its reason, exit code 64, and an empty volume."""
    version = publish(tmp_path / "store")
    spoil(version.tree)
    assert run(version) == 64
    said = pod.failure(root)
    assert (said.reason, said.exit_code) == (wanted[0], 64)
    assert wanted[1] in said.message
    assert list(root.iterdir()) == []
    assert not (root / ".." / "outside").exists()


def test_a_second_run_needs_no_store(tmp_path: Path, root: Path, run: Callable[..., int]) -> None:
    """A restarted init container keeps a tree that is right, even while the store is away."""
    version = publish(tmp_path / "store")
    assert run(version) == 0
    key = Places(root).key.read_text()
    (version.tree / artifact.MANIFEST).unlink()
    assert run(version) == 0
    assert Places(root).key.read_text() == key


def test_a_tree_that_went_wrong_on_the_volume_is_fetched_again(
    version: Version, root: Path, run: Callable[..., int]
) -> None:
    """A tree that no longer has its digest is replaced, not trusted."""
    assert run(version) == 0
    (root / "tree" / "model.onnx").write_bytes(b"half")
    assert run(version) == 0
    assert artifact.scan(root / "tree").tree_digest == version.digest


def test_an_mlflow_version_on_triton_names_the_cure(version: Version, root: Path, run: Callable[..., int]) -> None:
    """Triton serves ONNX; the sentence says which field to set."""
    assert run(version, format="MLflow") == 64
    assert "set spec.runtime.kind: Python" in pod.failure(root).message


def test_a_version_without_onnx_on_triton_names_the_cure(tmp_path: Path, root: Path, run: Callable[..., int]) -> None:
    """A tree without model.onnx cannot be served by Triton."""
    tree, digest = write_tree(tmp_path / "store", {"model.bin": b"x"})
    assert run(Version(tree, digest, None, None)) == 64  # type: ignore[arg-type]
    assert "neither gyre/signature.json nor model.onnx" in pod.failure(root).message


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        pytest.param("", "GYRE_FETCH is empty", id="no order"),
        pytest.param("{", "GYRE_FETCH: ", id="no JSON"),
        pytest.param('{"uri":"file:///x"}', "GYRE_FETCH: digest: Field required", id="a field is missing"),
    ],
)
def test_a_bad_order_names_the_field(text: str, sentence: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order is the operator's; if it is wrong, the sentence says where."""
    monkeypatch.setenv("GYRE_FETCH", text)
    assert main([]) == 64
    assert sentence in pod.failure(root).message


def test_a_store_that_is_away_may_be_tried_again(
    version: Version, root: Path, run: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody listens at the endpoint: exit code 75, and the reason says it is the store."""
    monkeypatch.setenv("GYRE_STORE_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("GYRE_STORE_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("GYRE_STORE_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setitem(store._RETRY, "max_retries", 1)
    order = version.order().model_copy(update={"uri": "s3://gyre/team/sha256/aa/bb"})
    monkeypatch.setenv("GYRE_FETCH", order.model_dump_json(by_alias=True))
    assert main([]) == 75
    assert pod.failure(root).reason == "StoreUnreachable"
    del run
