"""A rollout from the first pod to the last drained one, over a world in memory."""

from gyre_crds.v1alpha1 import InferenceService
from gyre_operators.engine.kinds import DEPLOYMENT, SERVICE, gyre
from tests.operators.builders import NOW, after, key, service
from tests.operators.inference.conftest import Scene, candidate_at_first_step


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


async def test_candidate_takes_over_in_steps_and_the_old_revision_goes_after_it_drained(serving: Scene) -> None:
    """10 -> 50 -> 100 on evidence; the old Deployment stays until no router has requests for it in flight."""
    stable, candidate = await candidate_at_first_step(serving)
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
    stable, candidate = await candidate_at_first_step(scene)
    scene.fleet.answered(stable, 3600)
    scene.fleet.answered(candidate, 400)
    await scene.rest(after(5))
    scene.fleet.answered(stable, 400)
    scene.fleet.answered(candidate, 400)
    return stable


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
    await candidate_at_first_step(serving)
    await serving.rest(after(3601))
    assert serving.status["rejected"][0]["reason"] == "Inconclusive"
    assert serving.weights() == {"v1": 100}


async def test_step_without_a_verdict_in_time_is_held_where_asked(scene: Scene) -> None:
    """onInconclusive: Halt keeps the weights and says so, once."""
    scene.put(service({"rollout": {"onInconclusive": "Halt"}}))
    await scene.step()
    scene.make_ready()
    await scene.rest()
    await candidate_at_first_step(scene)
    await scene.rest(after(3601))
    await scene.rest(after(3700))
    assert scene.status["state"] == "Halted"
    assert scene.weights() == {"v1": 90, "v2": 10}
    assert [entry["what"] for entry in scene.status["history"]].count("Halted") == 1


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
