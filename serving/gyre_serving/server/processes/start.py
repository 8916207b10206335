"""The template process is started before the server's own imports: both then import side by side.

This module imports next to nothing, or there would be nothing to gain.
"""

import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ISOLATED = frozenset({"MLflow", "Python"})
"""Kinds that run a user's code: it may hang, crash or eat memory, so it gets processes of its own."""
ORDER, ROOT, DEFAULT_ROOT, TREE = "GYRE_FETCH", "GYRE_MODEL_ROOT", "/models", "tree"
"""Names of `gyre_crds.contracts.serving` and `gyre_serving.pod.order`, whose import is what must not be waited for."""


@dataclass(frozen=True)
class Template:
    """A process that imports libraries and then waits for a plan."""

    kind: str
    tree: Path
    process: "subprocess.Popen[bytes]"
    control: socket.socket


_early: list[Template] = []


def begin() -> None:
    """Start the template that `GYRE_FETCH` will want; a broken order is left to those who have the words for it."""
    try:
        kind = json.loads(os.environ.get(ORDER, ""))["format"]
        isolated = kind in ISOLATED
    except (ValueError, LookupError, TypeError):
        return
    if isolated:
        _early.append(_start(kind, Path(os.environ.get(ROOT, DEFAULT_ROOT)) / TREE))


def take(kind: str, tree: Path) -> Template:
    """The template that was begun, or another one where that is gone or for something else."""
    while _early:
        template = _early.pop()
        if (template.kind, template.tree) == (kind, tree) and template.process.poll() is None:
            return template
        template.control.close()
        template.process.kill()
        template.process.wait()
    return _start(kind, tree)


def _start(kind: str, tree: Path) -> Template:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    # Idle threads of OpenMP that spin take the CPU of the other processes and win nothing at these sizes.
    environment = {"OMP_WAIT_POLICY": "PASSIVE"} | os.environ
    # To be called from the thread that lasts as long as the process: with it the template ends.
    process = subprocess.Popen(
        [sys.executable, "-m", "gyre_serving.server.processes.template", str(theirs.fileno()), kind, str(tree)],
        pass_fds=[theirs.fileno()],
        process_group=0,
        env=environment,
    )
    theirs.close()
    return Template(kind, tree, process, ours)
