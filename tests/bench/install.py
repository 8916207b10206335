"""How long `helm install` of both charts takes to Ready, and what it asks for, beside the bounds.

`python -m tests.bench.install [--namespace gyre-bench]`, on the cluster of your KUBECONFIG, which holds the
images (`make images`) and no other Gyre. It installs, measures and uninstalls. Exits 1 beyond a bound.
"""

import argparse
import json
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from gyre_crds.base import amount

SECONDS, MEBIBYTES = 90, 1024
_MIB = 2**20
_WORKLOADS = ("deployments", "statefulsets", "daemonsets")


class InstallError(Exception):
    """The bench cannot be run; the text says why and what to do."""


def main() -> int:
    """Install, print the table, uninstall; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--namespace", default="gyre-bench", help="made for this, and deleted at the end")
    namespace = parser.parse_args().namespace
    try:
        _free()
        seconds, requests = _measured(namespace)
    except InstallError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    memory = sum(each["memory"] for each in requests.values()) / _MIB
    cpu = sum(each["cpu"] for each in requests.values())
    print("| what | Gyre | bound |\n|---|---|---|")
    print(f"| `helm install` of both charts to Ready | {seconds:.1f} s | {SECONDS} s |")
    print(f"| memory requested | {memory:.0f} Mi | {MEBIBYTES} Mi |")
    print(f"| CPU requested | {cpu * 1000:.0f}m | none |")
    for name, each in sorted(requests.items()):
        print(f"| of it {name} | {each['memory'] / _MIB:.0f} Mi, {each['cpu'] * 1000:.0f}m | |")
    return 0 if seconds <= SECONDS and memory <= MEBIBYTES else 1


def _measured(namespace: str) -> tuple[float, Mapping[str, Mapping[str, float]]]:
    """Seconds to Ready, and the requests of what then runs."""
    where = ("-n", namespace)
    start = time.monotonic()
    try:
        # By default the CRDs, and with them every object, outlive their chart; here all goes again.
        _run("helm", "install", "gyre-crds", "charts/gyre-crds", *where, "--create-namespace", "--set", "keep=false")
        # `--wait` comes back when every Deployment is Ready and every claim is bound.
        workloads = "workloads.namespaces={default}"
        _run("helm", "install", "gyre", "charts/gyre", *where, "--set", workloads, "--wait", "--timeout", "5m")
        seconds = time.monotonic() - start
        return seconds, requests_of(_listed(*where))
    finally:
        for release in ("gyre", "gyre-crds"):
            _run("helm", "uninstall", release, *where, "--ignore-not-found", "--wait")
        _run("kubectl", "delete", "namespace", namespace, "--ignore-not-found", "--timeout=3m")


def requests_of(workloads: Iterable[Mapping[str, Any]]) -> Mapping[str, Mapping[str, float]]:
    """CPU (cores) and memory (bytes) that the pods of each workload request, all replicas together."""
    found: dict[str, dict[str, float]] = {}
    for workload in workloads:
        total: dict[str, float] = defaultdict(float)
        replicas = workload["spec"].get("replicas", 1)
        for container in workload["spec"]["template"]["spec"]["containers"]:
            for name, value in container.get("resources", {}).get("requests", {}).items():
                total[name] += float(amount(value)) * replicas
        found[workload["metadata"]["name"]] = total
    return found


def _listed(*where: str) -> list[Mapping[str, Any]]:
    items: list[Mapping[str, Any]] = json.loads(_run("kubectl", "get", ",".join(_WORKLOADS), *where, "-o", "json"))[
        "items"
    ]
    return items


def _free() -> None:
    """Raise when a Gyre is there already: uninstalling would take what it serves away."""
    found = _run("kubectl", "get", "crd", "models.gyre.dev", "--ignore-not-found", "-o", "name")
    if found.strip():
        raise InstallError("This cluster has Gyre's CRDs already: the bench needs one without, since it deletes them.")


def _run(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise InstallError(f"{command[0]} is not on PATH: `eval $(python3 -m tests.localcluster env)`.") from error
    if done.returncode != 0:
        raise InstallError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
