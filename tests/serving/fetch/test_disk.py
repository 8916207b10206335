"""A model volume that is too small, wherever its end is met."""

from pathlib import Path

import pytest

from gyre_crds.contracts import artifact
from tests.serving.support import disk, pod
from tests.serving.support.versions import Version

PAGE = 4096


@pytest.mark.parametrize(
    "spare",
    [
        pytest.param(-3, id="in the middle of the model"),
        pytest.param(-1, id="at its last page"),
        pytest.param(1, id="at the files beside it"),
        pytest.param(7, id="at Triton's configuration"),
    ],
)
def test_a_full_volume_is_one_sentence_and_leaves_nothing_half(version: Version, tmp_path: Path, spare: int) -> None:
    """However many pages there are beside the model: exit code 75, the cure, and no tree that looks whole."""
    pages = -(-(version.tree / artifact.ONNX).stat().st_size // PAGE) + spare
    with disk.small(tmp_path / "models", pages * 4) as root:
        done = pod.fetch(version.order(), root)
        assert done.returncode == 75, done.stderr
        assert "Traceback" not in done.stderr
        said = pod.failure(root)
        assert said.message == (
            "the model volume cannot take the version (No space left on device); give the pod more ephemeral storage"
        )
        tree = root / "tree"
        assert not tree.exists() or artifact.scan(tree).tree_digest == version.digest
        assert not (root / "triton.key").exists()  # never an empty one: it would open Triton's APIs to everyone


def test_a_volume_that_just_suffices_is_enough(version: Version, tmp_path: Path) -> None:
    """The tree is not stored twice: a third more pages than the model has are plenty."""
    size = (version.tree / artifact.ONNX).stat().st_size
    with disk.small(tmp_path / "models", size * 4 // 3 // 1024 + 64) as root:
        assert pod.fetch(version.order(), root).returncode == 0
