"""Signals that reach the whole process group, as a service manager sends them."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gyre_crds.contracts import artifact
from tests.serving.support import pod
from tests.serving.support.pod import Container
from tests.serving.support.triton import free_port
from tests.serving.support.versions import Version, write_tree

OWN = (
    "class Model:\n    def __init__(self, directory): pass\n    def predict(self, inputs): return inputs['x'].ravel()\n"
)
SIGNATURE = {
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 1]}],
    "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1]}],
}


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT], ids=lambda how: how.name)
def test_a_signal_to_all_processes_ends_them_calmly(tmp_path: Path, root: Path, how: signal.Signals) -> None:
    """The server drains and ends with 0, the processes of user code with it, and nobody leaves a traceback."""
    files = {artifact.PYTHON: OWN.encode(), artifact.SIGNATURE: json.dumps(SIGNATURE).encode()}
    tree, digest = write_tree(tmp_path / "store", files)
    order = Version(tree, digest, None, np.zeros((1, 1), dtype=np.float32)).order(
        "own", runtime="Python", format="Python"
    )
    assert pod.fetch(order, root).returncode == 0
    port, log = free_port(), tmp_path / "serve.log"
    command = [sys.executable, "-m", "gyre_serving", "serve", "--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, env=pod.environment(order, root), stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
    server = Container(process, port, log)
    try:
        server.until("Serving")
        os.killpg(process.pid, how)
        assert process.wait(20) == 0
    finally:
        server.stop()
    for _ in range(100):  # the others read of the server's end a moment later
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            break
        signal.sigtimedwait([], 0.05)
    assert "Traceback" not in log.read_text()
