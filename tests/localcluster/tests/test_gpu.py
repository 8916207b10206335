"""Pretended GPUs carry the names and labels of real ones."""

from __future__ import annotations

import pytest

from tests.localcluster import gpu
from tests.localcluster.errors import ClusterError


@pytest.mark.parametrize(
    ("profiles", "expected"),
    [
        (["mig-1g.10gb=7"], {"nvidia.com/mig-1g.10gb": 7}),
        (["mig-1g.10gb.me=1", "gpu=2"], {"nvidia.com/mig-1g.10gb.me": 1, "nvidia.com/gpu": 2}),
        ([], {}),
    ],
    ids=["seven slices", "a slice with media engines and whole GPUs", "nothing"],
)
def test_parse(profiles: list[str], expected: dict[str, int]) -> None:
    """A profile names an extended resource and how many of it the node offers."""
    assert gpu.parse(profiles) == expected


@pytest.mark.parametrize("text", ["1g.10gb=7", "mig-1g.10gb", "mig-1g=1", "gpu=-1", "gpu=x"])
def test_bad_profile(text: str) -> None:
    """A profile that cannot be read is quoted, with an example."""
    with pytest.raises(ClusterError, match=r"--profile .* write <resource>=<count>, e\.g\. mig-1g\.10gb=7"):
        gpu.parse([text])


def test_labels() -> None:
    """Slices bring the labels of the mixed strategy, with a count for each profile."""
    labels = gpu.labels_for("NVIDIA-H100-80GB-HBM3", {"nvidia.com/mig-1g.10gb": 7}, 1)
    assert labels["nvidia.com/gpu.memory"] == "81559"
    assert labels["nvidia.com/mig.strategy"] == "mixed"
    assert labels["nvidia.com/mig-1g.10gb.count"] == "7"
    assert "nvidia.com/mig.strategy" not in gpu.labels_for("NVIDIA-L4", {"nvidia.com/gpu": 1}, 1)


def test_no_slices_of_what_has_none() -> None:
    """A GPU that cannot be partitioned offers no slices."""
    with pytest.raises(ClusterError, match="NVIDIA-L4 cannot be sliced"):
        gpu.labels_for("NVIDIA-L4", {"nvidia.com/mig-1g.10gb": 1}, 1)


def test_replacing() -> None:
    """A second call leaves nothing of the first, and nothing of others is touched."""
    patch = gpu._replacing({"cpu": "2", "nvidia.com/gpu": "1"}, {"nvidia.com/mig-1g.10gb": "7"})
    assert patch == {"nvidia.com/gpu": None, "nvidia.com/mig-1g.10gb": "7"}
