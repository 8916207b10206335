"""A Model's life over a world in memory: the first training, requests, retention, and every crash."""

from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gyre_crds.v1alpha1 import InferenceService, Model, TrainingJob
from gyre_operators.engine.kinds import gyre
from gyre_operators.engine.plan import Plan, ref
from tests.operators.builders import (
    NOW,
    after,
    condition,
    key,
    loss,
    model,
    monitor,
    report,
    service,
    stalled,
    text,
    version,
)
from tests.operators.model.conftest import CHAMPION, Scene, drifting, serves


async def test_first_version_is_trained_at_once_and_once(scene: Scene) -> None:
    """Intent, job, rest: the job carries template, model and trigger, and belongs to the Model."""
    scene.put(model())
    await scene.rest()
    [name] = scene.jobs()
    job = scene.town.object(TrainingJob, name)
    assert job["spec"]["image"] == "trainer:1"
    assert job["spec"]["model"] == "census"
    assert job["spec"]["trigger"] == {"type": "Initial", "decision": scene.newest()["id"]}
    assert job["metadata"]["ownerReferences"][0]["uid"] == "uid-model"
    assert scene.status["running"] == name
    assert "intent" not in scene.status
    assert scene.condition["reason"] == "Training"


async def test_failed_first_training_waits_for_a_person(scene: Scene) -> None:
    """Attempts are the job's business; the Model trains again only with another template or when asked."""
    scene.put(model())
    await scene.rest()
    scene.finish(scene.jobs()[0], failed="no module named xgboost")
    await scene.rest()
    assert len(scene.jobs()) == 1
    assert scene.condition["reason"] == "TrainingFailed"
    assert "xgboost" in scene.condition["message"]
    scene.town.patch(gyre(Model), key("census"), spec={"training": {"template": {"image": "trainer:2"}}})
    await scene.rest()
    assert len(scene.jobs()) == 2


async def test_refused_first_version_is_no_failed_training(scene: Scene) -> None:
    """A gate's no is said as that: it once read TrainingFailed beside a training that succeeded."""
    scene.put(model())
    await scene.rest()
    refusal = stalled("GateFailed", "Gate accuracy refuses the version: 0.7 is below 0.75.")
    scene.put(version("v1", status={"conditions": refusal}))
    scene.finish(scene.jobs()[0], version="v1")
    await scene.rest()
    assert scene.condition["reason"] == "VersionRefused"
    assert "0.7 is below 0.75. Correct the gate, change the template" in scene.condition["message"]


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        pytest.param("Pending", "training {name} runs", id="one that starts needs nobody"),
        pytest.param("Unschedulable", "training {name} waits (Unschedulable): cure it", id="one without a node waits"),
        pytest.param("Suspended", "training {name} waits (Suspended): cure it", id="one that a person stopped waits"),
    ],
)
async def test_training_that_cannot_go_on_is_said(reason: str, said: str, scene: Scene) -> None:
    """Who looks at the Model alone learns what its training waits for; it once said "runs" of a pod without a node."""
    scene.put(model())
    await scene.rest()
    [name] = scene.jobs()
    status = {"reason": reason, "conditions": [condition("Ready", "False", reason, "cure it")]}
    scene.town.patch(gyre(TrainingJob), key(name), status=status)
    await scene.rest()
    assert (scene.condition["reason"], scene.condition["message"]) == ("Training", said.format(name=name))


async def test_job_that_a_person_deleted_is_not_made_again(scene: Scene) -> None:
    """A recorded child is never re-created: deleting a running training cancels it."""
    scene.put(model())
    await scene.rest()
    body = scene.town.object(TrainingJob, scene.jobs()[0])
    scene.town.remove(ref(body))
    await scene.rest()
    assert scene.jobs() == []


async def test_annotation_asks_once_for_each_value(scene: Scene) -> None:
    """gyre.dev/retrain: every new value is one training, also over many reconciles."""
    scene.put(model(status=CHAMPION), service(status=serves("v1")), version("v1", age=9))
    scene.annotate(retrain="1")
    await scene.rest()
    assert len(scene.jobs()) == 1
    assert scene.newest()["reason"] == "Requested"
    scene.annotate(retrain="2")
    await scene.rest()
    assert len(scene.jobs()) == 1  # one at a time
    scene.finish(scene.jobs()[0])
    await scene.rest()
    assert len(scene.jobs()) == 2
    await scene.rest(after(3600))
    assert len(scene.jobs()) == 2


async def test_person_need_not_wait_for_a_rollout_and_a_look_does(scene: Scene) -> None:
    """A rollout under way holds retrainings that looks ask for, not those that a person asks for."""
    drifting(scene)
    scene.put(version("v2"))
    scene.put(report("r1", "PerformanceLoss", end=after(60), performance=loss(0.05, 1000, since=NOW)))
    scene.put(report("r2", "PerformanceLoss", end=after(120), performance=loss(0.05, 2500, since=NOW)))
    await scene.rest(after(121))
    assert scene.newest()["reason"] == "InFlight"
    assert "the rollout of v2" in scene.newest()["message"]
    scene.town.patch(gyre(Model), key("census"), spec={"training": {"triggers": [{"type": "Manual"}]}})
    scene.annotate(retrain="1")
    await scene.rest(after(122))
    assert len(scene.jobs()) == 1


async def test_annotation_without_the_trigger_is_answered_with_the_cure(scene: Scene) -> None:
    """Nothing is silently ignored."""
    spec = {"training": {"template": {"image": "i", "command": ["c"]}}}
    scene.put(model(spec, CHAMPION), service(status=serves("v1")), version("v1", age=9))
    scene.annotate(retrain="1")
    await scene.rest()
    assert scene.jobs() == []
    assert scene.newest()["reason"] == "NotTriggered"
    assert "{type: Manual}" in scene.newest()["message"]


async def test_retention_removes_what_nobody_uses_and_gyre_made(scene: Scene) -> None:
    """The newest stay, and what serves, is tried, has an alias, or came from a person's hand."""
    spec = {"retention": {"keep": 2}}
    scene.put(model(spec, {"champion": {"name": "v3"}}), service(status=serves("v3", candidate="v4")))
    aliased = {"conditions": [condition("Ready", "True", "Ready")], "aliases": ["best"]}
    by_hand: dict[str, Any] = {"source": {"mlflow": {"name": "default.census", "version": "7"}}}
    for number in (1, 2, 3, 4, 7, 8):
        scene.put(version(f"v{number}", age=100 - number))
    scene.put(version("v5", age=95, status=aliased), version("v6", age=94, **by_hand))
    await scene.rest()
    assert scene.versions() == ["v3", "v4", "v5", "v6", "v7", "v8"]


async def test_status_names_the_services_that_serve_it_as_long_as_they_do(scene: Scene) -> None:
    """Regression: `usedBy`, by which a policy keeps a Model that serves, was never written."""
    scene.put(model(status=CHAMPION), version("v1"), service(status=serves("v1")))
    await scene.rest()
    assert scene.status["usedBy"] == ["census"]
    scene.town.remove(ref(scene.town.object(InferenceService, "census")))
    await scene.rest()
    assert not scene.status.get("usedBy")


async def test_paused_model_decides_nothing(scene: Scene) -> None:
    """spec.paused: no training, no promotion; later, what was asked is answered."""
    scene.put(model({"paused": True}))
    await scene.rest()
    assert scene.jobs() == []
    assert scene.condition["reason"] == "Paused"
    scene.town.patch(gyre(Model), key("census"), spec={"paused": False})
    await scene.rest()
    assert len(scene.jobs()) == 1


async def _with_crash(scene: Scene, seconds: float, survive: int) -> None:
    """One reconcile that ends after so many writes."""
    plan = await scene.town.plan(key("census"), after(seconds))
    assert plan is not None
    writes = [Plan(status=plan.status), *(Plan(create=(made,)) for made in plan.create)]
    writes = writes if plan.create else [Plan(delete=plan.delete), Plan(status=plan.status)]
    for write in writes[:survive]:
        await scene.town.carry_out(key("census"), write)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(crashes=st.lists(st.integers(0, 2), max_size=100))
async def test_hundred_crashes_give_exactly_one_training(crashes: list[int]) -> None:
    """Killed before or after any write, any number of times: one decision is one job."""
    scene = Scene()
    drifting(scene)
    scene.put(report("r1", "PerformanceLoss", end=after(60), performance=loss(0.05, 1000, since=NOW)))
    scene.put(report("r2", "PerformanceLoss", end=after(120), performance=loss(0.05, 2500, since=NOW)))
    for number, survive in enumerate(crashes):
        await _with_crash(scene, 121 + number, survive)
    await scene.rest(after(300))
    assert len(scene.jobs()) == 1
    assert scene.status["running"] == scene.jobs()[0]


class Start(NamedTuple):
    """A state that a Model may be found in."""

    champion: str | None
    stable: str | None
    refused: str | None
    verdicts: list[str]
    gap: float
    token: str | None
    mode: str


NAMES = st.sampled_from([None, "v1", "v2"])


STARTS = st.builds(
    Start,
    NAMES,
    NAMES,
    NAMES,
    st.lists(st.sampled_from(["Healthy", "SchemaBreak", "PerformanceLoss", "CovariateShift"]), max_size=4),
    st.floats(0, 0.2),
    st.sampled_from([None, "a"]),
    st.sampled_from(["Auto", "Manual"]),
)


@settings(max_examples=60, deadline=None)
@given(start=STARTS)
async def test_carrying_a_plan_out_and_planning_again_is_empty(start: Start) -> None:
    """Whatever stands there: after a few rounds nothing is left to do, and looking again writes nothing."""
    scene = Scene()
    status = {"champion": {"name": start.champion}} if start.champion else None
    annotations = {"gyre.dev/retrain": start.token} if start.token else {}
    scene.put(model({"promotion": {"mode": start.mode, "provenBy": "census"}}, status, annotations=annotations))
    scene.put(version("v1", age=9), version("v2"), monitor())
    scene.put(service(status=serves(start.stable, rejected=start.refused) if start.stable else {}))
    for number, verdict in enumerate(start.verdicts):
        found = loss(start.gap, 1000 * (number + 1), since=NOW)
        scene.put(report(f"r{number}", verdict, end=after(60 * number), performance=found))
    await scene.rest(after(600))
    before = scene.town._version
    await scene.rest(after(660))
    assert scene.town._version == before
    assert len(scene.jobs()) <= 1


@pytest.mark.parametrize(("days", "reason"), [(20, "InFlight"), (40, "RetrainingPays")])
async def test_a_version_that_no_gate_can_judge_holds_trainings_for_the_horizon(
    scene: Scene, days: int, reason: str
) -> None:
    """Two versions that are as good as each other are never told apart: a proven loss was not answered any more."""
    drifting(scene)
    waits = {"type": "Ready", "status": "Unknown", "reason": "GateUnknown", "lastTransitionTime": text(NOW)}
    scene.put(version("v1", age=24 * 60), version("v2", age=24 * days, status={"conditions": [waits]}))
    for minute, labels in ((1, 1000), (2, 2500)):
        found = loss(0.05, labels, since=NOW)
        scene.put(report(f"r{minute}", "PerformanceLoss", end=after(60 * minute), performance=found))
        await scene.rest(after(60 * minute + 1))
    assert scene.newest()["reason"] == reason
