"""The full node: up, down, status."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.localcluster import addons, machine, network, node, pki, toolchain
from tests.localcluster.api import Api
from tests.localcluster.archive import write_program_image
from tests.localcluster.components import (
    API_SERVER,
    CONTROLLER_MANAGER,
    ETCD,
    SCHEDULER,
    Layout,
)
from tests.localcluster.errors import ClusterError
from tests.localcluster.lock import locked
from tests.localcluster.packages import install
from tests.localcluster.paths import REPOSITORY, State, cache, clusters
from tests.localcluster.process import Process, kill_marked, run
from tests.localcluster.progress import say, step
from tests.localcluster.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable

KIND: Final = "node"
CONTROL: Final = (ETCD, API_SERVER, CONTROLLER_MANAGER, SCHEDULER)
WORKERS: Final = (node.CONTAINERD, node.DNS, node.KUBELET, node.PROXY)
RECYCLER: Final = "recycler"
_CLIENTS: Final = (CONTROLLER_MANAGER, SCHEDULER, node.KUBELET, node.PROXY, node.DNS)
_SECONDS: Final = 120.0
_FULL_BYTES: Final = 64 * 2**20  # below this, a full disk is why something failed
_FREE_BYTES: Final = 3 * 2**30  # what a started cluster with the platform's images writes


@dataclass(frozen=True)
class Cluster:
    """One full node with its control plane."""

    state: State

    @property
    def sandbox(self) -> Sandbox:
        """The namespaces in which it runs."""
        return Sandbox(self.state)

    def record(self) -> dict[str, Any]:
        """Return what was written down for ``down``; empty where nothing was started."""
        try:
            value: dict[str, Any] = json.loads(self.state.record.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return value

    def network(self) -> network.Network:
        """Return the addresses of the running cluster."""
        return network.Network(self.state.identity, self.record()["octet"])

    def layout(self) -> Layout:
        """Return the control plane's addresses."""
        addresses = self.network()
        return Layout(
            self.state,
            addresses.node,
            port=6443,
            etcd_port=2379,
            etcd_peer_port=2380,
            controller_manager_port=10257,
            scheduler_port=10259,
            services=addresses.services,
            node=True,
        )

    def api(self) -> Api:
        """Return a client of the API server."""
        return Api(self.layout().url, self.state.pki)

    def node(self) -> node.Node:
        """Return the node's settings."""
        return node.Node(self.state, self.network(), self.sandbox.cgroup)

    def ctr(self, *arguments: str) -> str:
        """Run containerd's client against the node's own containerd."""
        client = ["ctr", "--address", node.SOCKET, "--namespace", "k8s.io"]
        return run([*self.sandbox.among_mounts(), *client, *arguments])

    def ready(self) -> bool:
        """Whether the node says that it is Ready."""
        try:
            answer = self.api().request("GET", f"/api/v1/nodes/{self.node().name}")
        except (OSError, ClusterError):
            return False
        conditions = answer["status"].get("conditions", [])
        return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)

    def up(self) -> None:
        """Start everything; nothing is left behind where that fails."""
        _require_root()
        with locked(self.state.lock, "another `up` or `down`"):
            if self.sandbox.alive() and self.ready():
                say(f"The cluster {self.state.name} is up already.")
                return
            _check_disk()
            install(node.missing_packages())
            toolchain.build(toolchain.FULL_NODE)
            self._clean()  # the rest of a start that was interrupted
            started = time.monotonic()
            try:
                self._start()
            except BaseException as error:
                say("Cleaning up ...")
                full = _free_bytes() < _FULL_BYTES
                self._keep_logs()
                self._clean()
                self.state.lock.unlink(missing_ok=True)
                if full and isinstance(error, ClusterError):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
                raise
            say(
                f"Node {self.node().name} is Ready after {time.monotonic() - started:.1f} s. "
                f"KUBECONFIG={self.state.kubeconfig}"
            )

    def _start(self) -> None:
        self._prepare()
        steps: list[tuple[str, Callable[[], None]]] = [
            ("etcd and API server", self._start_api_server),
            ("controllers, scheduler, containerd, DNS", self._start_middle),
            ("kubelet and Service network", self._start_kubelet),
            ("node Ready", self._wait_ready),
        ]
        for number, (what, action) in enumerate(steps, start=1):
            with step(what, number=number, of=len(steps)):
                action()

    def _prepare(self) -> None:
        state = self.state
        state.make()
        with machine.alone():
            machine.remember()
            addresses = network.choose(state.identity)
            record = {"kind": KIND, "octet": addresses.octet}
            state.record.write_text(json.dumps(record), encoding="utf-8")
            self.sandbox.make_cgroups()
            self.sandbox.start()
            network.connect(addresses, self.sandbox.init(), self.sandbox.inside())
            network.open_outside(addresses)
        layout = self.layout()
        own = self.node()
        pki.issue(state.pki, [addresses.node, "127.0.0.1", layout.first_service], node=own.name)
        pki.write_kubeconfig(state.kubeconfig, pki=state.pki, user="admin", url=layout.url)
        for user in _CLIENTS:
            config = state.pki / f"{user}.kubeconfig"
            pki.write_kubeconfig(config, pki=state.pki, user=user, url=layout.url)
        own.write()

    def _run(self, name: str, command: list[str]) -> Process:
        process = Process(self.state, name)
        process.start([*self.sandbox.inside(), *command])
        return process

    def _start_api_server(self) -> None:
        layout = self.layout()
        # The API server waits for etcd by itself, containerd needs neither.
        self._run(ETCD, layout.command(ETCD))
        self._run(node.CONTAINERD, self.node().command(node.CONTAINERD))
        server = self._run(API_SERVER, layout.command(API_SERVER))
        server.require(lambda: self.api().answers("/readyz"), seconds=_SECONDS, what="The API server")

    def _start_middle(self) -> None:
        layout, own = self.layout(), self.node()
        for name in (CONTROLLER_MANAGER, SCHEDULER):
            self._run(name, layout.command(name))
        Process(self.state, node.CONTAINERD).require(self._containerd_answers, seconds=_SECONDS, what=node.CONTAINERD)
        self._import_pause()
        addons.apply_dns(self.api(), self.network())
        addons.apply_storage(self.api(), self.state.root / "volumes", own.name)
        self._run(node.DNS, own.command(node.DNS))
        module = [sys.executable, "-m", f"tests.localcluster.{RECYCLER}", self.state.name]
        self._run(RECYCLER, ["env", f"PYTHONPATH={REPOSITORY}", *module])

    def _containerd_answers(self) -> bool:
        try:
            self.ctr("version")
        except ClusterError:
            return False
        return True

    def _import_pause(self) -> None:
        archive = self.state.root / "pause.tar"
        write_program_image(archive, Path(toolchain.program("pause")), node.PAUSE_IMAGE)
        self.ctr("images", "import", "--all-platforms", str(archive))

    def _start_kubelet(self) -> None:
        own = self.node()
        for name in (node.KUBELET, node.PROXY):
            self._run(name, own.command(name))

    def _wait_ready(self) -> None:
        kubelet = Process(self.state, node.KUBELET)
        kubelet.require(self.ready, seconds=_SECONDS, what="The kubelet")
        accounts = "/api/v1/namespaces/default/serviceaccounts/default"
        manager = Process(self.state, CONTROLLER_MANAGER)
        manager.require(lambda: self.api().answers(accounts), seconds=_SECONDS, what=CONTROLLER_MANAGER)

    def down(self) -> None:
        """Take everything down, whatever is left of it."""
        left = self.sandbox.left() or network.connected(self.state.identity)
        if not self.state.exists and not left:
            say(f"There is no cluster {self.state.name}.")
            return
        _require_root()
        what = f"take {self.state.name} down"
        with locked(self.state.lock, "another `up` or `down`"), step(what):
            self._clean()
            self.state.lock.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            clusters().rmdir()

    def _clean(self) -> None:
        with machine.alone():
            self.sandbox.stop()
            for name in (*CONTROL, *WORKERS, RECYCLER):
                Process(self.state, name).stop(patience=0.0)
            kill_marked(self.state)
            network.disconnect(self.state.identity)
            network.close_outside(self.state.identity)
            machine.restore()
        shutil.rmtree(self.state.root, ignore_errors=True)

    def _keep_logs(self) -> None:
        """Keep the logs of a failed start, which else go with the state folder."""
        kept = cache() / "log" / f"failed-{self.state.name}"
        shutil.rmtree(kept, ignore_errors=True)
        with contextlib.suppress(OSError):
            shutil.copytree(self.state.logs, kept)
            say(f"The logs of the failed start are in {kept}.")

    def status(self) -> dict[str, str]:
        """Return each program and whether it runs, and the node's state."""
        alive = self.sandbox.alive()
        found = {
            name: "running" if Process(self.state, name).pid() else "stopped" for name in (*CONTROL, *WORKERS, RECYCLER)
        }
        found["node"] = "Ready" if alive and self.ready() else "NotReady"
        return found


def _require_root() -> None:
    if os.geteuid():
        raise ClusterError(
            "A node needs root (containers, network, control groups): run it with sudo, use "
            "`control-plane up` for an API server alone, or CLUSTER=existing for your own cluster."
        )


def _check_disk() -> None:
    free = _free_bytes()
    if free < _FREE_BYTES:
        raise ClusterError(
            f"A cluster with its images needs about {_FREE_BYTES / 2**30:.0f} GiB, "
            f"{free / 2**30:.1f} GiB are free in the checkout: free some space."
        )


def _free_bytes() -> int:
    folder = next(one for one in (clusters(), *clusters().parents) if one.is_dir())
    return shutil.disk_usage(folder).free
