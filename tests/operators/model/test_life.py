"""A Model's life over a world in memory: training, promotion, decisions, retention."""

from datetime import timedelta
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gyre_crds.v1alpha1 import DriftReport, InferenceService, Model, TrainingJob
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
    text,
    version,
)
from tests.operators.model.conftest import CHAMPION, Scene, serves


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


def scheduled(cron: str, zone: str = "UTC", **decision: Any) -> dict[str, Any]:
    """A Model that trains by the clock."""
    trigger = {"type": "Schedule", "schedule": {"cron": cron, "timeZone": zone}}
    template = {"image": "i", "command": ["c"]}
    return {"training": {"template": template, "triggers": [trigger], "decision": decision}}


async def test_schedule_trains_once_for_each_time_in_its_zone(scene: Scene) -> None:
    """13:30 in Berlin is 12:30 UTC in winter; times that were missed count once, and never before the answer."""
    status = {**CHAMPION, "lastSchedule": text(NOW)}
    scene.put(model(scheduled("30 13 * * *", "Europe/Berlin", cooldown="1m"), status))
    scene.put(service(status=serves("v1")), version("v1", age=9))
    await scene.rest(after(29 * 60))
    assert scene.jobs() == []
    plan = await scene.town.plan(key("census"), after(29 * 60))
    assert plan is not None
    assert plan.requeue == timedelta(minutes=1)
    await scene.rest(after(30 * 60))
    assert len(scene.jobs()) == 1
    scene.finish(scene.jobs()[0])
    await scene.rest(after(3 * 86400))
    assert len(scene.jobs()) == 2


@pytest.mark.parametrize(
    ("cron", "zone", "sentence"),
    [
        pytest.param("61 * * * *", "UTC", "cannot be read (Bad minute)", id="a minute that does not exist"),
        pytest.param("* * * * * *", "UTC", "has not five fields", id="six fields"),
        pytest.param("0 3 * * *", "Europe/Berln", "no time zone", id="a zone that does not exist"),
    ],
)
async def test_malformed_schedule_is_one_sentence_on_ready(scene: Scene, cron: str, zone: str, sentence: str) -> None:
    """Field and cure are named; the champion serves on."""
    scene.put(model(scheduled(cron, zone), CHAMPION), service(status=serves("v1")), version("v1", age=9))
    await scene.rest()
    assert scene.condition["reason"] == "InvalidSchedule"
    assert scene.condition["message"].startswith("spec.training.triggers[0].schedule.")
    assert sentence in scene.condition["message"]
    assert scene.status["champion"]["name"] == "v1"


async def test_schedule_never_passes_the_budget(scene: Scene) -> None:
    """A schedule skips the benefit rule, not the budget."""
    budget: dict[str, Any] = {"budget": {"runs": 1, "per": "30d"}, "cooldown": "1m"}
    status = {**CHAMPION, "lastSchedule": text(NOW), "trainedAt": [text(NOW)]}
    scene.put(model(scheduled("0 * * * *", **budget), status), service(status=serves("v1")), version("v1", age=9))
    await scene.rest(after(3601))
    assert scene.jobs() == []
    assert scene.newest()["reason"] == "BudgetSpent"


DRIFT: dict[str, Any] = {
    "training": {
        "template": {"image": "i", "command": ["c"]},
        "triggers": [{"type": "Drift"}],
        "decision": {"costPerRun": 1, "benefitPerPoint": 2, "minLabels": 500},
    }
}


def drifting(scene: Scene, **decision: Any) -> None:
    """A Model that serves v1 and is watched."""
    training = {**DRIFT["training"], "decision": {**DRIFT["training"]["decision"], **decision}}
    scene.put(model({"training": training}, {**CHAMPION, "observedGeneration": 1}))
    scene.put(service(status=serves("v1")), version("v1", age=9), monitor())


async def test_loss_is_confirmed_on_later_labels_and_then_retrains_once(scene: Scene) -> None:
    """Alarm, confirmation, one training with the report and the arithmetic on record."""
    drifting(scene)
    scene.put(report("r1", "PerformanceLoss", end=after(60), performance=loss(0.05, 1000, since=NOW)))
    await scene.rest(after(61))
    assert (scene.newest()["action"], scene.newest()["reason"]) == ("Wait", "Confirming")
    scene.put(report("r2", "PerformanceLoss", end=after(120), performance=loss(0.05, 2500, since=NOW)))
    await scene.rest(after(121))
    assert (scene.newest()["action"], scene.newest()["reason"]) == ("Retrain", "RetrainingPays")
    assert scene.newest()["arithmetic"]["laterLabels"] == 1500
    [name] = scene.jobs()
    assert scene.newest()["job"] == name
    trigger = scene.town.object(TrainingJob, name)["spec"]["trigger"]
    assert trigger == {"type": "Drift", "decision": scene.newest()["id"], "report": "r2"}
    scene.put(report("r3", "PerformanceLoss", end=after(180), performance=loss(0.05, 4000, since=NOW)))
    await scene.rest(after(181))
    assert len(scene.jobs()) == 1
    assert scene.newest()["reason"] == "InFlight"


async def test_report_made_elsewhere_is_answered_like_any_other(scene: Scene) -> None:
    """A report that a person applied for the service goes the same way, and needs the same confirmation."""
    drifting(scene)
    scene.put(report("h1", "ConceptDrift", end=after(60), performance=loss(0.1, 3000), by="hand"))
    await scene.rest(after(61))
    assert scene.newest()["report"] == "h1"
    assert scene.newest()["reason"] == "Confirming"


async def test_report_that_may_not_act_causes_nothing(scene: Scene) -> None:
    """The same looks retrain where whoever made them may act, and are not even answered otherwise."""
    for act, trained in ((False, 0), (True, 1)):
        scene.put(model(status=CHAMPION), version("v1"), service(status=serves("v1")), monitor())
        for number, spec in enumerate((loss(0.04, 2000), loss(0.04, 6000)), 1):
            made = report(f"r{number}", "PerformanceLoss", end=after(60 * number), performance=spec, mayAct=act)
            scene.put(made)
        await scene.rest(after(180))
        assert len(scene.jobs()) == trained
        assert bool(scene.status.get("decisions")) == act


async def test_report_is_answered_once_even_after_its_decision_left_the_status(scene: Scene) -> None:
    """Twenty decisions stay; what the report's own status records is not decided again."""
    drifting(scene)
    scene.put(report("r1", "PerformanceLoss", end=after(60), performance=loss(0.05, 1000)))
    await scene.rest(after(61))
    decided = scene.newest()["id"]
    scene.town.patch(gyre(DriftReport), key("r1"), status={"decision": decided})
    body = scene.town.object(Model, "census")
    scene.town.put({**body, "status": {**body["status"], "decisions": []}})
    await scene.rest(after(62))
    assert scene.status.get("decisions", []) == []


async def test_healthy_looks_in_a_row_leave_one_decision(scene: Scene) -> None:
    """Hours of healthy looks must not push out the decision that mattered."""
    drifting(scene)
    scene.put(report("r0", "SchemaBreak", end=after(0)))
    await scene.rest(after(1))
    for minute in range(1, 31):
        scene.put(report(f"r{minute}", end=after(60 * minute)))
        await scene.rest(after(60 * minute + 1))
    assert [decision["reason"] for decision in scene.status["decisions"]] == ["Healthy", "NotAModelProblem"]
    assert scene.newest()["report"] == "r30"


async def test_reports_made_elsewhere_that_come_together_are_each_answered_once(scene: Scene) -> None:
    """Three files of Evidently's in one look: three answers that stand until each report names its own.

    The newest pushed the others out of the status before their reports had heard of them, so that they
    were asked again, round after round, with an event each time.
    """
    drifting(scene)
    for number in (1, 2, 3):
        scene.put(report(f"r{number}", end=after(60 * number), by="service"))
    await scene.rest(after(200))
    assert [d["report"] for d in scene.status["decisions"]] == ["r3", "r2", "r1"]
    assert len([event for event in scene.town.events if "decision" in event.message]) == 3

    for decision in scene.status["decisions"]:
        scene.town.patch(gyre(DriftReport), key(decision["report"]), status={"decision": decision["id"]})
    scene.put(report("r4", end=after(240), by="service"))
    await scene.rest(after(260))
    assert [d["report"] for d in scene.status["decisions"]] == ["r4"]


async def test_restored_model_asks_no_report_made_elsewhere_again(scene: Scene) -> None:
    """Without any status of anything: reports of before, however many, retrain nothing."""
    scene.put(model(), version("v1"), service(status=serves("v1")))
    for number in (1, 2, 3):
        found = loss(0.05, 1000 * number)
        scene.put(report(f"r{number}", "PerformanceLoss", end=after(60 * number), by="service", performance=found))
    await scene.rest(after(200))
    assert scene.jobs() == []
    assert {d["report"]: d["action"] for d in scene.status["decisions"]} == dict.fromkeys(("r1", "r2", "r3"), "Nothing")


async def test_looks_during_a_long_training_leave_one_decision(scene: Scene) -> None:
    """The decision to retrain, with its arithmetic, is still on record after thirty more looks at the loss."""
    drifting(scene)
    for minute in range(1, 31):
        found = loss(0.05, 1000 * minute, since=NOW)
        scene.put(report(f"r{minute:02}", "PerformanceLoss", end=after(60 * minute), performance=found))
        await scene.rest(after(60 * minute + 1))
    assert [d["reason"] for d in scene.status["decisions"]] == ["InFlight", "RetrainingPays", "Confirming"]


async def test_approval_lets_the_same_decision_through_once(scene: Scene) -> None:
    """NeedsApproval waits; the annotation with its id makes exactly that job."""
    drifting(scene, approval=True)
    scene.put(report("r1", "PerformanceLoss", end=after(60), performance=loss(0.05, 1000, since=NOW)))
    scene.put(report("r2", "PerformanceLoss", end=after(120), performance=loss(0.05, 2500, since=NOW)))
    await scene.rest(after(121))
    assert scene.newest()["reason"] == "NeedsApproval"
    assert scene.jobs() == []
    decided = scene.newest()["id"]
    scene.annotate(approve="another")
    await scene.rest(after(122))
    assert scene.jobs() == []
    scene.annotate(approve=decided)
    await scene.rest(after(123))
    assert len(scene.jobs()) == 1
    assert [d["id"] for d in scene.status["decisions"]].count(decided) == 1
    scene.finish(scene.jobs()[0])
    await scene.rest(after(124))
    assert len(scene.jobs()) == 1


async def test_request_that_comes_with_an_approval_waits_its_turn(scene: Scene) -> None:
    """A person approves one training and asks for another in one breath: both run, one after the other.

    The request was answered as "under way already" and never asked again.
    """
    drifting(scene)
    both = {**DRIFT["training"], "triggers": [{"type": "Drift"}, {"type": "Manual"}]}
    scene.put(model({"training": {**both, "decision": {**both["decision"], "approval": True}}}, CHAMPION))
    scene.put(report("r1", "PerformanceLoss", end=after(60), performance=loss(0.05, 1000, since=NOW)))
    scene.put(report("r2", "PerformanceLoss", end=after(120), performance=loss(0.05, 2500, since=NOW)))
    await scene.rest(after(121))
    scene.annotate(approve=scene.newest()["id"], retrain="now")
    await scene.rest(after(122))
    [first] = scene.jobs()
    assert "manualToken" not in scene.status
    scene.finish(first)
    await scene.rest(after(123))
    assert len(scene.jobs()) == 2
    assert (scene.newest()["trigger"], scene.status["manualToken"]) == ("Manual", "now")


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
