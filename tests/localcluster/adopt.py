"""Clusters that are not ours: ``CLUSTER=existing`` and ``CLUSTER=kind``."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.localcluster import toolchain
from tests.localcluster.errors import ClusterError
from tests.localcluster.paths import State
from tests.localcluster.process import docker_answers, run
from tests.localcluster.progress import say, step

_OWN: Final = ("", "local")


@dataclass(frozen=True)
class Existing:
    """The cluster of the current KUBECONFIG; it is used, never started or stopped."""

    @property
    def kubeconfig(self) -> Path:
        """The user's own kubeconfig."""
        return Path(os.environ.get("KUBECONFIG") or Path.home() / ".kube" / "config")

    def up(self) -> None:
        """Check that it answers."""
        if self.status()["node"] != "Ready":
            raise ClusterError(
                f"CLUSTER=existing: the cluster of {self.kubeconfig} does not answer, or has no "
                "Ready node: check KUBECONFIG and `kubectl get nodes`."
            )
        say(f"Using the cluster of {self.kubeconfig}.")

    def down(self) -> None:
        """Leave it alone."""
        say("CLUSTER=existing: your cluster stays as it is.")

    def status(self) -> dict[str, str]:
        """Return whether a node is Ready."""
        return {"node": "Ready" if _any_node_ready(self.kubeconfig) else "NotReady"}

    def load(self, archive: Path, name: str) -> None:
        """Refuse: how a cluster gets its images is its owner's choice."""
        raise ClusterError(
            f"CLUSTER=existing: {name} was built as {archive}; push it to a registry that your "
            "cluster pulls from and set image.registry in the chart's values."
        )


@dataclass(frozen=True)
class Kind:
    """A cluster that kind runs in Docker."""

    state: State

    @property
    def kubeconfig(self) -> Path:
        """Beside the state of our own clusters; the user's file is not touched."""
        return self.state.kubeconfig

    @property
    def _name(self) -> str:
        return f"gyre-{self.state.name}"

    def up(self) -> None:
        """Create it where it does not exist."""
        _require_kind()
        if self._name in run(["kind", "get", "clusters"]).split():
            say(f"The kind cluster {self._name} is up already.")
            return
        self.state.make()
        with step(f"kind create cluster {self._name}"):
            where = ("--name", self._name, "--kubeconfig", str(self.kubeconfig))
            run(["kind", "create", "cluster", "--wait", "120s", *where])

    def down(self) -> None:
        """Delete it."""
        _require_kind()
        run(["kind", "delete", "cluster", "--name", self._name])
        shutil.rmtree(self.state.root, ignore_errors=True)

    def status(self) -> dict[str, str]:
        """Return whether its node is Ready."""
        return {"node": "Ready" if _any_node_ready(self.kubeconfig) else "NotReady"}

    def load(self, archive: Path, name: str) -> None:
        """Load one image."""
        with step(f"load {name}"):
            run(["kind", "load", "image-archive", str(archive), "--name", self._name])


if TYPE_CHECKING:
    Adopted = Existing | Kind


def chosen(name: str) -> Adopted | None:
    """Return the other cluster that the environment variable CLUSTER asks for, if any."""
    choice = os.environ.get("CLUSTER", "")
    if choice in _OWN:
        return None
    if choice == "existing":
        return Existing()
    if choice == "kind":
        return Kind(State(name))
    raise ClusterError(f"CLUSTER={choice}: use `existing`, `kind`, or leave it unset.")


def _require_kind() -> None:
    cure = "or unset CLUSTER to use the local node (root, no Docker)."
    if not docker_answers():
        raise ClusterError(f"CLUSTER=kind needs a running Docker: start it, {cure}")
    if not shutil.which("kind"):
        raise ClusterError(f"CLUSTER=kind needs kind, which is not on PATH: install it, {cure}")


def _any_node_ready(kubeconfig: Path) -> bool:
    kubectl = shutil.which("kubectl") or toolchain.program("kubectl")
    path = "{.items[*].status.conditions[?(@.type=='Ready')].status}"
    try:
        said = run(
            [kubectl, "get", "nodes", "--request-timeout=10s", f"-o=jsonpath={path}"],
            env={"KUBECONFIG": str(kubeconfig)},
        )
    except ClusterError:
        return False
    return "True" in said.split()
