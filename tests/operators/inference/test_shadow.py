"""Strategy Shadow: a candidate is compared on copies before any client hears of it."""

import random
from typing import Any

import pytest

from gyre_crds.v1alpha1 import InferenceService
from gyre_crds.v1alpha1.inference import Shadow, ShadowStatus
from gyre_operators.engine.kinds import gyre
from gyre_operators.inference.shadow import judge_copies, needed_copies
from tests.operators.builders import after, key, service
from tests.operators.inference.conftest import Scene

ROLLOUT = {"strategy": "Shadow"}
MIRROR = {"percent": 20, "tolerance": {"absolute": 0.01, "relative": 0.1}, "concurrency": 4}


async def _compared(scene: Scene, **spec: Any) -> tuple[str, str]:
    """v1 serves, v2 answers copies; both revisions."""
    scene.put(service({"rollout": ROLLOUT, **spec}))
    await scene.step()
    scene.make_ready()
    await scene.rest()
    scene.say_challenger("v2")
    await scene.rest()
    scene.make_ready()
    await scene.rest(after(1))
    assert scene.weights() == {"v1": 100, "v2": 0}
    return scene.status["stable"]["revision"], scene.status["candidate"]["revision"]


async def test_candidate_gets_copies_and_no_traffic(scene: Scene) -> None:
    """The table mirrors by spec.traffic.mirror, the weights stay, and the needed copies are published."""
    _, candidate = await _compared(scene, traffic={"mirror": MIRROR})
    mirror = scene.table.services[0].mirror
    assert mirror is not None
    assert (mirror.revision, mirror.share, mirror.concurrency) == (candidate, 0.2, 4)
    assert (mirror.tolerance.absolute, mirror.tolerance.relative) == (0.01, 0.1)
    shadow = scene.status["candidate"]["shadow"]
    assert shadow["needed"] == 495
    assert scene.condition()["reason"] == "WaitingForEvidence"
    assert "about 495 are needed" in scene.condition()["message"]


async def test_stable_service_mirrors_nothing(scene: Scene) -> None:
    """Without a candidate nobody gets copies, and no router is asked."""
    scene.put(service({"rollout": ROLLOUT}))
    await scene.step()
    scene.make_ready()
    await scene.rest()
    assert scene.table.services[0].mirror is None
    asked = scene.fleet.asked_counters
    await scene.step(after(600))
    assert scene.fleet.asked_counters == asked


async def test_agreement_leads_on_to_the_steps_of_the_canary(scene: Scene) -> None:
    """Proven agreement: copies end, the first step begins, and the evidence stays in the candidate's status."""
    stable, candidate = await _compared(scene)
    scene.fleet.compared(stable, candidate, agreed=200)
    await scene.rest(after(5))
    assert scene.weights() == {"v1": 100, "v2": 0}
    scene.fleet.compared(stable, candidate, agreed=400)
    await scene.rest(after(10))
    assert scene.weights() == {"v1": 90, "v2": 10}
    assert scene.table.services[0].mirror is None
    shadow = scene.status["candidate"]["shadow"]
    assert (shadow["verdict"], shadow["agreed"]) == ("Pass", 600)
    assert "600 of 600 copies were answered alike" in shadow["evidence"]


async def test_agreement_alone_may_promote(scene: Scene) -> None:
    """With `then: Promote` the candidate takes all traffic at once, and the history says on what proof."""
    stable, candidate = await _compared(scene, rollout={**ROLLOUT, "shadow": {"then": "Promote"}})
    scene.fleet.compared(stable, candidate, agreed=1199, differed=1)
    await scene.rest(after(5))
    assert scene.status["stable"]["revision"] == candidate
    assert scene.weights() == {"v2": 100}
    told = scene.status["history"][0]
    assert told["what"] == "Promoted"
    assert "1199 of 1200 copies were answered alike" in told["message"]
    assert "an agreement above 0.99 is proven at level 0.05" in told["message"]


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({"differed": 30}, id="other answers"),
        pytest.param({"failed": 30}, id="failures"),
        pytest.param({"differed": 15, "failed": 15}, id="both"),
    ],
)
async def test_disagreement_refuses_the_candidate(scene: Scene, wrong: dict[str, Any]) -> None:
    """Answers that differ and copies that fail count alike; the refusal has their numbers, and stays."""
    stable, candidate = await _compared(scene)
    scene.fleet.compared(stable, candidate, agreed=470, dropped=5, **wrong)
    await scene.rest(after(5))
    assert scene.weights() == {"v1": 100}
    refused = scene.status["rejected"][0]
    assert (refused["version"], refused["reason"]) == ("v2", "Fail")
    assert "470 of 500 copies" in refused["message"]
    await scene.rest(after(500))
    assert scene.servers() == ["v1"]
    scene.town.patch(gyre(InferenceService), key("census"), spec={"traffic": {"mirror": MIRROR}})
    await scene.rest(after(510))
    assert scene.status["candidate"]["version"] == "v2", "another tolerance is another question"


async def test_restarts_neither_lose_nor_double_copies(scene: Scene) -> None:
    """What a router counted before its restart was read; what it counts anew is added."""
    stable, candidate = await _compared(scene)
    scene.fleet.compared(stable, candidate, agreed=50)
    await scene.step(after(5))
    scene.fleet.restart("router-0")
    await scene.step(after(10))
    scene.fleet.compared(stable, candidate, agreed=7, skipped=2)
    await scene.step(after(15))
    shadow = scene.status["candidate"]["shadow"]
    assert (shadow["agreed"], shadow["dropped"]) == (57, 2)


async def test_another_tolerance_starts_the_comparison_anew(scene: Scene) -> None:
    """Copies that were judged by another tolerance are no evidence."""
    stable, candidate = await _compared(scene)
    scene.fleet.compared(stable, candidate, agreed=400)
    await scene.rest(after(5))
    scene.town.patch(gyre(InferenceService), key("census"), spec={"traffic": {"mirror": MIRROR}})
    await scene.rest(after(10))
    assert scene.status["candidate"]["revision"] == candidate
    assert scene.status["candidate"]["shadow"]["agreed"] == 0


@pytest.mark.parametrize(
    ("policy", "servers"),
    [
        pytest.param("Rollback", ["v1"], id="rolled back"),
        pytest.param("Halt", ["v1", "v2"], id="held"),
    ],
)
async def test_too_few_copies_in_time(scene: Scene, policy: str, servers: list[str]) -> None:
    """Without a verdict before the analysis' timeout the spec decides, and no client was asked."""
    stable, candidate = await _compared(scene, rollout={**ROLLOUT, "onInconclusive": policy})
    scene.fleet.compared(stable, candidate, agreed=20, dropped=900)
    await scene.rest(after(3700))
    assert scene.servers() == servers
    assert "900 were dropped" in scene.condition()["message"]
    assert scene.weights()["v1"] == 100


@pytest.mark.parametrize(
    ("agreement", "verdict"),
    [
        pytest.param(0.99, "Fail", id="a candidate that agrees as often as asked is refused"),
        pytest.param(0.99, "Pass", id="a candidate that agrees no more often passes"),
    ],
)
def test_chance_of_a_wrong_verdict_at_any_look(agreement: float, verdict: str) -> None:
    """Looked at after every copy, 400 rollouts of 1,500 copies at the border: no more than alpha of them each way."""
    draw = random.Random(7)  # noqa: S311  a simulation
    asked = Shadow(agreement=agreement, min_compared=0)
    wrong = 0
    for _ in range(400):
        told = ShadowStatus(against="a", since="2026-11-21T12:00:00Z")
        for _look in range(100):
            agreed = sum(draw.random() < agreement for _ in range(15))
            told = told.model_copy(update={"agreed": told.agreed + agreed, "differed": told.differed + 15 - agreed})
            said = judge_copies(told, asked, 0.05).verdict
            if said != "Inconclusive":
                wrong += said == verdict
                break
    assert wrong <= 400 * 0.05


def test_needed_copies_are_exact() -> None:
    """One copy fewer does not prove the agreement, and an agreement of all but one in a billion cannot be proven."""
    asked = Shadow(agreement=0.95, min_compared=0)
    needed = needed_copies(asked, 0.05)
    assert needed is not None
    told = ShadowStatus(against="a", since="2026-11-21T12:00:00Z", agreed=needed)
    assert judge_copies(told, asked, 0.05).verdict == "Pass"
    assert judge_copies(told.model_copy(update={"agreed": needed - 1}), asked, 0.05).verdict == "Inconclusive"
    assert needed_copies(Shadow(agreement=1 - 1e-9), 0.05) is None
