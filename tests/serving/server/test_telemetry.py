"""Nothing of a user's cluster is reported to anybody."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("code", "silent"),
    [
        pytest.param("import gyre_serving.server.models.onnx", True, id="as the server imports it"),
        pytest.param("import onnxruntime", False, id="as it is, the reason for this test"),
    ],
)
def test_onnxruntime_makes_no_device_id(code: str, silent: bool, tmp_path: Path) -> None:  # noqa: FBT001
    """Its telemetry keeps a device id and a database below HOME; imported by us it makes neither."""
    environment = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
    subprocess.run([sys.executable, "-c", code], env=environment | {"HOME": str(tmp_path)}, check=True, timeout=60)
    assert (list(tmp_path.rglob("*")) == []) is silent
