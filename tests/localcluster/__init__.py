"""A real Kubernetes on one machine, without Docker and without a registry.

Two tiers: ``control_plane()`` gives tests an API server with its controllers in seconds and
needs no root; ``python3 -m tests.localcluster up`` adds a kubelet, containers and a network.
Standard library only, so that a machine with nothing but git, make and python3 can run it.
"""

from __future__ import annotations

from tests.localcluster.control import ControlPlane, control_plane
from tests.localcluster.errors import ClusterError

__all__ = ["ClusterError", "ControlPlane", "control_plane"]
