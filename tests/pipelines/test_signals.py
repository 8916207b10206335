"""Pods that are told to go: the last checkpoint is saved, and the reason is a disruption."""

import json
import os
import signal
import subprocess
import sys
import time

from gyre_crds.contracts.attempt import EXIT_INFRA
from gyre_pipelines import prepare
from tests.pipelines.support.attempts import Attempt


def test_publish_saves_the_last_checkpoint_when_it_must_go(attempt: Attempt) -> None:
    """SIGTERM while the training runs: what is in the checkpoint directory is in the store, the attempt Disrupted."""
    attempt.order.update(checkpointPath="/gyre/checkpoints", checkpointSeconds=600.0)
    prepare.run(attempt.parsed(), attempt.environment())
    message = attempt.folder / "message"
    environment = {**os.environ, **attempt.environment(GYRE_TERMINATION_LOG=str(message))}
    attempt.command = ["sleep", "60"]
    wrapper = attempt.start_wrapper(checkpointPath="/gyre/checkpoints")
    process = subprocess.Popen([sys.executable, "-m", "gyre_pipelines", "publish"], env=environment)
    try:
        (attempt.root / "checkpoints" / "epoch-2.pt").write_bytes(b"weights")
        _wait_for_the_handler(process.pid)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == EXIT_INFRA
    finally:
        wrapper.terminate()
        wrapper.communicate(timeout=30)
    assert json.loads(message.read_text())["reason"] == "Disrupted"
    assert attempt.store().read("jobs/uid-1/checkpoints/epoch-2.pt") == b"weights"


def _wait_for_the_handler(pid: int) -> None:
    """Until the process waits for its training: it catches SIGTERM then, and has nothing left to import."""
    for _ in range(400):
        with open(f"/proc/{pid}/status", encoding="ascii") as status:  # noqa: PTH123  a kernel file, not a path of ours
            caught = next(int(line.split()[1], 16) for line in status if line.startswith("SigCgt"))
        if caught & 1 << (signal.SIGTERM - 1):
            time.sleep(2)
            return
        time.sleep(0.05)
    raise AssertionError("publish never listened to SIGTERM")
