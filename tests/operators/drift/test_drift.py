"""A monitor's looks over a world in memory: windows, jobs, reports, and what came of them."""

from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gyre_crds import names
from gyre_crds.v1alpha1 import DriftReport, InferenceService
from gyre_operators.drift.windows import newest_closed, next_close
from gyre_operators.engine.kinds import POD, gyre
from gyre_operators.engine.plan import Plan, ref
from tests.operators.builders import (
    NOW,
    after,
    digest_of,
    key,
    monitor,
    report,
    service,
    text,
    version,
)
from tests.operators.drift.conftest import EVIDENCE, LATE, REPORTS, SERVES, Scene


@pytest.mark.parametrize(
    ("now", "end"),
    [
        pytest.param(after(0), after(-60), id="a window that just ended is still being written"),
        pytest.param(after(34), after(-60), id="one second too early"),
        pytest.param(after(35), after(0), id="all rows are written"),
        pytest.param(after(86400 + 100), after(86400 + 60), id="after a day away only the newest counts"),
    ],
)
def test_newest_closed_window(now: datetime, end: datetime) -> None:
    """Windows end at multiples of their length; the newest whose rows are written counts."""
    assert newest_closed(60, now, 35).end == end
    assert next_close(60, now, 35) > now


@given(st.integers(1, 86400 * 30), st.floats(0, 4e9), st.floats(0, 600))
def test_windows_lie_at_multiples_and_touch(every: int, instant: float, late: float) -> None:
    """Whatever the length and the hour: one length long, closed, and the next follows at once."""
    now = datetime.fromtimestamp(instant, tz=NOW.tzinfo)
    span = newest_closed(every, now, late)
    assert span.end.timestamp() % every == 0
    assert (span.end - span.start).total_seconds() == every
    assert span.end.timestamp() <= instant - late + 1e-3
    assert next_close(every, now, late).timestamp() - late - span.end.timestamp() == pytest.approx(every, abs=1e-3)


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


async def test_only_the_newest_missed_window_is_looked_at(scene: Scene) -> None:
    """The operator was away for an hour: one look, not sixty."""
    await scene.rest(after(LATE))
    scene.finds("Healthy")
    await scene.rest(after(LATE + 5))
    assert scene.condition["message"].endswith("was Healthy (level None): Healthy was found")
    await scene.rest(after(3600 + LATE))
    assert len(scene.jobs()) == 2
    assert scene.order().window_end == text(after(3600))
    scene.finds("Healthy")
    await scene.rest(after(3600 + LATE + 5))
    # Whoever wonders about a bad hour learns that nobody looked at it.
    assert f"; nobody looked at {text(NOW)} to {text(after(3540))}" in scene.condition["message"]


async def test_windows_before_the_version_served_are_not_looked_at(scene: Scene) -> None:
    """A window that ended before the target served holds none of its rows."""
    fresh = {**SERVES, "stable": {**SERVES["stable"], "since": text(after(10))}}
    scene.town.put(service(status=fresh))
    await scene.rest(after(LATE))
    assert scene.jobs() == []
    assert scene.condition["reason"] == "WaitingForWindow"


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


@pytest.mark.parametrize(
    ("objects", "status", "reason", "sentence"),
    [
        pytest.param([service(status={})], "False", "WaitingForTarget", "serves no version yet", id="nothing serves"),
        pytest.param(
            [monitor({"target": {"inferenceService": "other"}})],
            "False",
            "WaitingForTarget",
            "no InferenceService other",
            id="the target does not exist",
        ),
        pytest.param(
            [version("v1")], "False", "NoReference", "set spec.reference", id="a version without reference rows"
        ),
        pytest.param(
            [version("v1", status={"profile": {"job": "p"}})],
            "False",
            "NoReference",
            "is being made",
            id="a profile that is being made",
        ),
    ],
)
async def test_monitor_that_cannot_look_says_why(
    scene: Scene, objects: list[dict[str, Any]], status: str, reason: str, sentence: str
) -> None:
    """One sentence on Ready, and no job."""
    for body in objects:
        scene.town.put(body)
    await scene.rest(after(LATE))
    assert scene.jobs() == []
    assert (scene.condition["status"], scene.condition["reason"]) == (status, reason)
    assert sentence in scene.condition["message"]


@pytest.mark.parametrize(
    ("profile", "spec", "expected"),
    [
        pytest.param(
            {"ready": True},
            {},
            f"s3://gyre/default/versions/{digest_of('v1').removeprefix('sha256:')}/profile.json",
            id="the profile of the version",
        ),
        pytest.param(
            {"ready": False, "message": "no rows"},
            {},
            EVIDENCE["evidence"]["reference"],
            id="its rows where the profile could not be made",
        ),
        pytest.param(
            {"ready": True},
            {"reference": "s3://mine/ref.parquet"},
            "s3://mine/ref.parquet",
            id="the monitor's own reference comes first",
        ),
    ],
)
async def test_reference_of_a_look(scene: Scene, profile: dict[str, Any], spec: dict[str, Any], expected: str) -> None:
    """What the window is compared with."""
    scene.town.put(version("v1", status={"profile": profile}, **EVIDENCE))
    scene.town.put(monitor(spec))
    await scene.rest(after(LATE))
    assert scene.order().profile == expected


async def test_look_is_told_which_columns_the_payload_log_leaves_out(scene: Scene) -> None:
    """A redacted column never arrives: the look would otherwise call it missing, a broken schema."""
    scene.town.put(service({"payloads": {"redact": ["name"]}}, status=SERVES))
    await scene.rest(after(LATE))
    assert scene.order().redacted == ["name"]


async def test_alarms_in_a_row_are_counted_and_told_to_the_next_look(scene: Scene) -> None:
    """Persistence: the same alarming verdict counts up, too few rows count nothing, health starts over."""
    seen = []
    for number, verdict in enumerate(
        ["CovariateShift", "CovariateShift", "InsufficientData", "CovariateShift", "Healthy"]
    ):
        await scene.rest(after(60 * number + LATE))
        scene.finds(verdict)
        await scene.rest(after(60 * number + LATE + 5))
        seen.append(scene.status["consecutive"])
    assert seen == [1, 2, 2, 1, 0]
    assert [event.reason for event in scene.town.events if event.type == "Warning"] == ["CovariateShift"] * 3


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


async def test_paused_monitor_does_not_look(scene: Scene) -> None:
    """spec.paused: no job, and it says so."""
    scene.town.put(monitor({"paused": True}))
    await scene.rest(after(LATE))
    assert scene.jobs() == []
    assert scene.status["state"] == "Paused"


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


async def test_look_pod_is_restricted(scene: Scene) -> None:
    """Pod Security restricted, no API token, store credentials by reference."""
    await scene.rest(after(LATE))
    pod = scene.jobs()[0]["spec"]["template"]["spec"]
    assert (pod["automountServiceAccountToken"], pod["restartPolicy"]) == (False, "Never")
    assert pod["securityContext"]["runAsNonRoot"] is True
    [container] = pod["containers"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    secrets = [e["valueFrom"]["secretKeyRef"]["name"] for e in container["env"] if "valueFrom" in e]
    assert set(secrets) == {"gyre-store"}
    assert scene.town.all(POD) == []
    assert scene.town.get(gyre(InferenceService), key("census")) is not None
