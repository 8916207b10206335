"""Fixtures of the serving plane: versions are trained once a run, the real Triton is installed once a machine."""

from pathlib import Path

import pytest

from tests.serving.support import triton
from tests.serving.support.versions import Version, publish


@pytest.fixture(scope="session")
def version(tmp_path_factory: pytest.TempPathFactory) -> Version:
    """A version whose ONNX answers as its model."""
    return publish(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="session")
def installation() -> triton.Installation:
    """The real Triton."""
    try:
        return triton.install()
    except triton.Unavailable as error:
        pytest.skip(str(error))


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The pod's model volume and termination log."""
    monkeypatch.setenv("GYRE_MODEL_ROOT", str(tmp_path / "models"))
    monkeypatch.setenv("GYRE_TERMINATION_LOG", str(tmp_path / "termination"))
    (tmp_path / "models").mkdir()
    return tmp_path / "models"
