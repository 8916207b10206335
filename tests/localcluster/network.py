"""Addresses of one node, and the cable between its network namespace and this machine."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.localcluster.errors import ClusterError
from tests.localcluster.machine import CABLE_PREFIX
from tests.localcluster.process import run
from tests.localcluster.progress import say

if TYPE_CHECKING:
    from collections.abc import Iterable

_FIRST, _COUNT = 200, 50  # candidates: 10.200.0.0/16 to 10.249.0.0/16
_FORWARDING: Final = Path("/proc/sys/net/ipv4/ip_forward")
_TABLES: Final = ("iptables", "--wait")


@dataclass(frozen=True)
class Network:
    """One /16 a cluster: pods in its lower half, Services above, the cable at the end."""

    identity: str
    octet: int

    @property
    def whole(self) -> str:
        """Everything that this machine routes into the node."""
        return f"10.{self.octet}.0.0/16"

    @property
    def pods(self) -> str:
        """The pods' addresses."""
        return f"10.{self.octet}.0.0/17"

    @property
    def services(self) -> str:
        """The Services' addresses."""
        return f"10.{self.octet}.128.0/20"

    @property
    def dns(self) -> str:
        """The address of the Service kube-dns."""
        return f"10.{self.octet}.128.10"

    @property
    def host(self) -> str:
        """This machine's end of the cable."""
        return f"10.{self.octet}.255.1"

    @property
    def node(self) -> str:
        """The node's end of the cable: node address, API server, DNS."""
        return f"10.{self.octet}.255.2"

    @property
    def cable(self) -> str:
        """The interface on this machine."""
        return cable(self.identity)

    def rules(self) -> list[list[str]]:
        """Return the firewall rules on this machine: pods may reach the outside through it."""
        comment = ["-m", "comment", "--comment", _comment(self.identity)]
        outward = ["-s", self.whole, "!", "-o", self.cable, *comment, "-j", "MASQUERADE"]
        return [
            ["-t", "nat", "POSTROUTING", *outward],
            ["-t", "filter", "FORWARD", "-i", self.cable, *comment, "-j", "ACCEPT"],
            ["-t", "filter", "FORWARD", "-o", self.cable, *comment, "-j", "ACCEPT"],
        ]


def choose(identity: str) -> Network:
    """Return a network for the cluster that nothing on this machine uses yet."""
    used = list(_used())
    start = int(identity, 16)
    for number in range(_COUNT):
        network = Network(identity, _FIRST + (start + number) % _COUNT)
        if not any(ipaddress.ip_network(network.whole).overlaps(other) for other in used):
            return network
    raise ClusterError(
        "All of 10.200.0.0/16 to 10.249.0.0/16 are in use on this machine: take another local "
        "cluster down (`python3 -m tests.localcluster status` lists them)."
    )


def _used() -> Iterable[ipaddress.IPv4Network]:
    routes: list[dict[str, Any]] = json.loads(run(["ip", "-4", "-json", "route"]) or "[]")
    for route in routes:
        with contextlib.suppress(ValueError):  # "default" is no network and overlaps all
            yield ipaddress.IPv4Network(route["dst"])


def connect(network: Network, init: int, inside: list[str]) -> None:
    """Lay the cable into the namespace of process ``init``; ``inside`` prefixes its commands."""
    run(["ip", "link", "add", network.cable, "type", "veth", "peer", "uplink", "netns", str(init)])
    run(["ip", "address", "add", f"{network.host}/30", "dev", network.cable])
    run(["ip", "link", "set", network.cable, "up"])
    script = f"""
        ip link set lo up
        ip address add {network.node}/30 dev uplink
        ip link set uplink up
        ip route add default via {network.host}
        echo 1 > {_FORWARDING}
    """
    run([*inside, "sh", "-ec", script])
    run(["ip", "route", "add", network.whole, "via", network.node])


def open_outside(network: Network) -> None:
    """Let pods reach what this machine reaches; a machine without it still runs the cluster."""
    try:
        _FORWARDING.write_text("1\n", encoding="ascii")
        for rule in network.rules():
            table, name, chain, *match = rule
            run([*_TABLES, table, name, "-I", chain, *match])
    except (ClusterError, OSError) as error:
        say(f"Pods will not reach anything outside of the cluster: {error}")


def close_outside(identity: str) -> None:
    """Remove the cluster's rules, found by their comment: its addresses may be forgotten."""
    if not shutil.which(_TABLES[0]):
        return
    for table in ("nat", "filter"):
        for line in run([*_TABLES, "-t", table, "-S"]).splitlines():
            words = shlex.split(line)
            if _comment(identity) in words and words[0] == "-A":
                run([*_TABLES, "-t", table, "-D", *words[1:]])


def disconnect(identity: str) -> None:
    """Remove the cable, and with it the route, where the namespace's end did not yet."""
    with contextlib.suppress(ClusterError):
        run(["ip", "link", "delete", cable(identity)])


def cable(identity: str) -> str:
    """Return the name of the interface on this machine (15 characters are the kernel's limit)."""
    return f"{CABLE_PREFIX}{identity}"


def connected(identity: str) -> bool:
    """Whether the cluster's cable lies on this machine."""
    return Path("/sys/class/net", cable(identity)).exists()


def _comment(identity: str) -> str:
    return f"gyre-localcluster {identity}"
