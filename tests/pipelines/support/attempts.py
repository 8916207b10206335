"""One attempt on a folder of its own, with its three containers as processes or calls, and a small real problem."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gyre_crds.contracts.attempt import AttemptOrder
from gyre_pipelines.objects import Store

EPOCH = 1_420_070_400
TRAINING = Path(__file__).parents[1] / "training"


def free_port() -> int:
    """A port that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Attempt:
    """One attempt on a folder of its own, its three containers as processes or calls."""

    folder: Path
    store_environment: Mapping[str, str]
    order: dict[str, Any] = field(default_factory=dict)
    command: list[str] = field(default_factory=list)

    @property
    def root(self) -> Path:
        """What /gyre is in the pod."""
        return self.folder / "gyre"

    def parsed(self) -> AttemptOrder:
        """The order as the containers read it."""
        return AttemptOrder.model_validate(self.order)

    def environment(self, **more: str) -> dict[str, str]:
        """Variables of Gyre's own containers."""
        return {**self.store_environment, "GYRE_ROOT": str(self.root), "GYRE_ATTEMPT": json.dumps(self.order), **more}

    def store(self) -> Store:
        """The namespace's store."""
        return Store.of(self.store_environment)

    def wrap(self, python: str = sys.executable, **order: Any) -> tuple[int, dict[str, Any]]:
        """Run the wrapper; its exit code and termination message."""
        process = self.start_wrapper(python, **order)
        process.communicate(timeout=120)
        return process.returncode, json.loads((self.folder / "termination").read_text())

    def start_wrapper(
        self, python: str = sys.executable, more: Mapping[str, str] | None = None, **order: Any
    ) -> subprocess.Popen[bytes]:
        """Start the wrapper, as the kubelet does in the user's container."""
        body = {"command": self.command, **order}
        environment = {
            "PATH": os.environ["PATH"], "HOME": str(self.folder), "GYRE_ROOT": str(self.root),
            "GYRE_WRAPPER": json.dumps(body), "GYRE_PROGRESS_PORT": str(free_port()),
            "GYRE_TERMINATION_LOG": str(self.folder / "termination"), **(more or {}),
        }  # fmt: skip
        archive = self.root / "bin" / "wrapper.pyz"
        return subprocess.Popen([python, str(archive)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def run_command(self, command: str, **more: str) -> tuple[int, dict[str, Any]]:
        """Run one of Gyre's own commands as a process; its exit code and termination message."""
        message = self.folder / f"{command}.message"
        environment = {**os.environ, **self.environment(), "GYRE_TERMINATION_LOG": str(message), **more}
        done = subprocess.run(
            [sys.executable, "-m", "gyre_pipelines", command],
            env=environment,
            capture_output=True,
            timeout=120,
            check=False,
        )
        return done.returncode, json.loads(message.read_text()) if message.exists() else {}


def table(count: int = 2000, seed: int = 0, start: int = EPOCH) -> pa.Table:
    """Rows of a learnable problem: key, time, features a b c, label y."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 3))
    y = (x[:, 0] + 0.5 * x[:, 1] + 0.5 * rng.normal(size=count) > 0).astype(np.int64)
    return pa.table({
        "id": np.arange(count) + seed * 1_000_000, "time": start + np.arange(count),
        "a": x[:, 0], "b": x[:, 1], "c": x[:, 2], "y": y,
    })  # fmt: skip


CONTRACT: dict[str, Any] = {"key": "id", "time": "time", "label": {"column": "y"}}


def make_attempt(folder: Path, store_environment: Mapping[str, str]) -> Attempt:
    """An attempt over one Parquet file of 2,000 rows, a tenth held out, that trains a real model."""
    source = folder / "base.parquet"
    pq.write_table(table(), source)
    return Attempt(
        folder=folder,
        store_environment=store_environment,
        order={
            "namespace": "team-a", "job": "demo", "uid": "uid-1", "number": 1, "model": "demo", "contract": CONTRACT,
            "data": [{"name": "base", "uri": source.as_uri(), "holdout": 0.1}], "params": {"c": 1.0},
            "image": "registry/image:1", "command": ["python", "train.py"],
        },
        command=[sys.executable, str(TRAINING / "logistic.py")],
    )  # fmt: skip


def until(condition: Callable[[], object]) -> None:
    """Wait for something that must happen within ten seconds."""
    for _ in range(200):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it did not happen within ten seconds")
