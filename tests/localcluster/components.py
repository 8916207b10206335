"""The command lines of the control plane's four programs, the same in both tiers."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.localcluster.toolchain import program

if TYPE_CHECKING:
    from pathlib import Path

    from tests.localcluster.paths import State

ETCD: Final = "etcd"
API_SERVER: Final = "kube-apiserver"
CONTROLLER_MANAGER: Final = "kube-controller-manager"
SCHEDULER: Final = "kube-scheduler"


@dataclass(frozen=True)
class Layout:
    """Addresses and ports of one control plane."""

    state: State
    address: str
    """Where the API server listens and, with a node, what it tells pods."""
    port: int
    etcd_port: int
    etcd_peer_port: int
    controller_manager_port: int
    scheduler_port: int
    services: str
    """The Services' address range."""
    node: bool = False
    audit: bool = False

    @property
    def url(self) -> str:
        """The API server's address for clients."""
        return f"https://{self.address}:{self.port}"

    @property
    def first_service(self) -> str:
        """The address of the Service ``kubernetes``."""
        return str(next(ipaddress.ip_network(self.services).hosts()))

    def command(self, name: str) -> list[str]:
        """Return the command line of one program."""
        makers = {
            ETCD: self._etcd,
            API_SERVER: self._api_server,
            CONTROLLER_MANAGER: self._controller_manager,
            SCHEDULER: self._scheduler,
        }
        return [program(name), *makers[name]()]

    def _key(self, name: str) -> Path:
        return self.state.pki / name

    def _etcd(self) -> list[str]:
        client = f"https://127.0.0.1:{self.etcd_port}"
        peer = f"https://127.0.0.1:{self.etcd_peer_port}"
        own, key, authority = self._key("etcd.crt"), self._key("etcd.key"), self._key("ca.crt")
        return [
            f"--data-dir={self.state.root / 'etcd'}",
            "--name=default",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            *(f"--{prefix}cert-file={own}" for prefix in ("", "peer-")),
            *(f"--{prefix}key-file={key}" for prefix in ("", "peer-")),
            *(f"--{prefix}trusted-ca-file={authority}" for prefix in ("", "peer-")),
            "--client-cert-auth",
            "--peer-client-cert-auth",
            "--unsafe-no-fsync",  # a cluster for tests need not survive a power cut
            "--log-level=warn",
        ]

    def _api_server(self) -> list[str]:
        pki = self._key
        return [
            f"--etcd-servers=https://127.0.0.1:{self.etcd_port}",
            f"--etcd-cafile={pki('ca.crt')}",
            f"--etcd-certfile={pki('etcd.crt')}",
            f"--etcd-keyfile={pki('etcd.key')}",
            f"--bind-address={self.address}",
            f"--advertise-address={self.address}",
            f"--secure-port={self.port}",
            f"--tls-cert-file={pki('server.crt')}",
            f"--tls-private-key-file={pki('server.key')}",
            f"--client-ca-file={pki('ca.crt')}",
            f"--kubelet-certificate-authority={pki('ca.crt')}",
            f"--kubelet-client-certificate={pki('kubelet-client.crt')}",
            f"--kubelet-client-key={pki('kubelet-client.key')}",
            # The node's name does not resolve; logs and exec need its address.
            "--kubelet-preferred-address-types=InternalIP",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-key-file={pki('sa.pub')}",
            f"--service-account-signing-key-file={pki('sa.key')}",
            f"--service-cluster-ip-range={self.services}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
            "--profiling=false",
            # Without a node nobody uses the Service `kubernetes`, and loopback is refused for it.
            *([] if self.node else ["--endpoint-reconciler-type=none"]),
            *(self._audit() if self.audit else []),
        ]

    def _audit(self) -> list[str]:
        return [
            f"--audit-policy-file={self.state.root / 'audit-policy.json'}",
            f"--audit-log-path={self.state.logs / 'audit.log'}",
        ]

    def _controller_manager(self) -> list[str]:
        return [
            *self._client(CONTROLLER_MANAGER, self.controller_manager_port),
            f"--service-account-private-key-file={self._key('sa.key')}",
            f"--root-ca-file={self._key('ca.crt')}",
            f"--cluster-signing-cert-file={self._key('ca.crt')}",
            f"--cluster-signing-key-file={self._key('ca.key')}",
            "--use-service-account-credentials=true",
            # Each controller asks for a token at start; at 20 requests a second that takes 4 s.
            "--kube-api-qps=200",
            "--kube-api-burst=400",
        ]

    def _scheduler(self) -> list[str]:
        return self._client(SCHEDULER, self.scheduler_port)

    def _client(self, name: str, port: int) -> list[str]:
        config = self.state.pki / f"{name}.kubeconfig"
        return [
            f"--kubeconfig={config}",
            f"--authentication-kubeconfig={config}",
            f"--authorization-kubeconfig={config}",
            "--bind-address=127.0.0.1",
            f"--secure-port={port}",
            f"--cert-dir={self.state.pki / name}",
            "--leader-elect=false",
            "--profiling=false",
        ]
