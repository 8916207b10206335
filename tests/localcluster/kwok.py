"""Fake nodes: kwok answers for nodes and pods without running anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tests.localcluster.paths import HERE
from tests.localcluster.process import Process
from tests.localcluster.toolchain import program

if TYPE_CHECKING:
    from tests.localcluster.api import Api
    from tests.localcluster.paths import State

_ANNOTATION: Final = "kwok.x-k8s.io/node"
_SECONDS: Final = 60.0


def start(state: State, api: Api, nodes: int) -> None:
    """Start kwok and wait until all fake nodes are Ready."""
    process = Process(state, "kwok")
    process.start(
        [
            program("kwok"),
            f"--kubeconfig={state.kubeconfig}",
            f"--config={HERE / 'stages.yaml'}",
            f"--manage-nodes-with-annotation-selector={_ANNOTATION}=fake",
            "--node-lease-duration-seconds=40",
        ]
    )
    for number in range(nodes):
        api.apply("/api/v1/nodes", fake_node(f"kwok-{number}"))
    process.require(lambda: _ready(api) >= nodes, seconds=_SECONDS, what="kwok")


def fake_node(name: str) -> dict[str, Any]:
    """Return a node that kwok takes care of: 32 cores, 256 GiB, 110 pods."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {_ANNOTATION: "fake"},
            "labels": {"kubernetes.io/hostname": name, "type": "kwok"},
        },
        "status": {key: {"cpu": "32", "memory": "256Gi", "pods": "110"} for key in ("capacity", "allocatable")},
    }


def _ready(api: Api) -> int:
    listed = api.request("GET", "/api/v1/nodes?labelSelector=type%3Dkwok")
    return sum(
        condition["type"] == "Ready" and condition["status"] == "True"
        for node in listed["items"]
        for condition in node["status"].get("conditions", [])
    )
