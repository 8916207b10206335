"""What a Model answers to looks: confirmation, retraining, approval, and reports made elsewhere."""

from typing import Any

import pytest

from gyre_crds.v1alpha1 import DriftReport, Model, TrainingJob
from gyre_operators.engine.kinds import gyre
from tests.operators.builders import (
    NOW,
    after,
    key,
    loss,
    model,
    monitor,
    report,
    service,
    version,
)
from tests.operators.model.conftest import CHAMPION, DRIFT, Scene, drifting, serves


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


@pytest.mark.parametrize("status", [pytest.param(None, id="restored"), pytest.param(CHAMPION, id="in use")])
async def test_looks_of_several_monitors_are_each_answered_once(scene: Scene, status: dict[str, Any] | None) -> None:
    """Three monitors look at one service: no answer pushes out another's before their reports have heard of it.

    Of equal answers only the newest stayed, so that the others were asked again, round after round without an end.
    """
    scene.put(model(status=status), version("v1"), service(status=serves("v1")))
    for number in range(3):
        body = monitor()
        scene.put({**body, "metadata": {**body["metadata"], "name": f"m{number}", "uid": f"uid-m{number}"}})
    for number in range(9):
        scene.put(report(f"r{number}", end=after(60 * number), monitor=f"m{number % 3}"))
    await scene.rest(after(700))
    assert [decision["report"] for decision in scene.status["decisions"]][:3] == ["r8", "r7", "r6"]
    told = len([event for event in scene.town.events if "decision" in event.message])
    assert told == (9 if status else 3)


async def test_restored_model_answers_the_rest_in_later_rounds(scene: Scene) -> None:
    """Thirty-five reports by hand of before: none retrains, each names an answer, a later one is decided on.

    The status holds twenty decisions: those beyond were asked again as if they were new, and retrained.
    """
    scene.put(model(), version("v1"), service(status=serves("v1")))
    old = [f"r{number:02}" for number in range(35)]
    for number, name in enumerate(old):
        found = loss(0.05, 1000 + number)
        scene.put(report(name, "PerformanceLoss", end=after(60 * number), by="service", performance=found))
    for minute in range(10):
        await scene.rest(after(60 * 40 + 60 * minute))
        assert len(scene.status["decisions"]) <= 20
        await _named(scene, old)
    assert scene.jobs() == []
    assert all(scene.town.object(DriftReport, name)["status"].get("decision") for name in old)
    scene.put(report("new", "PerformanceLoss", end=after(60 * 60), by="service", performance=loss(0.05, 9000)))
    await scene.rest(after(60 * 61))
    assert scene.newest()["report"] == "new"
    assert "rebuilt" not in scene.newest()["message"]


async def test_many_reports_made_elsewhere_are_each_answered_once(scene: Scene) -> None:
    """Thirty that come together: every one names its answer, and no decision is taken twice."""
    drifting(scene)
    names = [f"r{number:02}" for number in range(30)]
    for number, name in enumerate(names):
        scene.put(report(name, "CovariateShift" if number % 2 else "Healthy", end=after(60 * number), by="service"))
    for minute in range(8):
        await scene.rest(after(60 * 40 + 60 * minute))
        await _named(scene, names)
    told = [scene.town.object(DriftReport, name)["status"].get("decision") for name in names]
    assert all(told)
    assert len(set(told)) == len(told)


async def _named(scene: Scene, names: list[str]) -> None:
    """Each report takes its answer over, as its controller lets it."""
    given = {decision["report"]: decision["id"] for decision in scene.status["decisions"]}
    for name in set(names) & given.keys():
        scene.town.patch(gyre(DriftReport), key(name), status={"decision": given[name]})


async def test_report_by_hand_on_a_window_to_come_silences_no_look(scene: Scene) -> None:
    """Named for the monitor, with the right to act: it is answered, and later looks at the loss still retrain.

    Every look until the end of its window seemed to be answered.
    """
    drifting(scene)
    scene.put(report("far", "Healthy", end=after(60 * 24 * 365 * 60), made=after(30)))
    await scene.rest(after(31))
    scene.put(report("r1", "PerformanceLoss", end=after(60), performance=loss(0.05, 1000, since=NOW)))
    scene.put(report("r2", "PerformanceLoss", end=after(120), performance=loss(0.05, 2500, since=NOW)))
    await scene.rest(after(121))
    assert [d["report"] for d in scene.status["decisions"]] == ["r2", "r1", "far"]
    assert len(scene.jobs()) == 1


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


async def test_looks_of_a_weekend_leave_the_decision_that_waits(scene: Scene) -> None:
    """Sixty looks with a proven loss ask a person once: the decision of Friday had left the status on Monday."""
    drifting(scene, approval=True)
    for hour in range(1, 61):
        found = loss(0.05, 1000 * hour, since=NOW)
        scene.put(report(f"r{hour:02}", "PerformanceLoss", end=after(3600 * hour), performance=found))
        await scene.rest(after(3600 * hour + 1))
    reasons = [decision["reason"] for decision in scene.status["decisions"]]
    assert reasons == ["InFlight", "NeedsApproval", "Confirming"]
    first = scene.status["decisions"][1]["id"]
    assert (
        f"decision {first} waits for a person: annotate the Model with gyre.dev/approve={first}"
        in scene.newest()["message"]
    )
    scene.annotate(approve=first)
    await scene.rest(after(3600 * 61))
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
