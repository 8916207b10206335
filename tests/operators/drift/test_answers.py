"""What came of a report, on the report and in the metrics."""

from prometheus_client import CollectorRegistry

from gyre_crds.v1alpha1 import DriftMonitor, DriftReport, Model
from gyre_operators.drift.metrics import Metrics
from gyre_operators.engine.plan import ref
from tests.operators.builders import (
    NOW,
    after,
    key,
    loss,
    monitor,
    report,
    text,
)
from tests.operators.drift.conftest import LATE, REPORTS, Scene


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


async def test_report_by_hand_on_a_window_to_come_answers_for_no_look(scene: Scene) -> None:
    """Answered itself, it does not make the monitor's looks of before its window look answered.

    Every look until 2099 was called answered by an id that no decision had.
    """
    far = after(60 * 24 * 365 * 60)
    scene.town.put(report("far", "Healthy", end=far, made=after(30)))
    await scene.town.turn("model", key("census"), after(31))
    await scene.town.turn("report", key("far"), after(32))
    assert scene.town.object(DriftReport, "far")["status"]["state"] == "Answered"
    scene.town.put(report("look", "CovariateShift", end=after(60)))
    await scene.town.turn("report", key("look"), after(62))
    assert scene.town.object(DriftReport, "look")["status"]["state"] == "Open"


async def test_report_on_a_window_to_come_is_as_old_as_its_making(scene: Scene) -> None:
    """Of reports made elsewhere the one made last is shown, and its time is never later than that.

    An alarm on a window of 2099 would have been told of until then.
    """
    theirs = {"namespace": "default", "monitor": "elsewhere/census"}
    far = after(60 * 24 * 365 * 60)
    scene.town.put(report("far", "CovariateShift", end=far, made=after(30), by="service", mayAct=False))
    await scene.town.turn("report", key("far"), after(31))
    assert scene.value("gyre_drift_report_timestamp_seconds", theirs) == after(30).timestamp()
    scene.town.put(report("near", "Healthy", end=after(60), by="service", mayAct=False))
    await scene.town.turn("report", key("near"), after(62))
    assert scene.value("gyre_drift_verdict", theirs | {"verdict": "Healthy"}) == 1


def test_metrics_tell_the_newest_look_and_nothing_of_older_ones() -> None:
    """Series of columns that the new report does not name are gone; names are those of dashboards and alerts."""
    registry = CollectorRegistry()
    metrics, watched = Metrics(registry), DriftMonitor.model_validate(monitor())
    columns = [{"name": "age", "method": "PSI", "score": 0.3, "pAdjusted": 0.001, "drifted": True, "missing": 0.2}]
    answers = {"mean": 0.4, "entropy": 0.7}
    first = report(
        "r1", "CovariateShift", columns=columns, driftShare=0.5, performance=loss(0.05, 10), prediction=answers
    )
    labels = {"namespace": "default", "monitor": "census"}
    metrics.show(watched, DriftReport.model_validate(first))
    value = registry.get_sample_value
    assert value("gyre_drift_score", labels | {"column": "age", "method": "PSI"}) == 0.3
    assert value("gyre_drift_verdict", labels | {"verdict": "CovariateShift"}) == 1
    assert value("gyre_performance_realized", labels | {"metric": "accuracy"}) == 0.75
    assert value("gyre_prediction_mean", labels) == 0.4
    assert value("gyre_prediction_entropy", labels) == 0.7
    assert value("gyre_feature_missing_ratio", labels | {"column": "age"}) == 0.2
    assert value("gyre_drift_report_timestamp_seconds", labels) == NOW.timestamp()
    assert value("gyre_drift_schedule_interval_seconds", labels) == 60
    metrics.show(watched, DriftReport.model_validate(report("r2", end=after(60))))
    assert value("gyre_drift_score", labels | {"column": "age", "method": "PSI"}) is None
    assert value("gyre_prediction_entropy", labels) is None
    assert value("gyre_feature_missing_ratio", labels | {"column": "age"}) is None
    assert value("gyre_drift_verdict", labels | {"verdict": "CovariateShift"}) == 0
    assert value("gyre_drift_verdict", labels | {"verdict": "Healthy"}) == 1
    metrics.forget("default", "census")
    assert value("gyre_drift_window_rows", labels) is None


def test_silence_can_be_told_before_the_first_report_and_not_while_paused() -> None:
    """A monitor without a report is silent since it was made; a paused one has no distance between looks."""
    registry, body = CollectorRegistry(), monitor()
    metrics, labels = Metrics(registry), {"namespace": "default", "monitor": "census"}
    body["metadata"]["creationTimestamp"] = text(NOW)
    metrics.show(DriftMonitor.model_validate(body), None)
    assert registry.get_sample_value("gyre_drift_report_timestamp_seconds", labels) == NOW.timestamp()
    for paused, interval in ((True, None), (False, 60)):
        paused_or_not = {**body, "spec": {**body["spec"], "paused": paused}}
        metrics.show(DriftMonitor.model_validate(paused_or_not), None)
        assert registry.get_sample_value("gyre_drift_schedule_interval_seconds", labels) == interval


async def test_reports_made_elsewhere_have_series_of_their_own(scene: Scene) -> None:
    """By hand on the service, by hand under a monitor's name, and of Evidently's: the newest is shown.

    They had no series at all, so no alert ever told of them.
    """
    theirs = {"namespace": "default", "monitor": "elsewhere/census"}
    own = {"namespace": "default", "monitor": "census"}
    made = report("by-hand", "CovariateShift", by="service", mayAct=False)
    scene.town.put(made)
    await scene.town.turn("report", key("by-hand"), NOW)
    assert scene.value("gyre_drift_verdict", theirs | {"verdict": "CovariateShift"}) == 1
    forged = report("named", "SchemaBreak", end=after(60), mayAct=False)
    scene.town.put({**forged, "metadata": {**forged["metadata"], "ownerReferences": []}})
    await scene.town.turn("report", key("named"), NOW)
    assert scene.value("gyre_drift_verdict", theirs | {"verdict": "SchemaBreak"}) == 1
    await scene.town.turn("report", key("by-hand"), NOW)
    assert scene.value("gyre_drift_verdict", theirs | {"verdict": "CovariateShift"}) == 0
    assert scene.value("gyre_drift_verdict", own | {"verdict": "SchemaBreak"}) is None

    scene.town.remove(ref(scene.town.object(DriftReport, "named")))
    await scene.town.turn("report", key("named"), NOW)
    await scene.town.turn("report", key("by-hand"), NOW)
    assert scene.value("gyre_drift_verdict", theirs | {"verdict": "CovariateShift"}) == 1
    scene.town.remove(ref(scene.town.object(DriftReport, "by-hand")))
    await scene.town.turn("report", key("by-hand"), NOW)
    assert scene.value("gyre_drift_verdict", theirs | {"verdict": "CovariateShift"}) is None


def test_monitor_names_the_model_that_it_watches() -> None:
    """Alerts join a monitor to its model's training by it; a service that moved to another model leaves no trace."""
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    watched = DriftMonitor.model_validate(monitor())
    labels = {"namespace": watched.metadata.namespace, "monitor": watched.metadata.name}
    for name in ("old", "new"):
        metrics.show(watched, None, name)
    assert registry.get_sample_value("gyre_drift_monitor_info", {**labels, "model": "new"}) == 1
    assert registry.get_sample_value("gyre_drift_monitor_info", {**labels, "model": "old"}) is None
    metrics.forget(*labels.values())
    assert registry.get_sample_value("gyre_drift_monitor_info", {**labels, "model": "new"}) is None
