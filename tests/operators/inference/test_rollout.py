"""A rollout from the first pod to the last drained one, over a world in memory."""

from typing import Any

import pytest

from gyre_crds.v1alpha1 import InferenceService
from gyre_operators.engine.kinds import DEPLOYMENT, SERVICE, gyre
from tests.operators.builders import NOW, after, key, model, service, version
from tests.operators.inference.conftest import V1, Scene


async def test_first_revision_serves_once_its_pods_answer_and_the_routers_run_the_table(scene: Scene) -> None:
    """A first version needs no canary: it serves when it answers the golden rows and routers know it."""
    await scene.rest()
    assert scene.status["state"] == "Starting"
    assert scene.weights() == {}
    scene.make_ready()
    await scene.rest()
    assert scene.weights() == {"v1": 100}
    assert scene.condition()["status"] == "True"
    assert scene.condition()["reason"] == "Serving"
    assert scene.status["url"] == "http://census.default.svc/v2/models/census"
    assert scene.status["generation"] == scene.table.generation
    assert scene.status["replicas"] == 1


async def test_at_rest_nothing_is_written_and_no_router_is_asked(serving: Scene) -> None:
    """Zero writes at rest: requests that routers count in the meantime change nothing."""
    writes, asked = serving.town._version, serving.fleet.asked_counters
    serving.fleet.answered(serving.status["stable"]["revision"], 1000, 3)
    await serving.step(after(600))
    assert serving.town._version == writes
    assert serving.fleet.asked_counters == asked


async def _candidate_at_first_step(scene: Scene) -> tuple[str, str]:
    scene.say_challenger("v2")
    await scene.rest()
    assert scene.weights() == {"v1": 100, "v2": 0}
    scene.make_ready()
    await scene.rest()
    assert scene.weights() == {"v1": 90, "v2": 10}
    return scene.status["stable"]["revision"], scene.status["candidate"]["revision"]


async def test_candidate_takes_over_in_steps_and_the_old_revision_goes_after_it_drained(serving: Scene) -> None:
    """10 -> 50 -> 100 on evidence; the old Deployment stays until no router has requests for it in flight."""
    stable, candidate = await _candidate_at_first_step(serving)
    assert serving.status["candidate"]["needed"] == 365
    serving.fleet.answered(stable, 3600)
    serving.fleet.answered(candidate, 400)
    await serving.step(after(5))
    await serving.step(after(6))
    assert serving.weights() == {"v1": 50, "v2": 50}
    await serving.rest(after(7))
    serving.fleet.answered(stable, 400)
    serving.fleet.answered(candidate, 400)
    await serving.step(after(12))
    await serving.step(after(13))
    assert serving.weights() == {"v2": 100}
    assert serving.status["stable"]["version"] == "v2"
    assert "candidate" not in serving.status
    assert [entry["what"] for entry in serving.status["history"]][:2] == ["Promoted", "Step"]
    assert serving.status["history"][0]["version"] == "v2"
    await serving.rest(after(14))
    assert serving.servers() == ["v2"]


async def test_old_revision_stays_while_a_router_still_runs_the_old_table(serving: Scene) -> None:
    """A backend is removed only after every live router acknowledged the table without it."""
    await _promote(serving)
    serving.follows = False
    await serving.step(after(12))
    await serving.rest(after(20))
    assert serving.status["stable"]["version"] == "v2"
    assert serving.servers() == ["v1", "v2"]
    serving.follows = True
    serving.take_over()
    await serving.rest(after(30))
    assert serving.servers() == ["v2"]
    assert serving.town.get(SERVICE, key("census")) is not None


async def test_old_revision_stays_while_requests_are_in_flight(serving: Scene) -> None:
    """A revision that left the table answers its last requests before its pods go."""
    stable = await _promote(serving)
    serving.fleet.in_flight[stable] = 1
    await serving.step(after(12))
    await serving.rest(after(13))
    assert serving.status["stable"]["version"] == "v2"
    assert serving.servers() == ["v1", "v2"]
    serving.fleet.in_flight.clear()
    await serving.rest(after(14))
    assert serving.servers() == ["v2"]


async def _promote(scene: Scene) -> str:
    """Up to the moment before the last verdict."""
    stable, candidate = await _candidate_at_first_step(scene)
    scene.fleet.answered(stable, 3600)
    scene.fleet.answered(candidate, 400)
    await scene.rest(after(5))
    scene.fleet.answered(stable, 400)
    scene.fleet.answered(candidate, 400)
    return stable


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
    stable, candidate = await _candidate_at_first_step(serving)
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
    stable, candidate = await _candidate_at_first_step(serving)
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
    stable, candidate = await _candidate_at_first_step(serving)
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
    stable, candidate = await _candidate_at_first_step(serving)
    serving.fleet.answered(stable, 900)
    serving.fleet.answered(candidate, 100, 12)
    await serving.rest(after(5))
    serving.put(model(status=V1))
    await serving.rest(after(6))
    assert (serving.condition()["status"], serving.condition()["reason"]) == ("True", "RolledBack")
    assert "v2 was refused" in serving.condition()["message"]


async def test_new_wish_tries_a_refused_revision_again(serving: Scene) -> None:
    """Changing spec.rollout is a new question, so an old refusal does not answer it; replicas are no new wish."""
    stable, candidate = await _candidate_at_first_step(serving)
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
    stable, candidate = await _candidate_at_first_step(serving)
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
    stable, candidate = await _candidate_at_first_step(serving)
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


async def test_recreate_switches_at_once_when_the_new_revision_answers(scene: Scene) -> None:
    """Recreate compares nothing, yet waits for golden rows and routers."""
    scene.put(service({"rollout": {"strategy": "Recreate"}}))
    await scene.step()
    scene.make_ready()
    await scene.rest()
    scene.say_challenger("v2")
    await scene.rest()
    assert scene.weights() == {"v1": 100, "v2": 0}
    scene.make_ready()
    await scene.rest()
    assert scene.weights() == {"v2": 100}
    assert scene.servers() == ["v2"]


async def test_step_without_a_verdict_in_time_is_rolled_back_or_held(serving: Scene) -> None:
    """Inconclusive never promotes: after the timeout the default rolls back."""
    await _candidate_at_first_step(serving)
    await serving.rest(after(3601))
    assert serving.status["rejected"][0]["reason"] == "Inconclusive"
    assert serving.weights() == {"v1": 100}


async def test_step_without_a_verdict_in_time_is_held_where_asked(scene: Scene) -> None:
    """onInconclusive: Halt keeps the weights and says so, once."""
    scene.put(service({"rollout": {"onInconclusive": "Halt"}}))
    await scene.step()
    scene.make_ready()
    await scene.rest()
    await _candidate_at_first_step(scene)
    await scene.rest(after(3601))
    await scene.rest(after(3700))
    assert scene.status["state"] == "Halted"
    assert scene.weights() == {"v1": 90, "v2": 10}
    assert [entry["what"] for entry in scene.status["history"]].count("Halted") == 1


async def test_version_that_does_not_load_is_refused_with_the_runtimes_sentence(serving: Scene) -> None:
    """A pod that ends with EXIT_USER and a report on its version ends the rollout; nothing is waited for."""
    serving.say_challenger("v2")
    await serving.rest()
    candidate = serving.status["candidate"]["revision"]
    said = '{"schema": "gyre.failure.v1", "reason": "GoldenRowsDiffer", "message": "3 of 64 golden rows differ"}'
    serving.put(_pod("census-x", candidate, said, 64))
    await serving.rest(after(5))
    assert serving.status["rejected"][0]["reason"] == "GoldenRowsDiffer"
    assert "3 of 64" in serving.condition()["message"]
    assert serving.servers() == ["v1"]


async def test_store_that_is_away_refuses_nothing(serving: Scene) -> None:
    """A fault of the surroundings is said and waited for."""
    serving.say_challenger("v2")
    await serving.rest()
    candidate = serving.status["candidate"]["revision"]
    said = '{"schema": "gyre.failure.v1", "reason": "StoreUnreachable", "message": "the store does not answer"}'
    serving.put(_pod("census-x", candidate, said, 75))
    await serving.rest(after(5))
    assert serving.status["candidate"]["revision"] == candidate
    assert serving.condition("Reconciling")["message"] == "the store does not answer"


def _pod(name: str, revision: str, message: str, code: int) -> dict[str, object]:
    ended = {"terminated": {"exitCode": code, "message": message}}
    labels = {"gyre.dev/role": "server", "gyre.dev/inference-service": "census", "gyre.dev/revision": revision}
    statuses = [{"name": "fetch", "ready": False, "restartCount": 1, "state": {}, "lastState": ended}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": labels},
        "status": {"phase": "Pending", "initContainerStatuses": statuses},
    }


async def test_first_version_that_does_not_load_fails_the_service(scene: Scene) -> None:
    """Without a stable revision there is nothing to fall back on: the sentence stands on Ready."""
    await scene.rest()
    said = '{"schema": "gyre.failure.v1", "reason": "CannotLoad", "message": "opset 99 is not known"}'
    scene.put(_pod("census-x", scene.status["candidate"]["revision"], said, 64))
    await scene.rest(after(5))
    assert scene.condition()["status"] == "False"
    assert scene.condition()["reason"] == "ModelDoesNotLoad"
    assert "opset 99" in scene.condition()["message"]
    assert scene.condition("Stalled")["status"] == "True"


@pytest.mark.parametrize(
    ("objects", "reason", "sentence"),
    [
        pytest.param(
            [service()],
            "WaitingForVersion",
            "there is no Model census",
            id="a service without a model waits and names it",
        ),
        pytest.param(
            [model(), service()], "WaitingForVersion", "no champion yet", id="a model without a version is waited for"
        ),
        pytest.param(
            [model(status=V1), service({"model": {"name": "census", "version": "v9"}})],
            "WaitingForVersion",
            "there is no ModelVersion v9",
            id="a version that does not exist is named",
        ),
        pytest.param(
            [
                model(status=V1),
                version("v1", status={"verification": {"verified": False, "message": "a.onnx differs"}}),
                service(),
            ],
            "VersionNotReady",
            "a.onnx differs",
            id="a version with other bytes is never served",
        ),
    ],
)
async def test_what_cannot_be_served_is_said(objects: list[dict[str, object]], reason: str, sentence: str) -> None:
    """Each missing thing is one sentence on Ready."""
    scene = Scene()
    scene.put(*objects)
    await scene.rest()
    assert scene.condition()["status"] == "False"
    assert scene.condition()["reason"] == reason
    assert sentence in scene.condition()["message"]


async def test_paused_service_changes_nothing_but_its_status(serving: Scene) -> None:
    """spec.paused stops the rollout before it starts; what serves is left alone."""
    serving.town.patch(gyre(InferenceService), key("census"), spec={"paused": True})
    serving.say_challenger("v2")
    await serving.rest(NOW)
    assert serving.servers() == ["v1"]
    assert serving.status["state"] == "Paused"
    assert serving.status["stable"]["version"] == "v1"


async def test_upgrade_of_the_operator_restarts_no_server(serving: Scene) -> None:
    """Images of the settings are no part of a revision, and live pod templates are never rewritten."""
    before = serving.town.all(DEPLOYMENT)
    serving.inference._ground = type(serving.inference._ground)(serving_image="new:2", triton_image="new:2")
    await serving.rest(after(5))
    assert serving.town.all(DEPLOYMENT) == before


async def test_scaling_touches_replicas_alone(serving: Scene) -> None:
    """/scale writes spec.replicas; the live template stays as it was made."""
    before = next(d for d in serving.town.all(DEPLOYMENT) if d["metadata"]["labels"]["gyre.dev/role"] == "server")
    serving.town.patch(gyre(InferenceService), key("census"), spec={"replicas": 4})
    await serving.rest(after(5))
    now = next(d for d in serving.town.all(DEPLOYMENT) if d["metadata"]["labels"]["gyre.dev/role"] == "server")
    assert now["spec"] == {**before["spec"], "replicas": 4}
