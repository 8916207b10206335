"""A node gets addresses that nothing on the machine uses."""

from __future__ import annotations

import ipaddress
import json
from typing import TYPE_CHECKING

import pytest

from tests.localcluster import network
from tests.localcluster.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Sequence


def _routes(monkeypatch: pytest.MonkeyPatch, destinations: Sequence[str]) -> None:
    answer = json.dumps([{"dst": one} for one in destinations])
    monkeypatch.setattr(network, "run", lambda _argv: answer)


@pytest.mark.parametrize(
    ("used", "octet"),
    [
        ([], 200),
        (["default", "192.0.2.0/24"], 200),
        (["10.200.0.0/16"], 201),
        (["10.200.7.0/30", "10.201.255.1"], 202),
        (["10.200.0.0/13"], 208),
    ],
    ids=[
        "an empty machine",
        "routes elsewhere do not count",
        "another node's range is skipped",
        "so is a range that is used in part",
        "so is all that a wide route covers",
    ],
)
def test_choose(monkeypatch: pytest.MonkeyPatch, used: list[str], octet: int) -> None:
    """The first free range from the cluster's own start is taken."""
    _routes(monkeypatch, used)
    assert network.choose("00000000").octet == octet


def test_no_range_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a free range is told so, with the cure."""
    _routes(monkeypatch, ["10.0.0.0/8"])
    with pytest.raises(ClusterError, match="are in use on this machine: take another local cluster down"):
        network.choose("00000000")


def test_ranges_do_not_meet() -> None:
    """Pods, Services and the cable share one /16 without overlapping; DNS is a Service."""
    own = network.Network("00000000", 200)
    pods, services, whole = (ipaddress.ip_network(one) for one in (own.pods, own.services, own.whole))
    assert not pods.overlaps(services)
    assert pods.subnet_of(whole)  # type: ignore[arg-type]
    assert services.subnet_of(whole)  # type: ignore[arg-type]
    assert ipaddress.ip_address(own.dns) in services
    for end in (own.host, own.node):
        address = ipaddress.ip_address(end)
        assert address in whole
        assert address not in pods
        assert address not in services


def test_interface_name() -> None:
    """The kernel takes 15 characters for an interface."""
    assert len(network.cable("0123abcd")) <= 15


def test_only_own_rules_are_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing removes the rules with the cluster's comment, and touches no other."""
    listed = """-P FORWARD ACCEPT
-A FORWARD -i eth0 -j DROP
-A FORWARD -i gyre11111111 -m comment --comment "gyre-localcluster 11111111" -j ACCEPT
-A FORWARD -i gyre22222222 -m comment --comment "gyre-localcluster 22222222" -j ACCEPT
"""
    calls: list[list[str]] = []

    def run(argv: list[str]) -> str:
        calls.append(argv)
        return listed if argv[-1] == "-S" and "filter" in argv else ""

    monkeypatch.setattr(network, "run", run)
    monkeypatch.setattr("shutil.which", lambda _name: "/sbin/iptables")
    network.close_outside("11111111")
    deleted = [call[call.index("-D") + 1 :] for call in calls if "-D" in call]
    assert [rule[:3] for rule in deleted] == [["FORWARD", "-i", "gyre11111111"]]
