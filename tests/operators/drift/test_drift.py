"""A monitor's looks over a world in memory: windows, jobs, reports, and what came of them."""

import hashlib
import json
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from gyre_crds import names
from gyre_crds.contracts.task import ENV, LookOrder
from gyre_crds.v1alpha1 import DriftMonitor, DriftReport, InferenceService, Model
from gyre_operators.drift.controller import DriftController
from gyre_operators.drift.metrics import Metrics
from gyre_operators.drift.reports import ReportController
from gyre_operators.drift.windows import newest_closed, next_close
from gyre_operators.engine.kinds import JOB, POD, gyre
from gyre_operators.engine.plan import Plan
from gyre_operators.model.controller import ModelController
from tests.operators.builders import (
    NOW,
    Documents,
    Town,
    after,
    digest_of,
    key,
    loss,
    model,
    monitor,
    report,
    service,
    services,
    text,
    version,
)

REPORTS = gyre(DriftReport)
EVIDENCE: dict[str, Any] = {"evidence": {"reference": "s3://gyre/default/versions/v1/reference.parquet"}}
SERVES: dict[str, Any] = {
    "stable": {"revision": "r-v1", "version": "v1", "digest": digest_of("v1"), "since": text(after(-3600))},
    "history": [{"at": text(after(-3600)), "what": "Promoted", "revision": "r-v1", "version": "v1"}],
}


class Scene:
    """One monitor, its target, and the store."""

    def __init__(self) -> None:
        self.documents = Documents()
        made = services(documents=self.documents)
        self.drift = DriftController(made)
        self.town = Town(self.drift, ReportController(made), ModelController(made))
        for body in (model(status={"champion": {"name": "v1"}}), version("v1", **EVIDENCE), service(status=SERVES)):
            self.town.put(body)
        self.town.put(monitor())

    async def rest(self, now: datetime) -> None:
        """Reconcile until nothing changes."""
        await self.town.turn("drift", key("census"), now)

    @property
    def status(self) -> dict[str, Any]:
        """The monitor's status."""
        status: dict[str, Any] = self.town.object(DriftMonitor, "census").get("status", {})
        return status

    @property
    def condition(self) -> dict[str, Any]:
        """Its Ready condition."""
        return next(c for c in self.status["conditions"] if c["type"] == "Ready")

    def jobs(self) -> list[dict[str, Any]]:
        """Monitoring jobs, oldest first."""
        return sorted(self.town.all(JOB), key=lambda job: int(job["metadata"]["uid"].removeprefix("uid-")))

    def order(self) -> LookOrder:
        """What the newest job was told."""
        [container] = self.jobs()[-1]["spec"]["template"]["spec"]["containers"]
        return LookOrder.model_validate_json(next(e["value"] for e in container["env"] if e["name"] == ENV))

    def ends(self, message: dict[str, Any] | str, *, code: int = 0, at: datetime = NOW) -> None:
        """The newest job's pod ends with a termination message."""
        job = self.jobs()[-1]
        body = message if isinstance(message, str) else json.dumps(message)
        ended = {"exitCode": code, "message": body, "finishedAt": text(at)}
        name, uid = job["metadata"]["name"], job["metadata"]["uid"]
        labels = {"gyre.dev/role": "look", "gyre.dev/drift-monitor": "census"}
        owners = [{"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": uid}]
        self.town.put(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": f"{name}-x", "namespace": "default", "labels": labels, "ownerReferences": owners},
                "status": {
                    "phase": "Failed" if code else "Succeeded",
                    "containerStatuses": [{"name": "look", "state": {"terminated": ended}}],
                },
            }
        )
        kind = "Failed" if code else "Complete"
        conditions = [{"type": kind, "status": "True", "reason": "BackoffLimitExceeded", "message": "the pod failed"}]
        self.town.patch(JOB, key(name), status={"conditions": conditions})

    def finds(self, verdict: str, **spec: Any) -> None:
        """The newest job writes a report to the store and ends."""
        order = self.order()
        made = report("x", verdict, **spec)["spec"] | {
            "window": {"start": order.window_start, "end": order.window_end, "rows": 900}
        }
        content = json.dumps({"schema": "gyre.report.v1", "spec": made}).encode()
        uri = f"{order.out}/report.json"
        self.documents.held[uri] = content
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        self.ends({"schema": "gyre.look.v1", "uri": uri, "digest": digest})

    def reports(self) -> list[str]:
        """Windows that have a report."""
        return sorted(r["spec"]["window"]["end"] for r in self.town.all(REPORTS))


@pytest.fixture
def scene() -> Scene:
    """A monitor whose target serves v1 for an hour."""
    return Scene()


LATE = 36
"""Seconds after a window's end when its rows are all written: flush, and a grace."""


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
    await scene.rest(after(3600 + LATE))
    assert len(scene.jobs()) == 2
    assert scene.order().window_end == text(after(3600))


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


async def test_report_says_what_came_of_it(scene: Scene) -> None:
    """The Model decides on the report; the report's status carries the decision's id."""
    await scene.rest(after(LATE))
    scene.finds("PerformanceLoss", performance=loss(0.05, 2000))
    await scene.rest(after(LATE + 5))
    name = scene.town.all(REPORTS)[0]["metadata"]["name"]
    await scene.town.turn("report", key(name), after(LATE + 6))
    assert scene.town.object(DriftReport, name)["status"]["state"] == "Open"
    await scene.town.turn("model", key("census"), after(LATE + 7))
    await scene.town.turn("report", key(name), after(LATE + 8))
    decision = scene.town.object(Model, "census")["status"]["decisions"][0]
    assert decision["report"] == name
    status = scene.town.object(DriftReport, name)["status"]
    assert (status["state"], status["decision"]) == ("Answered", decision["id"])


async def test_report_that_may_not_act_says_that_it_only_alerts_and_is_told_of_once(scene: Scene) -> None:
    """One sentence on its Ready condition with the cure, one Warning, no decision."""
    scene.town.put(report("theirs", "CovariateShift", by="service", mayAct=False))
    for _ in range(2):
        await scene.town.turn("report", key("theirs"), NOW)
    status = scene.town.object(DriftReport, "theirs")["status"]
    [ready] = [each for each in status["conditions"] if each["type"] == "Ready"]
    assert status["state"] == "AlertsOnly"
    assert "decision" not in status
    assert ready["message"] == (
        "CovariateShift was found. It alerts and causes nothing: whoever has the verb act on driftreports may make it "
        "again with spec.mayAct: true."
    )
    assert [event.reason for event in scene.town.events].count("CovariateShift") == 1


async def test_report_with_a_forged_owner_is_not_the_monitors(scene: Scene) -> None:
    """Anybody can write an owner reference; only the right to act makes a report count as the monitor's own."""
    scene.town.put(report("forged", "SchemaBreak", mayAct=False))
    for _ in range(2):
        await scene.rest(NOW)
        seen = await scene.drift.observe(key("census"), scene.town.stores)
        assert seen is not None
        assert seen.reports == ()


async def test_earlier_look_of_a_healthy_row_is_answered_by_its_own_id(scene: Scene) -> None:
    """Where the Model kept only the newest of healthy looks, the older report still gets the id of its answer."""
    for minute in (1, 2):
        scene.town.put(report(f"r{minute}", end=after(60 * minute)))
    await scene.town.turn("model", key("census"), after(200))
    for name in ("r1", "r2"):
        await scene.town.turn("report", key(name), after(201))
    found = [scene.town.object(DriftReport, name)["status"].get("decision") for name in ("r1", "r2")]
    assert all(found)
    assert found[0] != found[1]


def test_metrics_tell_the_newest_look_and_nothing_of_older_ones() -> None:
    """Series of columns that the new report does not name are gone; names are those of dashboards and alerts."""
    registry = CollectorRegistry()
    metrics, watched = Metrics(registry), DriftMonitor.model_validate(monitor())
    columns = [{"name": "age", "method": "PSI", "score": 0.3, "pAdjusted": 0.001, "drifted": True}]
    first = report("r1", "CovariateShift", columns=columns, driftShare=0.5, performance=loss(0.05, 10))
    labels = {"namespace": "default", "monitor": "census"}
    metrics.show(watched, DriftReport.model_validate(first))
    value = registry.get_sample_value
    assert value("gyre_drift_score", labels | {"column": "age", "method": "PSI"}) == 0.3
    assert value("gyre_drift_verdict", labels | {"verdict": "CovariateShift"}) == 1
    assert value("gyre_performance_realized", labels | {"metric": "accuracy"}) == 0.75
    assert value("gyre_drift_report_timestamp_seconds", labels) == NOW.timestamp()
    assert value("gyre_drift_schedule_interval_seconds", labels) == 60
    metrics.show(watched, DriftReport.model_validate(report("r2", end=after(60))))
    assert value("gyre_drift_score", labels | {"column": "age", "method": "PSI"}) is None
    assert value("gyre_drift_verdict", labels | {"verdict": "CovariateShift"}) == 0
    assert value("gyre_drift_verdict", labels | {"verdict": "Healthy"}) == 1
    metrics.forget("default", "census")
    assert value("gyre_drift_window_rows", labels) is None


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
