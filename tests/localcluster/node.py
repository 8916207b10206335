"""containerd, kubelet, kube-proxy and CoreDNS: their settings and command lines."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.localcluster.errors import ClusterError
from tests.localcluster.toolchain import program

if TYPE_CHECKING:
    from tests.localcluster.network import Network
    from tests.localcluster.paths import State

CONTAINERD: Final = "containerd"
KUBELET: Final = "kubelet"
PROXY: Final = "kube-proxy"
DNS: Final = "coredns"
SOCKET: Final = "/run/containerd/containerd.sock"  # on the node's own /run
PAUSE_IMAGE: Final = "gyre.dev/localcluster/pause:1"
_PLUGIN_FOLDERS: Final = (Path("/usr/lib/cni"), Path("/opt/cni/bin"), Path("/usr/libexec/cni"))
_RESOLVERS: Final = (Path("/run/systemd/resolve/resolv.conf"), Path("/etc/resolv.conf"))


@dataclass(frozen=True)
class Node:
    """One node's programs."""

    state: State
    network: Network
    cgroup: str

    @property
    def name(self) -> str:
        """The node's name in Kubernetes."""
        return f"gyre-{self.state.name}"

    @property
    def _config(self) -> Path:
        return self.state.root / "config"

    def write(self) -> None:
        """Write the settings of all four programs."""
        (self._config / "cni").mkdir(parents=True, exist_ok=True)
        files = {
            "containerd.toml": self._containerd(),
            "cni/10-gyre.conflist": json.dumps(self._plugins(), indent=1),
            "kubelet.json": json.dumps(self._kubelet(), indent=1),
            "kube-proxy.json": json.dumps(self._proxy(), indent=1),
            "resolv.conf": resolvers(),
            "Corefile": self._corefile(),
        }
        for name, text in files.items():
            (self._config / name).write_text(text, encoding="utf-8")

    def command(self, name: str) -> list[str]:
        """Return the command line of one program."""
        if name == CONTAINERD:
            return [CONTAINERD, "--config", str(self._config / "containerd.toml")]
        if name == DNS:
            return [program(DNS), "-conf", str(self._config / "Corefile")]
        config = f"--config={self._config / name}.json"
        if name == PROXY:
            return [program(PROXY), config, f"--hostname-override={self.name}"]
        return [
            program(KUBELET),
            config,
            f"--kubeconfig={self.state.pki / 'kubelet.kubeconfig'}",
            f"--hostname-override={self.name}",
            f"--node-ip={self.network.node}",
        ]

    def _containerd(self) -> str:
        return f"""
version = 2
root = "{self.state.root / "containerd"}"
state = "/run/containerd"
oom_score = 0
disabled_plugins = ["io.containerd.nri.v1.nri"]
[grpc]
  address = "{SOCKET}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{self.state.root / "containerd-opt"}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  # Machines without CAP_SYS_RESOURCE may not lower the score; every sandbox would fail.
  restrict_oom_score_adj = true
  disable_apparmor = {"false" if Path("/sys/kernel/security/apparmor").is_dir() else "true"}
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{plugin_folder()}"
    conf_dir = "{self._config / "cni"}"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
"""

    def _plugins(self) -> dict[str, Any]:
        bridge = {
            "type": "bridge",
            "bridge": "pods",
            "isGateway": True,
            "ipMasq": True,
            "hairpinMode": True,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": self.network.pods}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }
        ports = {"type": "portmap", "capabilities": {"portMappings": True}}
        return {"cniVersion": "1.0.0", "name": "gyre", "plugins": [bridge, ports]}

    def _kubelet(self) -> dict[str, Any]:
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "containerRuntimeEndpoint": f"unix://{SOCKET}",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{self.cgroup}",
            "enforceNodeAllocatable": ["pods"],
            "failCgroupV1": False,
            "failSwapOn": False,
            "maxOpenFiles": 20000,
            "oomScoreAdj": 0,
            "localStorageCapacityIsolation": False,
            "imageGCHighThresholdPercent": 100,  # imported images cannot be pulled again
            "evictionHard": {
                "memory.available": "100Mi",
                "nodefs.available": "1%",
                "imagefs.available": "1%",
            },
            "address": self.network.node,
            "healthzBindAddress": "127.0.0.1",
            "clusterDomain": "cluster.local",
            "clusterDNS": [self.network.dns],
            "resolvConf": str(self._config / "resolv.conf"),
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(self.state.pki / "ca.crt")},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": str(self.state.pki / "kubelet.crt"),
            "tlsPrivateKeyFile": str(self.state.pki / "kubelet.key"),
            "serializeImagePulls": False,
            "nodeStatusUpdateFrequency": "5s",
        }

    def _proxy(self) -> dict[str, Any]:
        return {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "iptables",
            "clusterCIDR": self.network.pods,
            "clientConnection": {"kubeconfig": str(self.state.pki / "kube-proxy.kubeconfig")},
            "healthzBindAddress": "127.0.0.1:10256",
            "metricsBindAddress": "127.0.0.1:10249",
            # Connection tracking belongs to the whole machine: leave its limits alone.
            "conntrack": {
                "maxPerCore": 0,
                "min": 0,
                "tcpEstablishedTimeout": "0s",
                "tcpCloseWaitTimeout": "0s",
            },
            # Without this kernel module answers between pods on one bridge skip the translation
            # of Service addresses; going through the node brings them back to it.
            "iptables": {"masqueradeAll": not Path("/proc/sys/net/bridge").is_dir()},
        }

    def _corefile(self) -> str:
        outside = f"forward . {self._config / 'resolv.conf'}" if "nameserver" in resolvers() else ""
        return f"""
.:53 {{
    bind {self.network.node}
    errors
    ready 127.0.0.1:8181
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {self.state.pki / "coredns.kubeconfig"}
        pods insecure
        ttl 5
    }}
    {outside}
    cache 5
}}
"""


def plugin_folder() -> Path:
    """Return the folder of the network plugins."""
    for folder in _PLUGIN_FOLDERS:
        if (folder / "bridge").is_file():
            return folder
    raise ClusterError("The container network plugins are missing: run `apt-get install containernetworking-plugins`.")


def resolvers() -> str:
    """Return this machine's name servers as a resolv.conf; a stub on loopback is no use to a pod."""
    for path in _RESOLVERS:
        if path.is_file():
            lines = [line.strip() for line in path.read_text(errors="replace").splitlines()]
            servers = [line for line in lines if line.startswith("nameserver ")]
            usable = [line for line in servers if " 127." not in line and " ::1" not in line]
            if usable:
                return "\n".join(usable[:3]) + "\n"
    return ""


def missing_packages() -> list[str]:
    """Return the Debian packages that a full node still needs."""
    wanted = {
        "containerd": CONTAINERD,
        "runc": "runc",
        "iptables": "iptables",
        "iproute2": "ip",
        "util-linux": "nsenter",
        "mount": "mount",
    }
    missing = [package for package, name in wanted.items() if not shutil.which(name)]
    if not any((folder / "bridge").is_file() for folder in _PLUGIN_FOLDERS):
        missing.append("containernetworking-plugins")
    return missing
