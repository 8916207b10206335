"""One process of a user's model: loads it, then answers one batch after the other until the channel closes."""

import importlib
import os
import resource
import signal
import socket
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gyre_crds.v1alpha1.version import Signature
from gyre_serving.pod.failure import Failure, one_line
from gyre_serving.server.errors import ModelError
from gyre_serving.server.memory import available, data, resident
from gyre_serving.server.models import Run, load, pieces
from gyre_serving.server.processes.frames import Kind, pack, pack_tensors, receive, tensors_of

_FORKABLE = (
    "joblib",
    "lightgbm",
    "mlflow",
    "numpy",
    "pandas",
    "pyarrow",
    "scipy",
    "sklearn",
    "threadpoolctl",
    "xgboost",
)
"""Libraries that may be imported before a fork; others may hold threads that a fork would lose."""
_GENEROUS = 0.9
"""Share of the memory that is left which workers may take."""


@dataclass(frozen=True)
class Plan:
    """What a worker runs."""

    kind: str
    tree: Path
    signature: Signature
    threads: int
    """Threads of one run."""
    piece: int
    """Rows of one run; 0 leaves requests whole."""
    workers: int
    """Processes that share the memory that is left."""
    growth: int
    """Bytes that a worker may take beyond the loaded version; 0 is its share of what is left."""


def run(channel: socket.socket, plan: Plan) -> None:
    """Load and answer; never returns to the template's loop."""
    _first_to_go()
    channel.sendall(pack(Kind.HELLO, {"pid": os.getpid()}))
    before, known = resident(), set(sys.modules)
    try:
        _bound(_GENEROUS * available())
        model = load(plan.kind, plan.tree, plan.signature, plan.threads).run
    except Failure as failure:
        channel.sendall(
            pack(Kind.REFUSED, {"reason": failure.reason, "message": failure.message, "retry": failure.retry})
        )
        return
    share_cores(plan.threads)
    _bound(plan.growth or _GENEROUS * available() / plan.workers)
    modules = sorted(_forkable(set(sys.modules) - known))
    channel.sendall(pack(Kind.READY, {"bytes": max(0, resident() - before), "modules": modules}))
    _answer(channel, pieces(model, plan.piece) if plan.piece else model, plan.signature)


def _answer(channel: socket.socket, model: Run, signature: Signature) -> None:
    while (frame := receive(channel)) is not None:
        try:
            outputs = model(tensors_of(frame, signature.inputs))
            said = pack_tensors(Kind.OUTPUTS, signature.outputs, outputs)
        except ModelError as error:
            said = pack(Kind.RAISED, {"error": str(error)})
        except Exception as error:  # noqa: BLE001  a user's model may raise anything
            said = pack(Kind.RAISED, {"error": one_line(error)})
        except BaseException as error:  # noqa: BLE001  even SystemExit ends one request only
            said = pack(Kind.RAISED, {"error": f"RuntimeError: {type(error).__name__}: {error}"})
        frame = None  # else its tensors stay in memory until the next ones came
        channel.sendall(said)


def _first_to_go() -> None:
    """Where memory ends in spite of the bound, the system ends a worker and not the server."""
    try:
        Path("/proc/self/oom_score_adj").write_text("1000")
    except OSError:
        return  # no Linux, or a sandbox without it


def _bound(growth: float) -> None:
    """From here on, memory beyond this many more bytes is a MemoryError in the user's own code."""
    limit = data() + int(growth)
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


def share_cores(threads: int) -> None:
    """OpenMP and BLAS take every core for each call unless told: several workers so slow each other down.

    Two threads that wait for each other cost a prediction of one row three times its CPU. A container that sets
    `OMP_NUM_THREADS` has decided for itself.
    """
    if "OMP_NUM_THREADS" in os.environ:
        return
    try:
        libraries = importlib.import_module("threadpoolctl").ThreadpoolController().lib_controllers
    except ImportError:
        return  # no scikit-learn, which brings it
    for library in libraries:
        if library.num_threads > threads:
            library.set_num_threads(threads)


def _forkable(modules: Iterable[str]) -> Iterable[str]:
    return (name for name in modules if name.partition(".")[0] in _FORKABLE)


def adopt(channel: socket.socket, plan: Plan) -> Any:
    """The child's whole life after the fork: whatever happens, it ends here."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    code = 1
    try:
        run(channel, plan)
        code = 0
    except (BrokenPipeError, ConnectionResetError):
        code = 0  # the server is gone
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
