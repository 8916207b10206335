"""The full node: a second one beside whatever runs, its whole life, and no trace afterwards."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.localcluster import gpu, machine, paths, toolchain
from tests.localcluster.cluster import Cluster
from tests.localcluster.node import PAUSE_IMAGE
from tests.localcluster.process import Process, run, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.node, pytest.mark.skipif(os.geteuid() != 0, reason="a node needs root")]
PODS = "/api/v1/namespaces/default/pods"


def _traces(cluster: Cluster) -> list[str]:
    """Return everything on the machine that belongs to the cluster."""
    identity = cluster.state.identity
    firewall = run(["iptables-save"]).splitlines()
    mounts = Path("/proc/mounts").read_text().splitlines()
    return [
        *(str(path) for path in Path("/sys/class/net").glob(f"*{identity}*")),
        *(str(path) for path in Path("/sys/fs/cgroup").glob(f"*/gyre-{identity}")),
        *(str(path) for path in Path("/sys/fs/cgroup").glob(f"gyre-{identity}")),
        *(line for line in firewall if identity in line),
        *(line for line in mounts if str(cluster.state.root) in line),
        *(str(path) for path in cluster.state.root.parent.glob(f"*{cluster.state.name}*")),
        *(entry for entry in _processes() if f"{cluster.state.root}/" in entry),
    ]


def _processes() -> Iterator[str]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue


def _settings() -> dict[str, str]:
    return {name: Path("/proc/sys", name).read_text() for name in machine._SETTINGS}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Run a node of its own for these tests."""
    own = Cluster(paths.State("nodetest"))
    own.up()
    yield own
    own.down()
    assert _traces(own) == []


def _pod(name: str, **container: Any) -> dict[str, Any]:
    main = {"name": "main", "image": PAUSE_IMAGE, "imagePullPolicy": "IfNotPresent", **container}
    return {"metadata": {"name": name}, "spec": {"containers": [main], "terminationGracePeriodSeconds": 0}}


def _wait(cluster: Cluster, name: str, phase: str) -> dict[str, Any]:
    def found() -> dict[str, Any]:
        value: dict[str, Any] = cluster.api().request("GET", f"{PODS}/{name}")
        return value

    assert wait_until(lambda: found()["status"]["phase"] == phase, seconds=60, every=0.2), found()["status"]
    return found()


def test_pod_is_reached_from_here(cluster: Cluster) -> None:
    """A pod runs and this machine reaches its address and the cluster's DNS directly."""
    cluster.api().request("POST", PODS, _pod("plain"))
    address = _wait(cluster, "plain", "Running")["status"]["podIP"]
    assert run(["ping", "-c", "1", "-W", "5", address]) if Path("/bin/ping").exists() else address
    assert _resolve(cluster, "kubernetes.default.svc.cluster.local") == cluster.layout().first_service


def _resolve(cluster: Cluster, name: str) -> str:
    """Ask the Service kube-dns for an address by a hand-made question."""
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    question = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + labels + b"\x00\x00\x01\x00\x01"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.settimeout(2)
        for _ in range(10):
            asker.sendto(question, (cluster.network().dns, 53))
            try:
                return socket.inet_ntoa(asker.recv(512)[-4:])
            except TimeoutError:  # kube-proxy may still be writing its rules
                continue
    pytest.fail("the cluster's DNS did not answer")


def test_service_is_reached_from_here(cluster: Cluster) -> None:
    """The API server answers under its Service address, through kube-proxy."""
    address = cluster.layout().first_service
    there = replace(cluster.api(), url=f"https://{address}")
    assert there.request("GET", "/version")["gitVersion"] == "v1.34.4"


def test_volume_comes_back(cluster: Cluster) -> None:
    """A claim without a class gets a volume; deleted, the volume is offered again."""
    api = cluster.api()
    claim = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    api.request("POST", "/api/v1/namespaces/default/persistentvolumeclaims", claim)
    pod = _pod("writer", volumeMounts=[{"name": "v", "mountPath": "/v"}])
    pod["spec"]["volumes"] = [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]
    api.request("POST", PODS, pod)
    _wait(cluster, "writer", "Running")
    api.request("DELETE", f"{PODS}/writer")
    api.request("DELETE", "/api/v1/namespaces/default/persistentvolumeclaims/data")

    def phases() -> set[str]:
        return {one["status"]["phase"] for one in api.request("GET", "/api/v1/persistentvolumes")["items"]}

    assert wait_until(lambda: phases() == {"Available"}, seconds=60, every=0.5)


def test_pretended_slices_are_scheduled(cluster: Cluster) -> None:
    """Seven slices take seven pods; the eighth waits and says why."""
    gpu.patch_node(cluster, {"nvidia.com/mig-1g.10gb": 7}, {})
    slices = {"limits": {"nvidia.com/mig-1g.10gb": "1"}}
    api = cluster.api()
    node = f"/api/v1/nodes/{cluster.node().name}"

    def offered() -> object:
        return api.request("GET", node)["status"]["allocatable"].get("nvidia.com/mig-1g.10gb")

    assert wait_until(lambda: offered() == "7", seconds=30, every=0.5)
    for number in range(8):
        api.request("POST", PODS, _pod(f"slice-{number}", resources=slices))
    assert wait_until(lambda: _phases(cluster).count("Running") == 7, seconds=60, every=0.5), _phases(cluster)
    waiting = next(one for one in _slices(cluster) if one["status"]["phase"] == "Pending")
    assert "Insufficient nvidia.com/mig-1g.10gb" in waiting["status"]["conditions"][0]["message"]


def _slices(cluster: Cluster) -> list[dict[str, Any]]:
    listed = cluster.api().request("GET", PODS)["items"]
    return [one for one in listed if one["metadata"]["name"].startswith("slice-")]


def _phases(cluster: Cluster) -> list[str]:
    return [one["status"]["phase"] for one in _slices(cluster)]


@pytest.mark.parametrize("seconds", [0.3, 1.0, 2.0, 4.0])
def test_start_killed(seconds: float) -> None:
    """A start that is killed (-9) at any moment leaves nothing after `down`, settings included."""
    own = Cluster(paths.State("killtest"))
    before = _settings()
    up = [sys.executable, "-m", "tests.localcluster", "up", "--name", "killtest"]
    with subprocess.Popen(up, cwd=paths.REPOSITORY, stderr=subprocess.DEVNULL) as started:
        time.sleep(seconds)
        started.send_signal(signal.SIGKILL)
    own.down()
    # The lock of a start that made nothing else may remain; it is an empty file in the checkout.
    assert [trace for trace in _traces(own) if not trace.endswith(".lock")] == []
    assert _settings() == before


def test_everything_killed() -> None:
    """Also when every program of the node was killed, `down` leaves nothing."""
    own = Cluster(paths.State("killtest"))
    own.up()
    for file in own.state.pids.iterdir():
        pid = Process(own.state, file.name).pid()
        if pid:
            os.kill(pid, signal.SIGKILL)
    own.down()
    assert _traces(own) == []


def test_programs_are_built() -> None:
    """What `up` needs was built into the cache."""
    assert not any(toolchain.GROUPS[name].missing() for name in toolchain.FULL_NODE)
