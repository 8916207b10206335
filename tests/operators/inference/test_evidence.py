"""What a rollout rests on: evidence that lasts, counts once and belongs to its step, and what a refusal leaves."""

from typing import Any

import pytest

from gyre_crds.v1alpha1 import InferenceService
from gyre_operators.engine.kinds import gyre
from tests.operators.builders import after, key, model, version
from tests.operators.inference.conftest import V1, Scene, candidate_at_first_step


@pytest.mark.parametrize(
    ("broken", "whole", "said"),
    [
        pytest.param(
            version("v2", age=1, model=["census"]),
            version("v2", age=1),
            "ModelVersion v2 cannot be read (spec.model: ",
            id="the version cannot be read",
        ),
        pytest.param(
            model({"promotion": "no"}, {**V1, "challenger": {"name": "v2"}}),
            model(status={**V1, "challenger": {"name": "v2"}}),
            "Model census cannot be read (spec.promotion: ",
            id="the Model cannot be read",
        ),
    ],
)
async def test_candidate_and_its_evidence_outlive_what_cannot_be_read(
    serving: Scene, broken: dict[str, Any], whole: dict[str, Any], said: str
) -> None:
    """It is there and nobody took it back: dropping the candidate would lose the rollout over a later field."""
    stable, candidate = await candidate_at_first_step(serving)
    serving.fleet.answered(stable, 900)
    serving.fleet.answered(candidate, 100)
    await serving.step(after(5))
    serving.put(broken)
    await serving.rest(after(10))
    assert serving.status["candidate"]["strata"][0]["candidateRequests"] == 100
    assert serving.weights() == {"v1": 90, "v2": 10}
    assert said in serving.condition("Reconciling")["message"]
    assert serving.condition("Reconciling")["message"].endswith(": correct it")
    serving.put(whole)
    serving.fleet.answered(stable, 2700)
    serving.fleet.answered(candidate, 300)
    await serving.rest(after(15))
    assert serving.weights() == {"v1": 50, "v2": 50}
    assert "RolledBack" not in [entry["what"] for entry in serving.status["history"]]


async def test_failing_candidate_is_rolled_back_and_not_tried_again(serving: Scene) -> None:
    """A candidate that errs more is refused on proof, and stays refused while the wish stays."""
    stable, candidate = await candidate_at_first_step(serving)
    serving.fleet.answered(stable, 900)
    serving.fleet.answered(candidate, 100, 12)
    await serving.rest(after(5))
    assert serving.weights() == {"v1": 100}
    assert serving.status["rejected"][0]["version"] == "v2"
    assert serving.status["rejected"][0]["reason"] == "Fail"
    assert "12 of 100" in serving.status["rejected"][0]["message"]
    assert serving.servers() == ["v1"]
    assert serving.condition()["status"] == "True"
    assert serving.condition()["reason"] == "Fail"
    await serving.rest(after(500))
    assert serving.servers() == ["v1"]


async def test_requests_past_the_split_are_no_evidence(serving: Scene) -> None:
    """Testers who ask for the candidate by header or path neither refuse it nor pass it."""
    stable, candidate = await candidate_at_first_step(serving)
    serving.fleet.answered(stable, 900)
    serving.fleet.answered(candidate, 100)
    serving.fleet.answered(candidate, 60, 60, directed=True)
    serving.fleet.answered(candidate, 9000, directed=True)
    await serving.rest(after(5))
    assert serving.weights() == {"v1": 90, "v2": 10}
    counts = {one["wanted"]: (one["requests"], one["errors"]) for one in serving.status["traffic"]}
    assert counts == {90: (900, 0), 10: (100, 0)}
    serving.fleet.answered(stable, 900)
    serving.fleet.answered(candidate, 100, 12)
    await serving.rest(after(10))
    assert serving.weights() == {"v1": 100}


async def test_refusal_stays_visible_after_the_model_took_the_challenger_back(serving: Scene) -> None:
    """With the champion as target again, Ready still says what was refused last, and why."""
    stable, candidate = await candidate_at_first_step(serving)
    serving.fleet.answered(stable, 900)
    serving.fleet.answered(candidate, 100, 12)
    await serving.rest(after(5))
    serving.put(model(status=V1))
    await serving.rest(after(6))
    assert (serving.condition()["status"], serving.condition()["reason"]) == ("True", "RolledBack")
    assert "v2 was refused" in serving.condition()["message"]


async def test_new_wish_tries_a_refused_revision_again(serving: Scene) -> None:
    """Changing spec.rollout is a new question, so an old refusal does not answer it; replicas are no new wish."""
    stable, candidate = await candidate_at_first_step(serving)
    serving.fleet.answered(stable, 900)
    serving.fleet.answered(candidate, 100, 12)
    await serving.rest(after(5))
    serving.town.patch(gyre(InferenceService), key("census"), spec={"replicas": 3})
    await serving.rest(after(6))
    assert "candidate" not in serving.status
    serving.town.patch(gyre(InferenceService), key("census"), spec={"rollout": {"analysis": {"margin": 0.3}}})
    await serving.rest(after(7))
    assert serving.status["candidate"]["version"] == "v2"
    assert serving.status.get("rejected", []) == []


async def test_requests_of_other_weights_are_no_evidence(serving: Scene) -> None:
    """Requests before every router ran the step's weights do not count for the step."""
    serving.say_challenger("v2")
    await serving.rest()
    serving.fleet.answered(serving.status["stable"]["revision"], 5000, 50)
    serving.make_ready()
    await serving.rest()
    stratum = serving.status["candidate"]["strata"][0]
    assert stratum == {
        "weight": 10, "unit": "Request", "processes": 0,
        "candidateRequests": 0, "candidateErrors": 0, "stableRequests": 0, "stableErrors": 0,
    }  # fmt: skip


async def test_restart_of_a_router_neither_loses_nor_doubles_evidence(serving: Scene) -> None:
    """Counters start at nothing after a restart; deltas by process and epoch add up all the same."""
    stable, candidate = await candidate_at_first_step(serving)
    serving.fleet.answered(stable, 90)
    serving.fleet.answered(candidate, 10)
    await serving.step(after(5))
    serving.fleet.restart("router-0")
    await serving.step(after(10))
    serving.fleet.answered(stable, 45)
    serving.fleet.answered(candidate, 5)
    await serving.step(after(15))
    stratum = serving.status["candidate"]["strata"][0]
    assert (stratum["candidateRequests"], stratum["stableRequests"]) == (15, 135)


async def test_spec_change_in_mid_rollout_drops_the_candidate_and_its_evidence(serving: Scene) -> None:
    """Other pod settings are another revision: it starts anew, and the stable one serves on as it was made."""
    stable, candidate = await candidate_at_first_step(serving)
    serving.fleet.answered(stable, 90)
    serving.fleet.answered(candidate, 10)
    await serving.step(after(5))
    serving.town.patch(gyre(InferenceService), key("census"), spec={"resources": {"limits": {"memory": "1Gi"}}})
    await serving.rest(after(6))
    assert serving.status["stable"]["revision"] == stable
    assert serving.status["candidate"]["revision"] != candidate
    assert serving.status["candidate"].get("strata", []) == []
    assert serving.weights() == {"v1": 100, "v2": 0}
    assert serving.servers() == ["v1", "v2"]
