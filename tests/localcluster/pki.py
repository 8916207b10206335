"""Certificates and kubeconfigs of one cluster."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any, Final

from tests.localcluster.process import run
from tests.localcluster.toolchain import program

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_SERVER_NAMES: Final = (
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)


def issue(directory: Path, addresses: Sequence[str], *, node: str | None = None) -> None:
    """Write CA, server and client certificates and the service accounts' key.

    Args:
        directory: where ``<name>.crt`` and ``<name>.key`` go, mode 0600.
        addresses: IP addresses under which the API server, and the kubelet, are reached.
        node: name of the node, where there is one.
    """
    leaves = [
        _leaf("server", "kube-apiserver", dns=_SERVER_NAMES, addresses=addresses),
        _leaf("etcd", "etcd", dns=("localhost",), addresses=("127.0.0.1",)),
        _leaf("admin", "kubernetes-admin", groups=("system:masters",)),
        _leaf("kubelet-client", "kube-apiserver-kubelet-client", groups=("system:masters",)),
        _leaf("kube-controller-manager", "system:kube-controller-manager"),
        _leaf("kube-scheduler", "system:kube-scheduler"),
        _leaf("kube-proxy", "system:kube-proxy"),
        _leaf("coredns", "system:serviceaccount:kube-system:coredns"),
    ]
    if node:
        name, groups = f"system:node:{node}", ("system:nodes",)
        leaves.append(_leaf("kubelet", name, groups=groups, dns=(node,), addresses=addresses))
    request = {"directory": str(directory), "leaves": leaves}
    run([program("pki")], stdin=json.dumps(request))


def _leaf(
    file: str,
    name: str,
    *,
    groups: Sequence[str] = (),
    dns: Sequence[str] = (),
    addresses: Sequence[str] = (),
) -> dict[str, Any]:
    return {
        "file": file,
        "name": name,
        "groups": list(groups),
        "dns": list(dns),
        "addresses": list(addresses),
    }


def write_kubeconfig(path: Path, *, pki: Path, user: str, url: str) -> None:
    """Write a self-contained kubeconfig (JSON, which is YAML) for one of the client certificates."""

    def data(name: str) -> str:
        return base64.b64encode((pki / name).read_bytes()).decode("ascii")

    context = {"cluster": "gyre", "user": user}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": "gyre",
                "cluster": {"server": url, "certificate-authority-data": data("ca.crt")},
            }
        ],
        "users": [
            {
                "name": user,
                "user": {
                    "client-certificate-data": data(f"{user}.crt"),
                    "client-key-data": data(f"{user}.key"),
                },
            }
        ],
        "contexts": [{"name": "gyre", "context": context}],
        "current-context": "gyre",
    }
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
