"""Pretend GPUs: extended resources and labels on the real Node, as the device plugin sets them.

Nothing here computes; it lets scheduling, planning and messages be tried without a GPU.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from tests.localcluster.cluster import Cluster
from tests.localcluster.errors import ClusterError
from tests.localcluster.paths import State

if TYPE_CHECKING:
    import argparse

PRODUCTS: Final = {  # MiB as nvidia-smi reports it; mig.capable as gpu-feature-discovery labels it
    "NVIDIA-H100-80GB-HBM3": (81559, True),
    "NVIDIA-H200": (143771, True),
    "NVIDIA-A100-SXM4-80GB": (81920, True),
    "NVIDIA-A100-SXM4-40GB": (40960, True),
    "NVIDIA-L4": (23034, False),
}
_PROFILE: Final = re.compile(r"((?:mig-\d+g\.\d+gb(?:\.me)?)|gpu)=(\d+)")
_DOMAIN: Final = "nvidia.com"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``gpu``."""
    parser.add_argument(
        "--profile",
        action="append",
        default=[],
        metavar="mig-1g.10gb=7",
        help="slices (or gpu=N for whole GPUs) that the node shall offer; may be repeated",
    )
    parser.add_argument("--product", default="NVIDIA-H100-80GB-HBM3", choices=sorted(PRODUCTS))
    parser.add_argument("--count", type=int, default=1, help="GPUs in the node (1)")
    parser.add_argument("--clear", action="store_true", help="take all of it away again")


def run(options: argparse.Namespace) -> None:
    """Patch the node as the options say."""
    cluster = Cluster(State(options.name))
    cluster.sandbox.init()  # says what to do where no node runs
    resources = parse(options.profile)
    if not resources and not options.clear:
        raise ClusterError("gpu: name at least one --profile such as mig-1g.10gb=7, or --clear.")
    labels = {} if options.clear else labels_for(options.product, resources, options.count)
    patch_node(cluster, {} if options.clear else resources, labels)


def parse(profiles: list[str]) -> dict[str, int]:
    """Return extended resources and their counts; raise where a profile cannot be read."""
    resources: dict[str, int] = {}
    for text in profiles:
        found = _PROFILE.fullmatch(text)
        if not found:
            raise ClusterError(f"--profile {text!r}: write <resource>=<count>, e.g. mig-1g.10gb=7.")
        resources[f"{_DOMAIN}/{found[1]}"] = int(found[2])
    return resources


def labels_for(product: str, resources: dict[str, int], count: int) -> dict[str, str]:
    """Return the labels that gpu-feature-discovery and the MIG manager would set."""
    memory, capable = PRODUCTS[product]
    sliced = any("/mig-" in name for name in resources)
    if sliced and not capable:
        raise ClusterError(f"--product {product} cannot be sliced: use gpu=N, or another product.")
    labels = {
        "gpu.present": "true",
        "gpu.product": product,
        "gpu.memory": str(memory),
        "gpu.count": str(count),
        "mig.capable": str(capable).lower(),
    }
    if sliced:
        labels.update({"mig.strategy": "mixed", "mig.config.state": "success"})
        for name, number in resources.items():
            labels[f"{name.partition('/')[2]}.count"] = str(number)
    return {f"{_DOMAIN}/{key}": value for key, value in labels.items()}


def patch_node(cluster: Cluster, resources: dict[str, int], labels: dict[str, str]) -> None:
    """Make the node offer exactly these resources of NVIDIA's and carry exactly these labels."""
    api = cluster.api()
    path = f"/api/v1/nodes/{cluster.node().name}"
    current = api.request("GET", path)
    merge = "application/merge-patch+json"
    wanted_labels = _replacing(current["metadata"].get("labels", {}), labels)
    api.request("PATCH", path, {"metadata": {"labels": wanted_labels}}, merge)
    counts = {name: str(number) for name, number in resources.items()}
    status: dict[str, Any] = {
        field: _replacing(current["status"].get(field, {}), counts) for field in ("capacity", "allocatable")
    }
    api.request("PATCH", f"{path}/status", {"status": status}, merge)


def _replacing(current: dict[str, str], wanted: dict[str, str]) -> dict[str, str | None]:
    """Return a merge patch that leaves nothing of NVIDIA's but ``wanted``."""
    gone: dict[str, str | None] = {name: None for name in current if name.startswith(_DOMAIN)}
    return {**gone, **wanted}
