"""The process that workers are forked from: libraries are imported here once, a user's code never runs here.

A worker that is replaced costs a fork instead of an interpreter and its imports, which for mlflow are seconds.
"""

import contextlib
import ctypes
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

from gyre_crds.v1alpha1.version import Signature
from gyre_serving.server.models import preload
from gyre_serving.server.processes.worker import Plan, adopt

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_COMMAND_BYTES = 1 << 20


def main(arguments: list[str]) -> NoReturn:
    """`template <fd> <kind> <tree>`: import what the version wants, then obey the server until it is gone."""
    _end_with(os.getppid())
    control = socket.socket(fileno=int(arguments[0]))
    kind, tree = arguments[1], Path(arguments[2])
    # Ctrl-C in a terminal is the server's business: it drains, and this ends with it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)  # what a worker leaves behind is reaped here
    gc.disable()  # imports make no garbage worth looking for
    preload(kind, tree)
    gc.enable()
    gc.freeze()  # a collection in a worker would copy the pages that it shares with this process
    first = json.loads(control.recv(_COMMAND_BYTES) or b"null")
    if first is not None:
        signature = Signature.model_validate(first["plan"]["signature"])
        plan = Plan(**first["plan"] | {"tree": tree, "signature": signature})
        _learn(first["modules"])
        _obey(control, plan)
    os._exit(0)


def _obey(control: socket.socket, plan: Plan) -> None:
    children: set[int] = set()
    bell, ringer = socket.socketpair()
    bell.settimeout(0)
    ringer.settimeout(0)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(ringer.fileno(), warn_on_full_buffer=False)
    while True:
        ready, _, _ = select.select([control, bell], [], [])
        if bell in ready:
            with contextlib.suppress(BlockingIOError):
                bell.recv(_COMMAND_BYTES)
        _reap(control, children)
        if control not in ready:
            continue
        try:
            command, descriptors, _, _ = socket.recv_fds(control, _COMMAND_BYTES, 1)
        except ConnectionResetError:
            return  # the server ended without hearing of the last worker that did
        if not command:
            return
        _command(json.loads(command), descriptors, children, (control, bell, ringer), plan)


def _command(
    command: dict[str, Any], descriptors: list[int], children: set[int], own: tuple[socket.socket, ...], plan: Plan
) -> None:
    if "kill" in command and command["kill"] in children:  # not reaped yet, so the number is still its own
        os.kill(command["kill"], signal.SIGKILL)  # what it started follows when it is reaped
    _learn(command.get("modules", ()))
    if not descriptors:
        return
    me = os.getpid()
    try:
        pid = os.fork()
    except OSError as error:  # no room for one more: the workers that run must not pay for it
        sys.stderr.write(f"no worker could be forked: {error}\n")
        os.close(descriptors[0])
        return
    if pid == 0:
        os.setpgid(0, 0)  # with all that a user's code starts
        for one in own:
            one.close()
        _end_with(me)
        adopt(socket.socket(fileno=descriptors[0]), plan)
    with contextlib.suppress(OSError):
        os.setpgid(pid, pid)  # both do it, whoever comes first
    children.add(pid)
    os.close(descriptors[0])


def _learn(modules: Iterable[str]) -> None:
    for name in modules:
        with contextlib.suppress(Exception):
            importlib.import_module(name)


def _reap(control: socket.socket, children: set[int]) -> None:
    with contextlib.suppress(ChildProcessError):  # none is left
        while ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            pid = ended.si_pid
            if pid in children:  # not reaped yet, so the number is still its own, and its group's
                with contextlib.suppress(OSError):
                    os.killpg(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
            if pid in children:
                children.discard(pid)
                control.send(json.dumps({"pid": pid, "code": os.waitstatus_to_exitcode(status)}).encode())


def _end_with(parent: int) -> None:
    """Be killed when the parent is: a worker that hangs would never notice."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
