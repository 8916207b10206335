"""Pick the smallest MIG slice that holds the need, a whole card otherwise, or say why none does.

Basic on purpose: it takes the slices that nodes advertise and never repartitions a card.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from gyre_crds.base import amount
from gyre_crds.v1alpha1.common import Gpu
from gyre_crds.v1alpha1.training import GpuStatus
from gyre_operators.gpu.profiles import card, profile
from gyre_operators.workload.views import Node, holds

WHOLE = "nvidia.com/gpu"
PRODUCT = "nvidia.com/gpu.product"
_MIG = "nvidia.com/mig-"
_GIB = 2**30
_MIB = 2**20


@dataclass(frozen=True, slots=True)
class Fit:
    """What was picked."""

    status: GpuStatus
    count: int = 0
    """Devices of `status.resource`; 0 when none fits."""
    products: tuple[str, ...] = ()
    """Only nodes of these products hold the need; empty when nodes carry no product label."""

    @property
    def found(self) -> bool:
        """Whether something fits."""
        return self.count > 0


class _Offer(NamedTuple):
    """One kind of device that nodes have."""

    resource: str
    profile: str
    """MIG profile, or `whole`."""
    memory: float
    """Usable bytes."""
    slices: int
    product: str
    most: int
    """Most devices on one node."""


def fit(need: Gpu, nodes: Iterable[Node]) -> Fit:
    """The device for a need, from what ready nodes advertise as allocatable."""
    usable = [node for node in nodes if holds(node.status.conditions, "Ready") and not node.spec.unschedulable]
    offers = [offer for node in usable for offer in _offers(node)]
    whole_only = need.isolation == "Exclusive" or need.count > 1
    wanted = amount(need.memory)
    fitting = [
        offer
        for offer in offers
        if offer.memory >= wanted and offer.most >= need.count and not (whole_only and offer.profile != "whole")
    ]
    if not fitting:
        return Fit(GpuStatus(reason=_why_none(need, offers)))
    best = min(fitting, key=_size)
    alike = [offer for offer in fitting if offer.resource == best.resource]
    return Fit(
        GpuStatus(
            resource=best.resource,
            profile=best.profile,
            memory=_gib(min(offer.memory for offer in alike)),
            reason=_why(need, best, whole_only=whole_only),
        ),
        count=need.count,
        products=tuple(sorted({offer.product for offer in alike if offer.product})),
    )


def _size(offer: _Offer) -> tuple[bool, float, int, str]:
    """Slices before whole cards, then the least memory, then the least compute."""
    return (offer.profile == "whole", offer.memory, offer.slices, offer.resource)


def _offers(node: Node) -> list[_Offer]:
    labels = node.metadata.labels
    product = labels.get(PRODUCT, "")
    shared = labels.get("nvidia.com/gpu.sharing-strategy", "none") != "none"
    found = []
    for resource, text in node.status.allocatable.items():
        count = int(amount(text)) if re.fullmatch(r"\d+", text) else 0
        if count == 0:
            continue
        if resource.startswith(_MIG):
            offer = _slice(resource, product, labels, count)
        elif resource == WHOLE and not shared and labels.get("nvidia.com/mig.strategy") != "single":
            # A time-sliced or single-strategy device only looks like a whole card.
            offer = _card(product, labels, count)
        else:
            offer = None
        if offer is not None:
            found.append(offer)
    return found


def _slice(resource: str, product: str, labels: dict[str, str], count: int) -> _Offer | None:
    name = resource.removeprefix(_MIG)
    known = profile(name, product)
    if known is None:
        return None
    told = _mebibytes(labels.get(f"{resource}.memory"))
    return _Offer(resource, name, told or known.memory * _GIB, known.slices, product, count)


def _card(product: str, labels: dict[str, str], count: int) -> _Offer:
    known = card(product)
    memory = _mebibytes(labels.get("nvidia.com/gpu.memory")) or (known.memory * _GIB if known else 0.0)
    return _Offer(WHOLE, "whole", memory, 7, product, count)


def _mebibytes(text: str | None) -> float:
    return float(text) * _MIB if text and text.isdigit() else 0.0


def _why(need: Gpu, best: _Offer, *, whole_only: bool) -> str:
    has = f"{_gib(best.memory)} usable"
    if best.profile != "whole":
        return f"{best.profile} is the smallest slice that holds {need.memory} ({has})."
    if need.isolation == "Exclusive":
        return f"gpu.isolation is Exclusive, so whole cards are taken ({has})."
    if whole_only:
        return f"gpu.count is {need.count}, and slices cannot work together, so whole cards are taken ({has})."
    return f"No slice on any node holds {need.memory}, so a whole card is taken ({has})."


def _why_none(need: Gpu, offers: Sequence[_Offer]) -> str:
    asked = f"{need.count} x {need.memory}" if need.count > 1 else str(need.memory)
    if not offers:
        return f"No ready node has a GPU or MIG slice; gpu asks for {asked}. Add a GPU node."
    largest: dict[str, _Offer] = {}
    for offer in offers:
        was = largest.get(offer.resource)
        if was is None or (offer.memory, offer.most) > (was.memory, was.most):
            largest[offer.resource] = offer
    counts: dict[str, int] = defaultdict(int)
    for offer in offers:
        counts[offer.resource] += offer.most
    have = ", ".join(
        f"{counts[name]} x {_label(offer)} with {_gib(offer.memory)} usable" for name, offer in sorted(largest.items())
    )
    return f"gpu asks for {asked}{_kind(need)}; ready nodes have {have}. {_cure(need, offers)}"


def _label(offer: _Offer) -> str:
    return "whole GPU" if offer.profile == "whole" else offer.profile


def _kind(need: Gpu) -> str:
    if need.isolation == "Exclusive":
        return " on whole cards (gpu.isolation: Exclusive)"
    return " on whole cards of one node" if need.count > 1 else ""


def _cure(need: Gpu, offers: Sequence[_Offer]) -> str:
    if any(offer.profile == "whole" and offer.memory == 0 for offer in offers):
        return "A whole GPU's size is unknown: GPU feature discovery must label its node with nvidia.com/gpu.memory."
    nominal = [
        offer.profile
        for offer in offers
        if offer.profile != "whole" and offer.memory < amount(need.memory) <= _nominal(offer.profile)
    ]
    if nominal:
        return f"A {nominal[0]} slice holds less than its name says: lower gpu.memory below it."
    return "Lower gpu.memory or gpu.count, or add nodes with larger devices."


def _nominal(name: str) -> float:
    found = re.search(r"\.(\d+)gb", name)
    return float(found.group(1)) * _GIB if found else 0.0


def _gib(size: float) -> str:
    return f"{size / _GIB:.2f}".rstrip("0").rstrip(".") + "Gi"
