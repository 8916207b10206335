"""A monitor's looks over a world in memory: jobs, reports, and what came of them."""

from hypothesis import given, settings
from hypothesis import strategies as st

from gyre_crds import names
from gyre_crds.v1alpha1 import DriftReport
from gyre_operators.engine.plan import Plan, ref
from tests.operators.builders import (
    NOW,
    after,
    key,
    monitor,
    report,
    text,
)
from tests.operators.drift.conftest import EVIDENCE, LATE, REPORTS, Scene


async def test_one_look_from_window_to_report(scene: Scene) -> None:
    """Intent, job, report, status: the order says window, reference, revisions and places."""
    await scene.rest(after(LATE))
    order = scene.order()
    assert (order.window_start, order.window_end) == (text(after(-60)), text(NOW))
    assert order.profile == EVIDENCE["evidence"]["reference"]
    assert (order.version, order.revisions, order.contract.label.column) == ("v1", ["r-v1"], "employed")
    assert order.out.startswith("s3://gyre/default/reports/census/")
    assert scene.status["look"]["uid"] == scene.jobs()[0]["metadata"]["uid"]
    assert scene.status["state"] == "Looking"
    scene.finds("Healthy")
    await scene.rest(after(LATE + 5))
    assert scene.reports() == [text(NOW)]
    made = scene.town.all(REPORTS)[0]
    assert made["metadata"]["name"] == names.report("census", text(after(-60)))
    assert made["metadata"]["ownerReferences"][0]["uid"] == "uid-monitor"
    assert (scene.status["verdict"], scene.status["lastWindowEnd"]) == ("Healthy", text(NOW))
    assert "look" not in scene.status
    assert len(scene.jobs()) == 1


async def test_failed_look_is_tried_again_after_a_pause_and_then_given_up(scene: Scene) -> None:
    """Three tries with growing pauses; then the window is given up with the sentence, and the next is looked at."""
    await scene.rest(after(LATE))
    for tries, pause in ((1, 10), (2, 20)):
        scene.ends("killed", code=137, at=after(LATE))
        await scene.rest(after(LATE + pause - 1))
        assert len(scene.jobs()) == tries
        await scene.rest(after(LATE + pause))
        assert len(scene.jobs()) == tries + 1
    scene.ends("killed", code=137, at=after(LATE))
    await scene.rest(after(LATE + 21))
    assert scene.condition["reason"] == "LookFailed"
    assert "the pod failed" in scene.condition["message"]
    assert "look" not in scene.status
    await scene.rest(after(LATE + 22))
    assert scene.condition["reason"] == "LookFailed"
    await scene.rest(after(60 + LATE))
    assert scene.order().window_end == text(after(60))


async def test_fault_of_the_request_is_not_tried_again(scene: Scene) -> None:
    """EXIT_USER: looking again gives the same, so the sentence stands at once."""
    await scene.rest(after(LATE))
    said = {
        "schema": "gyre.failure.v1",
        "reason": "InvalidSpec",
        "message": "features[0].name: there is no column agee",
    }
    scene.ends(said, code=64)
    await scene.rest(after(LATE + 1))
    assert len(scene.jobs()) == 1
    assert scene.condition["reason"] == "LookFailed"
    assert "no column agee" in scene.condition["message"]


async def test_report_whose_bytes_differ_from_the_jobs_digest_is_refused(scene: Scene) -> None:
    """Somebody wrote over report.json: it never becomes a DriftReport."""
    await scene.rest(after(LATE))
    scene.finds("Healthy")
    uri = next(iter(scene.documents.held))
    scene.documents.held[uri] += b" "
    await scene.rest(after(LATE + 1))
    assert scene.reports() == []
    assert any("somebody else wrote to it" in event.message for event in scene.town.events)
    assert "try 2 of 3" in scene.condition["message"]


async def test_store_that_is_away_is_unknown_and_waited_for(scene: Scene) -> None:
    """The look is done; its report is taken when the store is back."""
    await scene.rest(after(LATE))
    scene.finds("Healthy")
    scene.documents.away = True
    await scene.rest(after(LATE + 1))
    assert (scene.condition["status"], scene.condition["reason"]) == ("Unknown", "StoreUnreachable")
    scene.documents.away = False
    await scene.rest(after(LATE + 11))
    assert scene.reports() == [text(NOW)]
    assert len(scene.jobs()) == 1


async def test_history_keeps_the_newest_reports(scene: Scene) -> None:
    """spec.history bounds what is kept; the oldest go."""
    scene.town.put(monitor({"history": 2}))
    for number in range(4):
        await scene.rest(after(60 * number + LATE))
        scene.finds("Healthy")
        await scene.rest(after(60 * number + LATE + 5))
    assert scene.reports() == [text(after(120)), text(after(180))]
    assert scene.status["reports"] == 2


async def test_report_by_hand_under_a_coming_name_stops_no_look(scene: Scene) -> None:
    """The look's report takes its next name, which is said; the report by hand stays as it is.

    The name was refused as taken, round after round, and the monitor never looked again.
    """
    taken = names.report("census", text(after(-60)))
    scene.town.put(report(taken, "CovariateShift", by="service", mayAct=False))
    await scene.rest(after(LATE))
    scene.finds("Healthy")
    await scene.rest(after(LATE + 5))
    [ours] = [r for r in scene.town.all(REPORTS) if r["metadata"]["name"] != taken]
    assert (scene.status["lastReport"], scene.status["verdict"]) == (ours["metadata"]["name"], "Healthy")
    said = f"its report is {ours['metadata']['name']}, since a DriftReport {taken} was made by hand"
    assert said in scene.condition["message"]
    assert [said in event.message for event in scene.town.events if event.reason == "ReportRenamed"] == [True]

    scene.town.remove(ref(scene.town.object(DriftReport, taken)))
    await scene.rest(after(LATE + 10))
    assert said in scene.condition["message"]
    assert len(scene.reports()) == 1
    await scene.rest(after(60 + LATE))
    scene.finds("Healthy")
    await scene.rest(after(60 + LATE + 5))
    assert scene.status["lastReport"] == names.report("census", text(after(0)))
    assert "made by hand" not in scene.condition["message"]


async def test_report_by_hand_that_comes_between_two_writes_is_no_second_report(scene: Scene) -> None:
    """Killed after its report took the next name, and the first name is free again: still one report a window."""
    taken = names.report("census", text(after(-60)))
    await scene.rest(after(LATE))
    scene.town.put(report(taken, "CovariateShift", by="service", mayAct=False))
    scene.finds("Healthy")
    await scene.town.once("drift", key("census"), after(LATE + 5))
    scene.town.remove(ref(scene.town.object(DriftReport, taken)))
    await scene.rest(after(LATE + 5))
    assert len(scene.reports()) == 1
    assert "look" not in scene.status


@settings(max_examples=30, deadline=None)
@given(crashes=st.lists(st.integers(0, 2), max_size=12))
async def test_look_survives_kills_between_its_writes(crashes: list[int]) -> None:
    """Killed between status, job and report, any number of times: one job, one report."""
    scene = Scene()
    finished = False
    for number, survive in enumerate(crashes):
        plan = await scene.town.plan(key("census"), after(LATE + number))
        assert plan is not None
        for write in [Plan(status=plan.status), *(Plan(create=(made,)) for made in plan.create)][:survive]:
            await scene.town.carry_out(key("census"), write)
        if scene.jobs() and not finished:
            scene.finds("Healthy")
            finished = True
    await scene.rest(after(LATE + 15))
    if not finished:
        scene.finds("Healthy")
    await scene.rest(after(LATE + 16))
    assert len(scene.jobs()) == 1
    assert scene.reports() == [text(NOW)]
    assert scene.status["lastReport"] == scene.town.all(REPORTS)[0]["metadata"]["name"]
