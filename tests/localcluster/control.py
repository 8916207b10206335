"""The small tier: etcd, API server, controllers and scheduler on loopback; no root, no node."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tests.localcluster import kwok as fake_nodes
from tests.localcluster import pki, toolchain
from tests.localcluster.api import Api
from tests.localcluster.components import (
    API_SERVER,
    CONTROLLER_MANAGER,
    ETCD,
    SCHEDULER,
    Layout,
)
from tests.localcluster.errors import ClusterError
from tests.localcluster.paths import State, clusters
from tests.localcluster.process import Process, kill_marked, start_time

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KIND: Final = "control-plane"
_PROGRAMS: Final = (ETCD, API_SERVER, CONTROLLER_MANAGER, SCHEDULER)
_CLIENTS: Final = (CONTROLLER_MANAGER, SCHEDULER)
_ATTEMPTS: Final = 3  # a free port may be gone again when the program asks for it
_START_SECONDS: Final = 90.0
_numbers = itertools.count(1)


@dataclass(frozen=True)
class ControlPlane:
    """A running control plane."""

    layout: Layout
    kwok: bool = field(default=False)

    @property
    def name(self) -> str:
        """The cluster's name, also that of its state folder."""
        return self.layout.state.name

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.layout.state.kubeconfig

    @property
    def url(self) -> str:
        """The API server's address."""
        return self.layout.url

    @property
    def audit_log(self) -> Path:
        """One JSON line per request, where ``audit=True`` was asked for."""
        return self.layout.state.logs / "audit.log"

    @property
    def api(self) -> Api:
        """Requests as the administrator, without a client library."""
        return Api(self.url, self.layout.state.pki)

    def start_program(self, name: str) -> None:
        """Start one of the four programs (again) on its ports and wait until it is ready."""
        process = Process(self.layout.state, name)
        process.start(self.layout.command(name))
        process.require(lambda: self._ready(name), seconds=_START_SECONDS, what=name)

    def _ready(self, name: str) -> bool:
        return self.api.answers("/readyz") if name == API_SERVER else _listens(self._port(name))

    def _port(self, name: str) -> int:
        layout = self.layout
        return {
            ETCD: layout.etcd_port,
            API_SERVER: layout.port,
            CONTROLLER_MANAGER: layout.controller_manager_port,
            SCHEDULER: layout.scheduler_port,
        }[name]

    def stop_program(self, name: str, *, patience: float = 5.0) -> None:
        """Stop one of the four programs; ``patience=0`` is a kill -9 at once."""
        Process(self.layout.state, name).stop(patience=patience)

    def stop(self) -> None:
        """Stop everything and remove the state folder."""
        take_down(self.layout.state)


@contextlib.contextmanager
def control_plane(
    name: str | None = None, *, kwok: bool = False, nodes: int = 10, audit: bool = False
) -> Iterator[ControlPlane]:
    """Run a control plane for the length of a ``with`` block.

    Args:
        name: of the state folder; made up by default, so several run side by side.
        kwok: also run kwok with ``nodes`` fake nodes, on which pods "run".
        nodes: number of fake nodes.
        audit: keep an audit log (``.audit_log``), one JSON line per request.
    """
    sweep()
    running = bring_up(
        name or f"cp-{os.getpid()}-{next(_numbers)}",
        kwok=kwok,
        nodes=nodes,
        audit=audit,
        owner=os.getpid(),
    )
    try:
        yield running
    finally:
        running.stop()


def bring_up(
    name: str, *, kwok: bool = False, nodes: int = 10, audit: bool = False, owner: int | None = None
) -> ControlPlane:
    """Start a control plane that stays until ``take_down`` (or until its owner has died)."""
    toolchain.build((*toolchain.CONTROL_PLANE, *(("kwok",) if kwok else ())))
    state = State(name)
    if state.exists:
        raise ClusterError(
            f"The cluster {name} exists already: choose another --name, or run "
            f"`python3 -m tests.localcluster control-plane down --name {name}`."
        )
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return _start(state, kwok=kwok, nodes=nodes, audit=audit, owner=owner)
        except BaseException as error:
            collided = "address already in use" in _logs(state)
            take_down(state)
            if not (isinstance(error, ClusterError) and collided and attempt < _ATTEMPTS):
                raise
    raise AssertionError  # the loop returns or raises


def _start(state: State, *, kwok: bool, nodes: int, audit: bool, owner: int | None) -> ControlPlane:
    state.make()
    record = {"kind": KIND, "owner": [owner, start_time(owner)] if owner else None}
    state.record.write_text(json.dumps(record), encoding="utf-8")
    ports = free_ports(5)
    layout = Layout(
        state,
        "127.0.0.1",
        port=ports[0],
        etcd_port=ports[1],
        etcd_peer_port=ports[2],
        controller_manager_port=ports[3],
        scheduler_port=ports[4],
        services="10.0.0.0/24",
        audit=audit,
    )
    pki.issue(state.pki, ["127.0.0.1", layout.first_service])
    pki.write_kubeconfig(state.kubeconfig, pki=state.pki, user="admin", url=layout.url)
    for client in _CLIENTS:
        config = state.pki / f"{client}.kubeconfig"
        pki.write_kubeconfig(config, pki=state.pki, user=client, url=layout.url)
    if audit:
        _write_audit_policy(state)
    running = ControlPlane(layout, kwok=kwok)
    for name in _PROGRAMS[:2]:
        running.start_program(name)
    for name in _CLIENTS:
        Process(state, name).start(layout.command(name))
    wait_for_accounts(running.api, Process(state, CONTROLLER_MANAGER))
    scheduler = Process(state, SCHEDULER)
    scheduler.require(lambda: _listens(layout.scheduler_port), seconds=_START_SECONDS, what=SCHEDULER)
    if kwok:
        fake_nodes.start(state, running.api, nodes)
    return running


def wait_for_accounts(api: Api, controller_manager: Process) -> None:
    """Wait for the default service account: without it no pod can be created."""
    path = "/api/v1/namespaces/default/serviceaccounts/default"
    controller_manager.require(lambda: api.answers(path), seconds=_START_SECONDS, what=CONTROLLER_MANAGER)


def _write_audit_policy(state: State) -> None:
    policy: dict[str, Any] = {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [{"level": "Metadata"}],
    }
    (state.root / "audit-policy.json").write_text(json.dumps(policy), encoding="utf-8")


def _logs(state: State) -> str:
    logs = (Process(state, name).tail(40) for name in _PROGRAMS)
    return "\n".join(logs)


def free_ports(count: int) -> list[int]:
    """Return that many loopback ports that nobody listens on right now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def _listens(port: int) -> bool:
    with contextlib.closing(socket.socket()) as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def take_down(state: State) -> None:
    """Stop every program of a control plane and remove its folder; nothing there is fine."""
    for name in reversed(("kwok", *_PROGRAMS)):
        # Nothing here is worth a slow goodbye: the data goes with it.
        Process(state, name).stop(patience=0.0)
    kill_marked(state)
    shutil.rmtree(state.root, ignore_errors=True)


def sweep() -> None:
    """Remove control planes whose owner died without cleaning up (kill -9 of a test run)."""
    for folder in clusters().glob("*/cluster.json"):
        with contextlib.suppress(OSError, ValueError):
            record = json.loads(folder.read_text(encoding="utf-8"))
            owner = record.get("owner")
            if record.get("kind") == KIND and owner and start_time(owner[0]) != owner[1]:
                take_down(State(folder.parent.name))


def names() -> list[str]:
    """Return the names of the control planes that exist."""
    return sorted(
        folder.parent.name
        for folder in clusters().glob("*/cluster.json")
        if json.loads(folder.read_text(encoding="utf-8")).get("kind") == KIND
    )
