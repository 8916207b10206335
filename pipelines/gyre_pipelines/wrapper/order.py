"""What the wrapper is told, and where its files are. Names follow gyre_crds.contracts.attempt."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

EXIT_USER = 64
EXIT_INFRA = 75
MESSAGE_LIMIT = 4096
PROGRESS_PORT = 9464
ROOT = "/gyre"


@dataclass(frozen=True)
class Order:
    """The order and the files of the attempt."""

    command: list[str]
    root: Path
    output: Path
    checkpoints: Path | None
    hang_seconds: float | None
    memory_bytes: int | None
    port: int
    termination: Path

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Order:
        """Read GYRE_WRAPPER.

        Raises:
            ValueError: it is missing or names no command.
        """
        body = json.loads(environment.get("GYRE_WRAPPER") or "{}")
        command = [str(word) for word in body.get("command") or []]
        if not command:
            raise ValueError("GYRE_WRAPPER: command is empty; set spec.command")
        root = Path(environment.get("GYRE_ROOT") or ROOT)
        checkpoints = _either(body, "checkpointPath", "checkpoint_path")
        return cls(
            command=command,
            root=root,
            output=place(root, body.get("output") or ROOT + "/output"),
            checkpoints=place(root, checkpoints) if checkpoints else None,
            hang_seconds=_either(body, "hangSeconds", "hang_seconds"),
            memory_bytes=_either(body, "memoryBytes", "memory_bytes"),
            port=int(environment.get("GYRE_PROGRESS_PORT") or PROGRESS_PORT),
            termination=Path(environment.get("GYRE_TERMINATION_LOG") or "/dev/termination-log"),
        )

    @property
    def progress(self) -> Path:
        """Where the user's code may tell how far it is."""
        return self.root / "progress.jsonl"

    @property
    def lock(self) -> Path:
        """Held from start to end; what is written in it says that a training has started."""
        return self.root / "train.lock"

    @property
    def result(self) -> Path:
        """The report for publish."""
        return self.root / "result.json"

    @property
    def rows(self) -> Path:
        """Reference rows to predict."""
        return self.root / "reference" / "rows.json"

    @property
    def predictions(self) -> Path:
        """What the native model said to them."""
        return self.root / "reference" / "predictions.json"

    def params(self) -> dict[str, Any]:
        """The job's parameters."""
        try:
            found = json.loads((self.root / "params.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}


def place(root: Path, path: str) -> Path:
    """A path below /gyre, moved below this root; any other path as it is."""
    pure = PurePosixPath(path)
    parts = pure.parts
    if parts[:2] == ("/", "gyre"):
        return root.joinpath(*parts[2:])
    return Path(path)


def user_environment(order: Order, environment: Mapping[str, str], cores: int | None = None) -> dict[str, str]:
    """The environment of the user's command: everything it had, where its things are, and the cores it may use."""
    result = dict(environment)
    for name in ("GYRE_WRAPPER", "GYRE_TERMINATION_LOG"):
        result.pop(name, None)
    result["GYRE_DATA"] = str(order.root / "data")
    result["GYRE_OUTPUT"] = str(order.output)
    result["GYRE_PROGRESS"] = str(order.progress)
    if order.checkpoints is not None:
        result["GYRE_CHECKPOINTS"] = str(order.checkpoints)
    for name, value in order.params().items():
        key = "GYRE_PARAM_" + re.sub(r"[^A-Za-z0-9]", "_", name).upper()
        result[key] = value if isinstance(value, str) else json.dumps(value)
    # Lines that sit in a buffer when a training is killed are the very lines that would explain it.
    result.setdefault("PYTHONUNBUFFERED", "1")
    # Threads that wait by spinning cost a shared node ten times the training's own time.
    result.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if cores is not None:
        # OpenMP counts the node's cores; the container has only its share of them.
        result.setdefault("OMP_NUM_THREADS", str(cores))
    # A hung training is ended by SIGABRT, which then prints where every thread stands.
    result.setdefault("PYTHONFAULTHANDLER", "1")
    # Code that logs to MLflow works without a server: publish reads the runs from the shared volume.
    result.setdefault("MLFLOW_TRACKING_URI", (order.root / "mlruns").as_uri())
    result.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    result.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    return result


def bare_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What a prediction needs and no more: no secret of the user's reaches the model file that is loaded."""
    kept = {"PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "LD_PRELOAD", "PYTHONPATH",
            "VIRTUAL_ENV", "CONDA_PREFIX", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"}  # fmt: skip
    threads = {"OMP_WAIT_POLICY", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"}
    return {name: value for name, value in environment.items() if name in kept | threads}


def _either(body: Mapping[str, Any], wire: str, plain: str) -> Any:
    return body.get(wire, body.get(plain))


def own_environment() -> dict[str, str]:
    """This process's environment."""
    return dict(os.environ)
