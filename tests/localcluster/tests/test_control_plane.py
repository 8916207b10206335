"""The small tier on real programs; skipped where they were never built."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.localcluster import paths, toolchain
from tests.localcluster.api import Api, ApiError
from tests.localcluster.control import control_plane, sweep
from tests.localcluster.process import Process, start_time, wait_until

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(
        any(toolchain.GROUPS[name].missing() for name in (*toolchain.CONTROL_PLANE, "kwok")),
        reason="run `python3 -m tests.localcluster build` first",
    ),
]
CRASH = """
import os, signal, sys
from tests.localcluster import control_plane
with control_plane() as cp:
    print(cp.name, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_two_side_by_side() -> None:
    """Two control planes run at once, apart from each other, and leave nothing."""

    def make(_: int) -> str:
        with control_plane() as plane:
            assert plane.kubeconfig.stat().st_mode & 0o777 == 0o600
            body = {"metadata": {"name": "only-here"}}
            plane.api.request("POST", "/api/v1/namespaces/default/configmaps", body)
            return plane.url

    with ThreadPoolExecutor(2) as pool:
        urls = list(pool.map(make, range(2)))
    assert urls[0] != urls[1]
    assert not list(paths.clusters().glob(f"cp-{os.getpid()}-*"))


def test_admission_jobs_audit_and_restart() -> None:
    """Policies and Pod Security are on, kwok runs Jobs, the audit log counts, and an outage ends."""
    with control_plane(kwok=True, nodes=2, audit=True) as plane:
        _restricted_namespace(plane.api)
        jobs = "/apis/batch/v1/namespaces/default/jobs"
        pod = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "x"}]}
        plane.api.request("POST", jobs, {"metadata": {"name": "j"}, "spec": {"template": {"spec": pod}}})

        def done() -> bool:
            return bool(plane.api.request("GET", f"{jobs}/j")["status"].get("succeeded") == 1)

        assert wait_until(done, seconds=30, every=0.2)
        records = [json.loads(line) for line in plane.audit_log.read_text().splitlines()]
        assert any(one["verb"] == "create" and one["objectRef"]["resource"] == "jobs" for one in records)
        plane.stop_program("kube-apiserver", patience=0.0)
        # Refused, or reset where the kernel was still closing the dead server's socket.
        with pytest.raises(ConnectionError):
            plane.api.request("GET", "/version")
        plane.start_program("kube-apiserver")
        assert done()


def _restricted_namespace(api: Api) -> None:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    api.request("POST", "/api/v1/namespaces", {"metadata": {"name": "r", "labels": labels}})
    accounts = "/api/v1/namespaces/r/serviceaccounts/default"
    assert wait_until(lambda: api.answers(accounts), seconds=20)
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
    with pytest.raises(ApiError, match='violates PodSecurity "restricted:latest"') as caught:
        api.request("POST", "/api/v1/namespaces/r/pods", pod)
    assert caught.value.status == 403


def test_killed_owner_is_swept() -> None:
    """A test run that was killed (-9) leaves a control plane, which the next one removes."""
    crashed = subprocess.run(
        [sys.executable, "-c", CRASH], stdout=subprocess.PIPE, text=True, check=False, cwd=paths.REPOSITORY
    )
    assert crashed.returncode == -9
    state = paths.State(crashed.stdout.strip())
    programs = [Process(state, name) for name in ("etcd", "kube-apiserver", "kube-scheduler")]
    assert all(one.pid() for one in programs)
    pids = [one.pid() for one in programs]
    started = time.monotonic()
    sweep()
    assert time.monotonic() - started < 20
    assert not state.exists
    assert not any(pid and start_time(pid) for pid in pids)
