"""What a freshly made cluster lacks: cluster DNS, and storage for claims that name no class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pathlib import Path

    from tests.localcluster.api import Api
    from tests.localcluster.network import Network

_RBAC: Final = "/apis/rbac.authorization.k8s.io/v1"
_SYSTEM: Final = "/api/v1/namespaces/kube-system"
_PORTS: Final = (("dns", "UDP"), ("dns-tcp", "TCP"))
VOLUMES: Final = 16
CAPACITY: Final = "20Gi"
STORAGE_CLASS: Final = "standard"


def apply_dns(api: Api, network: Network) -> None:
    """Let CoreDNS read what it answers from, and make it the Service ``kube-dns``.

    CoreDNS runs beside the kubelet, not in a pod: names resolve before any image is there.
    """
    role: dict[str, Any] = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "system:coredns"},
        "rules": [
            {
                "apiGroups": [""],
                "resources": ["services", "pods", "namespaces"],
                "verbs": ["list", "watch"],
            },
            {
                "apiGroups": ["discovery.k8s.io"],
                "resources": ["endpointslices"],
                "verbs": ["list", "watch"],
            },
        ],
    }
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "system:coredns"},
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": "system:coredns",
        },
        "subjects": [{"kind": "ServiceAccount", "name": "coredns", "namespace": "kube-system"}],
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "kube-dns", "labels": {"k8s-app": "kube-dns"}},
        "spec": {
            "clusterIP": network.dns,
            "ports": [{"name": name, "port": 53, "protocol": kind} for name, kind in _PORTS],
        },
    }
    endpoints = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "kube-dns", "labels": {"kubernetes.io/service-name": "kube-dns"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [network.node], "conditions": {"ready": True}}],
        "ports": [{"name": name, "port": 53, "protocol": kind} for name, kind in _PORTS],
    }
    api.apply(f"{_RBAC}/clusterroles", role)
    api.apply(f"{_RBAC}/clusterrolebindings", binding)
    api.apply(f"{_SYSTEM}/services", service)
    api.apply("/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices", endpoints)


def apply_storage(api: Api, folder: Path, node: str) -> None:
    """Offer local volumes through the default StorageClass; ``folder`` holds one each.

    Local volumes honour ``fsGroup`` as a cloud's do, which host paths and their provisioner do not.
    """
    api.apply(
        "/apis/storage.k8s.io/v1/storageclasses",
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {
                "name": STORAGE_CLASS,
                "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
            },
            "provisioner": "kubernetes.io/no-provisioner",
            "volumeBindingMode": "WaitForFirstConsumer",
        },
    )
    for number in range(VOLUMES):
        path = folder / f"local-{number:02d}"
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
        api.apply("/api/v1/persistentvolumes", _volume(path, node))


def _volume(path: Path, node: str) -> dict[str, Any]:
    here = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": path.name},
        "spec": {
            "capacity": {"storage": CAPACITY},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": STORAGE_CLASS,
            "local": {"path": str(path)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
        },
    }
