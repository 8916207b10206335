"""Strategy Shadow with the real operator, router and model servers: copies decide, and no client hears of it before."""

from pathlib import Path

import pytest

from gyre_crds.v1alpha1 import InferenceService
from tests.integration.engine.harness import Cluster, Operator, until
from tests.integration.engine.proxy import Proxy
from tests.integration.loop.dataplane import ALIKE, OTHERWISE, DataPlane, data_plane
from tests.integration.loop.test_loop import PROGRAM, start

pytestmark = pytest.mark.cluster

SHADOW = {
    "model": {"name": "census"},
    "runtime": {"kind": "Python"},
    "rollout": {
        "strategy": "Shadow",
        "shadow": {"agreement": 0.9, "minCompared": 50, "then": "Promote"},
        "analysis": {"interval": "1s"},
    },
}


async def _refused(plane: DataPlane, version: str) -> bool:
    rejected = (await plane.street.get(InferenceService)).get("rejected", [])
    return version in {one["version"] for one in rejected}


async def test_copies_decide(cluster: Cluster, proxy: Proxy, tmp_path: Path) -> None:
    """Who answers copies alike takes all traffic, who answers otherwise is refused; every request is answered right.

    The refused version answers no client at all.
    """
    async with (
        Operator(tmp_path, proxy.url, cluster.namespace, program=PROGRAM),
        data_plane(cluster, tmp_path) as plane,
    ):
        street = plane.street
        await plane.serve({"v1": ALIKE, "v2": ALIKE, "v3": OTHERWISE})
        await start(street, SHADOW, plane.route)
        async with plane.at_work():
            await until(lambda: street.serves("v1"), 30, "v1 serves")
            await street.version("v2", trained="2026-01-02T00:00:00Z")
            await until(lambda: street.serves("v2"), 60, "v2 serves")
            await street.version("v3", trained="2026-01-03T00:00:00Z")
            await until(lambda: _refused(plane, "v3"), 60, "v3 is refused")
            assert (await street.weights())["v2"] == 100
    told = [one for one in (await street.get(InferenceService))["history"] if one["version"] == "v2"]
    assert any("copies were answered alike" in one.get("message", "") for one in told), told
    assert set(plane.statuses) == {200}
    assert plane.versions["v1"] > 5
    assert plane.versions["v2"] > 5
    assert "v3" not in plane.versions
