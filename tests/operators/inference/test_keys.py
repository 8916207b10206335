"""A canary by sticky keys: what is counted, what one key weighs, and what is said of it."""

from typing import Any

import pytest

from gyre_crds.v1alpha1 import InferenceService
from gyre_operators.engine.kinds import gyre
from tests.operators.builders import after, key, model, service, version
from tests.operators.inference.conftest import V1, Scene

STICKY = {"sticky": {"header": "x-user"}}


async def _stepping(scene: Scene, traffic: Any) -> tuple[str, str]:
    """v1 serves, v2 is at its first step; both revisions."""
    scene.put(model(status=V1), version("v1", age=48), version("v2", age=1), service({"traffic": traffic}))
    await scene.step()
    scene.make_ready()
    await scene.rest()
    scene.say_challenger("v2")
    await scene.rest()
    scene.make_ready()
    await scene.rest()
    assert scene.weights() == {"v1": 90, "v2": 10}
    return scene.status["stable"]["revision"], scene.status["candidate"]["revision"]


async def test_keys_decide_and_not_their_requests() -> None:
    """One user's thousand failures are one failed key; enough keys without more failures pass."""
    scene = Scene()
    stable, candidate = await _stepping(scene, STICKY)
    assert scene.status["candidate"]["needed"] == 365
    scene.fleet.answered(stable, 9000, keys=(900, 0))
    scene.fleet.answered(candidate, 2000, 1000, keys=(100, 1))
    await scene.step(after(5))
    assert scene.status["candidate"]["verdict"] == "Inconclusive"
    assert "1 of 100 keys" in scene.status["candidate"]["evidence"]
    assert scene.weights() == {"v1": 90, "v2": 10}
    scene.fleet.answered(stable, 9000, keys=(18000, 9))
    scene.fleet.answered(candidate, 2000, keys=(2000, 1))
    await scene.rest(after(10))
    assert scene.weights() == {"v1": 50, "v2": 50}


async def test_two_routers_halve_the_weight_of_a_key() -> None:
    """The needed keys are twice as many, and a router that comes later makes them three times as many."""
    scene = Scene(routers=2)
    stable, candidate = await _stepping(scene, STICKY)
    assert scene.status["candidate"]["needed"] == 730
    assert scene.status["candidate"]["strata"][0]["processes"] == 2
    scene.fleet.answered(stable, 1, keys=(90, 0))
    scene.fleet.answered(candidate, 1, keys=(10, 0))
    await scene.step(after(5))
    scene.fleet.restart("router-1")
    await scene.step(after(10))
    assert scene.status["candidate"]["strata"][0]["processes"] == 3
    scene.fleet.answered(stable, 1, keys=(900, 0))
    scene.fleet.answered(candidate, 1, keys=(100, 12))
    await scene.rest(after(15))
    assert scene.weights() == {"v1": 100}
    assert "12 of 110 keys" in scene.status["rejected"][0]["message"]


@pytest.mark.parametrize(
    ("before", "then"),
    [
        pytest.param({}, STICKY, id="sticky is set"),
        pytest.param(STICKY, {"sticky": None}, id="sticky is taken away"),
    ],
)
async def test_change_of_the_witness_starts_the_rollout_over(before: Any, then: Any) -> None:
    """Counts of requests and of keys are never one sum."""
    scene = Scene()
    stable, candidate = await _stepping(scene, before)
    scene.fleet.answered(stable, 900, keys=(9, 0))
    scene.fleet.answered(candidate, 100, keys=(1, 0))
    await scene.step(after(5))
    scene.town.patch(gyre(InferenceService), key("census"), spec={"traffic": then})
    await scene.rest(after(6))
    stratum = scene.status["candidate"]["strata"][0]
    assert (stratum["unit"] == "Key", stratum["candidateRequests"]) == (then is STICKY, 0)
    assert any("traffic.sticky changed" in entry["message"] for entry in scene.status["history"])


async def test_evidence_by_request_says_so() -> None:
    """Without keys a heavy caller weighs as much as it asks, and the evidence names the cure."""
    scene = Scene()
    stable, candidate = await _stepping(scene, {})
    scene.fleet.answered(stable, 900)
    scene.fleet.answered(candidate, 100)
    await scene.step(after(5))
    assert "evidence by request" in scene.status["candidate"]["evidence"]
