"""Verifying a stored version: every byte counts."""

from pathlib import Path

from gyre_crds.contracts.task import VerifyOrder
from gyre_pipelines import verify
from gyre_pipelines.objects import Store
from tests.pipelines.support.gating import fitted, version


def test_one_flipped_byte_is_named(store: Store, tmp_path: Path, directory_environment: dict[str, str]) -> None:
    """Verify reads every stored byte and names the first file that differs, or is missing, or was added."""
    made = version(store, tmp_path, "v", fitted())
    prefix = made["uri"].removeprefix(store.uri + "/")
    order = VerifyOrder(uri=made["uri"], digest=made["digest"])
    assert verify.run(order, directory_environment).verified
    good = store.read(f"{prefix}/model.onnx")
    store.write(f"{prefix}/model.onnx", good[:-1] + bytes([good[-1] ^ 1]))
    report = verify.run(order, directory_environment)
    assert (report.verified, "model.onnx has sha256" in report.message) == (False, True)
    store.write(f"{prefix}/model.onnx", good)
    store.write(f"{prefix}/extra.txt", b"x")
    assert "extra.txt was added" in verify.run(order, directory_environment).message
    store.delete(f"{prefix}/extra.txt")
    store.delete(f"{prefix}/gyre/golden.json")
    assert "gyre/golden.json is missing" in verify.run(order, directory_environment).message


def test_a_rewritten_manifest_does_not_help(
    store: Store, tmp_path: Path, directory_environment: dict[str, str]
) -> None:
    """Bytes and manifest changed together still have another digest than the version."""
    made, other = version(store, tmp_path, "v", fitted()), version(store, tmp_path, "w", fitted(seed=4))
    report = verify.run(VerifyOrder(uri=other["uri"], digest=made["digest"]), directory_environment)
    assert not report.verified
    assert f"the version {made['digest']}" in report.message
    store.delete(other["uri"].removeprefix(store.uri + "/") + "/gyre-manifest.json")
    lost = verify.run(VerifyOrder(uri=other["uri"], digest=other["digest"]), directory_environment)
    assert "the store lost the version" in lost.message
