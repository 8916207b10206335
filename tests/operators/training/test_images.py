"""Images that do not come: which are waited for, and how long."""

from datetime import timedelta

import pytest

from tests.operators.training.cluster import ended, waiting
from tests.operators.training.conftest import Make

GRACE = 300
PULLS = {
    "a tag that the registry does not have": ("ErrImagePull", "registry.example/census:1: not found", "Failed"),
    "a registry that wants a login": ("ImagePullBackOff", "ErrImagePull: 401 Unauthorized", "Failed"),
    "a registry that is away": ("ImagePullBackOff", "dial tcp 10.0.0.1:443: connection refused", "Pending"),
    "a cause that nobody knows": ("ErrImagePull", "unexpected EOF", "Pending"),
}


@pytest.mark.parametrize(("reason", "message", "state"), PULLS.values(), ids=PULLS)
async def test_the_wait_for_an_image(reason: str, message: str, state: str, make: Make) -> None:
    """A registry's no ends the job after the grace, and its Job goes; trouble that passes is waited for."""
    cluster = make()
    await cluster.settle()
    cluster.pod(phase="Pending")
    cluster.containers(prepare=ended(), publish={"running": {}}, train=waiting(reason, message))
    assert (await cluster.settle(GRACE - 1))["state"] == "Pending"
    assert cluster.ready()[0] == "ImagePullFailed"
    if state == "Failed":
        assert (await cluster.plan()).requeue == timedelta(seconds=1)
    status = await cluster.settle(1)
    assert (status["state"], cluster.ready()[0]) == (state, "ImagePullFailed")
    assert len(cluster.jobs()) == (state == "Pending")


async def test_our_own_image_is_waited_for(make: Make) -> None:
    """A wrong image of Gyre's own is the installation's fault: no training fails for it."""
    cluster = make()
    await cluster.settle()
    cluster.pod(phase="Pending")
    cluster.containers(prepare=waiting("ErrImagePull", "pipelines:9: not found"))
    assert (await cluster.settle(2 * GRACE))["state"] == "Pending"
