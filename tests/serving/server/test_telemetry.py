"""Nothing of a user's cluster is reported to anybody."""

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = "import os, gyre_serving.server.models.onnx, onnxruntime; print(os.environ['ORT_DISABLE_TELEMETRY'])"


def test_onnxruntime_makes_no_device_id(tmp_path: Path) -> None:
    """Where its telemetry is on, it keeps a device id and a database below HOME; imported by us it makes neither."""
    environment = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=environment | {"HOME": str(tmp_path)},
        check=True,
        timeout=60,
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "1"
    assert list(tmp_path.rglob("*")) == []
