"""Picking a device for a need: table of clusters and needs, and why none fits."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gyre_crds.base import amount
from gyre_crds.v1alpha1.common import Gpu
from gyre_operators.gpu.fit import Fit, fit
from gyre_operators.gpu.profiles import CARDS, card, profile
from gyre_operators.workload.views import Node, to_view

A100 = "NVIDIA-A100-SXM4-80GB"
H100 = "NVIDIA-H100-80GB-HBM3"
H200 = "NVIDIA-H200"


def node(
    product: str | None = None,
    *,
    ready: bool = True,
    cordoned: bool = False,
    labels: dict[str, str] | None = None,
    **allocatable: str,
) -> Node:
    """A node; `mig_1g_10gb="7"` and `gpu="8"` are its devices."""
    named = {
        ("nvidia.com/gpu" if key == "gpu" else "nvidia.com/mig-" + key.removeprefix("mig_").replace("_", ".")): count
        for key, count in allocatable.items()
    }
    body: dict[str, Any] = {
        "metadata": {
            "name": "n",
            "labels": {**({"nvidia.com/gpu.product": product} if product else {}), **(labels or {})},
        },
        "spec": {"unschedulable": cordoned},
        "status": {
            "allocatable": {"cpu": "8", "memory": "64Gi", **named},
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        },
    }
    found: Node = to_view(Node, body)
    return found


CASES: dict[str, tuple[Gpu, list[Node], tuple[str | None, str | None, int]]] = {
    "the smallest slice that holds it": (
        Gpu(memory="9Gi"),
        [node(A100, mig_1g_10gb="7", mig_3g_40gb="2")],
        ("nvidia.com/mig-1g.10gb", "1g.10gb", 1),
    ),
    "10Gi is more than a 10gb slice holds": (
        Gpu(memory="10Gi"),
        [node(A100, mig_1g_10gb="7", mig_2g_20gb="3")],
        ("nvidia.com/mig-2g.20gb", "2g.20gb", 1),
    ),
    "of equal memory the one with less compute": (
        Gpu(memory="12Gi"),
        [node(H100, mig_2g_20gb="3", mig_1g_20gb="4")],
        ("nvidia.com/mig-1g.20gb", "1g.20gb", 1),
    ),
    "a slice before a whole card on another node": (
        Gpu(memory="30Gi"),
        [node(A100, gpu="8"), node(H100, mig_3g_40gb="2")],
        ("nvidia.com/mig-3g.40gb", "3g.40gb", 1),
    ),
    "a whole card where no slice holds it": (
        Gpu(memory="60Gi"),
        [node(A100, mig_3g_40gb="2", gpu="4")],
        ("nvidia.com/gpu", "whole", 1),
    ),
    "whole cards when they must be exclusive": (
        Gpu(memory="4Gi", isolation="Exclusive"),
        [node(A100, mig_1g_10gb="7"), node(A100, gpu="1")],
        ("nvidia.com/gpu", "whole", 1),
    ),
    "whole cards when they must work together": (
        Gpu(memory="4Gi", count=2),
        [node(A100, mig_1g_10gb="7"), node(A100, gpu="2")],
        ("nvidia.com/gpu", "whole", 2),
    ),
    "two cards on two nodes are not two on one": (
        Gpu(memory="4Gi", count=2),
        [node(A100, gpu="1"), node(A100, gpu="1")],
        (None, None, 0),
    ),
    "a label of the node wins over the table": (
        Gpu(memory="9Gi"),
        [node(A100, mig_1g_10gb="7", labels={"nvidia.com/mig-1g.10gb.memory": "8000"}), node(A100, mig_2g_20gb="1")],
        ("nvidia.com/mig-2g.20gb", "2g.20gb", 1),
    ),
    "a time-sliced card is no whole card": (
        Gpu(memory="4Gi"),
        [node(A100, gpu="8", labels={"nvidia.com/gpu.sharing-strategy": "time-slicing"})],
        (None, None, 0),
    ),
    "strategy single hides slices as cards": (
        Gpu(memory="4Gi"),
        [node(A100, gpu="7", labels={"nvidia.com/mig.strategy": "single"})],
        (None, None, 0),
    ),
    "a node that is not ready does not count": (Gpu(memory="4Gi"), [node(A100, gpu="1", ready=False)], (None, None, 0)),
    "a cordoned node does not count": (Gpu(memory="4Gi"), [node(A100, gpu="1", cordoned=True)], (None, None, 0)),
    "an unknown card counts by its label": (
        Gpu(memory="20Gi"),
        [node("ACME-X1", gpu="1", labels={"nvidia.com/gpu.memory": "24000"})],
        ("nvidia.com/gpu", "whole", 1),
    ),
    "a slice of an unknown card counts for less than its name": (
        Gpu(memory="21Gi"),
        [node("ACME-X1", mig_1g_24gb="4")],
        ("nvidia.com/mig-1g.24gb", "1g.24gb", 1),
    ),
    "a slice with media engines": (
        Gpu(memory="9Gi"),
        [node(H100, mig_1g_10gb_me="1")],
        ("nvidia.com/mig-1g.10gb.me", "1g.10gb.me", 1),
    ),
    "H200": (Gpu(memory="16Gi"), [node(H200, mig_1g_18gb="7")], ("nvidia.com/mig-1g.18gb", "1g.18gb", 1)),
}


@pytest.mark.parametrize(("need", "nodes", "wanted"), CASES.values(), ids=CASES)
def test_choice(need: Gpu, nodes: list[Node], wanted: tuple[str | None, str | None, int]) -> None:
    """The table's device is picked."""
    found = fit(need, nodes)
    assert (found.status.resource, found.status.profile, found.count) == wanted
    assert found.found == (wanted[0] is not None)


REASONS: dict[str, tuple[Gpu, list[Node], str]] = {
    "no GPU at all": (
        Gpu(memory="4Gi"),
        [node()],
        "No ready node has a GPU or MIG slice; gpu asks for 4Gi. Add a GPU node.",
    ),
    "slices that are too small, by their true size": (
        Gpu(memory="10Gi"),
        [node(A100, mig_1g_10gb="7"), node(H100, mig_1g_10gb="3")],
        (
            "gpu asks for 10Gi; ready nodes have 10 x 1g.10gb with 9.75Gi usable. "
            "A 1g.10gb slice holds less than its name says: lower gpu.memory below it."
        ),
    ),
    "more than any card": (
        Gpu(memory="100Gi"),
        [node(A100, gpu="8", mig_3g_40gb="2")],
        (
            "gpu asks for 100Gi; ready nodes have 8 x whole GPU with 79Gi usable, 2 x 3g.40gb with 39.25Gi usable. "
            "Lower gpu.memory or gpu.count, or add nodes with larger devices."
        ),
    ),
    "exclusive, and only slices": (
        Gpu(memory="4Gi", isolation="Exclusive"),
        [node(A100, mig_3g_40gb="2")],
        (
            "gpu asks for 4Gi on whole cards (gpu.isolation: Exclusive); "
            "ready nodes have 2 x 3g.40gb with 39.25Gi usable. "
            "Lower gpu.memory or gpu.count, or add nodes with larger devices."
        ),
    ),
    "a card of unknown size": (
        Gpu(memory="4Gi"),
        [node(gpu="1")],
        (
            "gpu asks for 4Gi; ready nodes have 1 x whole GPU with 0Gi usable. "
            "A whole GPU's size is unknown: GPU feature discovery must label its node with nvidia.com/gpu.memory."
        ),
    ),
}


@pytest.mark.parametrize(("need", "nodes", "sentence"), REASONS.values(), ids=REASONS)
def test_why_none_fits(need: Gpu, nodes: list[Node], sentence: str) -> None:
    """The sentence names what was asked, what exists, and the cure."""
    assert fit(need, nodes).status.reason == sentence


def test_only_products_that_hold_it() -> None:
    """A slice's name says less than its card: only nodes of cards that hold the need are allowed."""
    found = fit(Gpu(memory="9.6Gi"), [node(A100, mig_1g_10gb="7"), node(H100, mig_1g_10gb="7")])
    assert (found.status.resource, found.products) == ("nvidia.com/mig-1g.10gb", (H100,))
    assert found.status.memory == "9.75Gi"


def test_reasons_of_a_choice() -> None:
    """A choice is explained."""
    slice_ = fit(Gpu(memory="9Gi"), [node(A100, mig_1g_10gb="7")])
    assert slice_.status.reason == "1g.10gb is the smallest slice that holds 9Gi (9.5Gi usable)."
    whole = fit(Gpu(memory="9Gi", count=2), [node(A100, gpu="2")])
    assert (
        whole.status.reason
        == "gpu.count is 2, and slices cannot work together, so whole cards are taken (79Gi usable)."
    )


@pytest.mark.parametrize(
    ("product", "name"),
    [
        ("NVIDIA-A100-SXM4-40GB", "A100-40GB"),
        ("NVIDIA-A100-PCIE-40GB", "A100-40GB"),
        ("NVIDIA-A100-SXM4-80GB", "A100-80GB"),
        ("NVIDIA-A100-80GB-PCIe", "A100-80GB"),
        ("NVIDIA-H100-80GB-HBM3", "H100-80GB"),
        ("NVIDIA-H100-PCIe", "H100-80GB"),
        ("NVIDIA-H100-NVL", "H100-94GB"),
        ("NVIDIA-H200", "H200-141GB"),
    ],
)
def test_products_are_known(product: str, name: str) -> None:
    """Product labels as GPU feature discovery writes them find their card."""
    found = card(product)
    assert found is not None
    assert found.name == name


def test_table_is_coherent() -> None:
    """Every profile holds no more than its name and its card, and a larger one never holds less."""
    for each in CARDS:
        sizes = [(entry.slices, entry.memory) for entry in each.profiles.values()]
        for name, entry in each.profiles.items():
            nominal = float(name.partition("g.")[2].removesuffix("gb"))
            assert entry.memory < nominal
            assert entry.memory <= each.memory
            assert int(name.partition("g.")[0]) == entry.slices
        assert sizes == sorted(sizes)
    assert profile("not-a-profile", H100) is None


DEVICES = st.sampled_from(["mig_1g_10gb", "mig_1g_20gb", "mig_2g_20gb", "mig_3g_40gb", "mig_7g_80gb", "gpu"])
NODES = st.lists(
    st.builds(
        lambda product, devices: node(product, **devices),
        st.sampled_from([A100, H100, None]),
        st.dictionaries(DEVICES, st.sampled_from(["0", "1", "4"]), max_size=3),
    ),
    max_size=4,
)


def _memory(found: Fit) -> float:
    return amount(found.status.memory or "0")


@given(nodes=NODES, memory=st.integers(1, 90), count=st.integers(1, 4))
def test_a_choice_always_holds_the_need(nodes: list[Node], memory: int, count: int) -> None:
    """What is picked holds the need, exists on some node in that number, and no smaller slice would have done."""
    need = Gpu(memory=f"{memory}Gi", count=count)
    found = fit(need, nodes)
    if not found.found:
        assert found.status.reason
        return
    assert _memory(found) >= amount(need.memory) * 0.999
    resource = found.status.resource or ""
    assert any(int(each.status.allocatable.get(resource, "0")) >= count for each in nodes)
    assert count == 1 or found.status.profile == "whole"
    for each in nodes:
        product = each.metadata.labels.get("nvidia.com/gpu.product", "")
        for other, number in each.status.allocatable.items():
            known = profile(other.removeprefix("nvidia.com/mig-"), product) if "mig-" in other else None
            if known is not None and number != "0" and count == 1 and known.memory >= memory:
                assert found.status.profile != "whole"
                assert known.memory * 2**30 >= _memory(found) * 0.999
