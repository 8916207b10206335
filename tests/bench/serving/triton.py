"""Real Triton from the wheel nvidia-pytriton, started as the image starts it and loaded by hand."""

import os
import urllib.request
from collections.abc import Callable
from pathlib import Path

from gyre_crds.contracts.serving import FetchOrder
from gyre_serving.agent.client import ADMIN_HEADER
from gyre_serving.pod.order import Places
from tests.bench.serving.load import Command, free_port
from tests.bench.serving.programs import Missing
from tests.serving.support import pod, triton


def server(folder: Path, order: FetchOrder) -> tuple[Command, Callable[[], None]]:
    """The command of a Triton on the order's version, and what loads the model once its port answers.

    Raises:
        Missing: the wheel cannot be had here.
    """
    root = folder / "models"
    root.mkdir(parents=True)
    done = pod.fetch(order, root)
    if done.returncode:
        raise RuntimeError(done.stderr)
    try:
        installation = triton.install()
    except triton.Unavailable as error:
        raise Missing(str(error)) from error
    port = free_port()
    options = [f"--http-port={port}", "--http-address=127.0.0.1", f"--metrics-port={free_port()}"]
    environment = {
        "PATH": os.environ["PATH"],
        "GYRE_TRITON_HOME": str(installation.server.parent),
        "GYRE_MODEL_ROOT": str(root),
        "GYRE_TERMINATION_LOG": str(folder / "termination"),
    }
    command = Command(["sh", str(triton.RUNTIME / "start.sh"), *options], port, environment)
    return command, lambda: load(port, root, order.name)


def load(port: int, root: Path, name: str) -> None:
    """Load a model, over the one that serves."""
    url = f"http://127.0.0.1:{port}/v2/repository/models/{name}/load"
    key = Places(root).key.read_text()
    request = urllib.request.Request(url, data=b"{}", headers={ADMIN_HEADER: key}, method="POST")
    with urllib.request.urlopen(request, timeout=120) as answer:  # noqa: S310  http of this machine
        answer.read()
