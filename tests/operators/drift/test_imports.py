"""Reports that Evidently's jobs drop in the store: an object each, once, and no business of the monitor's verdict."""

import hashlib
import json
from typing import Any

from gyre_crds.v1alpha1 import DriftReport
from gyre_operators.drift.manifests import imported_name
from gyre_operators.engine.kinds import gyre
from tests.operators.builders import NOW, after, monitor, report, text
from tests.operators.drift.conftest import LATE, Scene

DROP = {"uri": "s3://gyre/default/drop/"}


def _finds(scene: Scene, *imports: dict[str, Any]) -> None:
    """The newest look is healthy and took these files over."""
    order = scene.order()
    made = report("x", "Healthy")["spec"]
    made["window"] = {"start": order.window_start, "end": order.window_end, "rows": 900}
    content = json.dumps({"schema": "gyre.report.v1", "spec": made, "imports": list(imports)}).encode()
    uri = f"{order.out}/report.json"
    scene.documents.held[uri] = content
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    scene.ends({"schema": "gyre.look.v1", "uri": uri, "digest": digest})


def _file(key: str, **spec: Any) -> dict[str, Any]:
    made = report("x", "CovariateShift", by="service", mayAct=False, **spec)["spec"]
    return {"key": key, "uri": f"{DROP['uri']}{key}.json", "spec": made}


def _imported(scene: Scene) -> list[dict[str, Any]]:
    return [one for one in scene.town.all(gyre(DriftReport)) if "monitor" not in one["spec"]]


async def _one_look(scene: Scene, minute: int, *imports: dict[str, Any]) -> None:
    await scene.rest(after(60 * minute + LATE))
    _finds(scene, *imports)
    await scene.rest(after(60 * minute + LATE + 5))


async def test_each_file_becomes_one_report_of_the_service(scene: Scene) -> None:
    """They belong to the monitor, speak of its service, may not act, and leave its own verdict alone."""
    scene.town.put(monitor({"evidently": DROP}))
    await _one_look(scene, 0, _file("aaaaaaaaaaaa"), _file("bbbbbbbbbbbb"))

    found = _imported(scene)

    assert len({one["metadata"]["name"] for one in found}) == 2
    assert {one["spec"]["inferenceService"] for one in found} == {"census"}
    assert {one["spec"].get("mayAct", False) for one in found} == {False}
    assert {one["metadata"]["ownerReferences"][0]["uid"] for one in found} == {"uid-monitor"}
    assert (scene.status["verdict"], scene.status["reports"]) == ("Healthy", 1)


async def test_told_twice_they_are_made_once(scene: Scene) -> None:
    """A look that died and was repeated tells of the same file again: the same name, so no second report."""
    scene.town.put(monitor({"evidently": DROP}))
    await _one_look(scene, 0, _file("aaaaaaaaaaaa"))
    await _one_look(scene, 1, _file("aaaaaaaaaaaa"))

    assert len(_imported(scene)) == 1


async def test_next_look_is_told_what_was_taken(scene: Scene) -> None:
    """The order says where markers are and up to which window their reports are objects."""
    scene.town.put(monitor({"evidently": DROP}))
    await _one_look(scene, 0, _file("aaaaaaaaaaaa"))
    await scene.rest(after(60 + LATE))

    order = scene.order()

    assert order.imports == "s3://gyre/default/imports/census"
    assert order.imported_until == text(after(-60))


async def test_they_act_where_the_monitor_says_so(scene: Scene) -> None:
    """`evidently.mayAct` is handed on, whatever the job's report says."""
    scene.town.put(monitor({"evidently": {**DROP, "mayAct": True}}))
    await _one_look(scene, 0, _file("aaaaaaaaaaaa"))

    assert [one["spec"]["mayAct"] for one in _imported(scene)] == [True]


async def test_file_that_is_no_report_is_told_of(scene: Scene) -> None:
    """One Warning names the file and why; the look's own report stands."""
    scene.town.put(monitor({"evidently": DROP}))
    await _one_look(scene, 0, {"key": "cccccccccccc", "uri": "s3://gyre/default/drop/c.json", "problem": "no JSON"})

    [event] = [event for event in scene.town.events if event.reason == "EvidentlyRefused"]

    assert event.message == "s3://gyre/default/drop/c.json: no JSON"
    assert scene.reports() == [text(NOW)]


async def test_history_holds_for_them_too(scene: Scene) -> None:
    """The oldest go beyond spec.history, apart from the monitor's own."""
    scene.town.put(monitor({"evidently": DROP, "history": 2}))
    for minute in range(4):
        await _one_look(scene, minute, _file(f"{minute:012d}", end=after(60 * minute)))

    assert len(_imported(scene)) <= 3
    assert len(scene.reports()) - len(_imported(scene)) == 2


async def test_name_that_is_taken_stops_no_other_report(scene: Scene) -> None:
    """A report by hand under the name of a file's keeps neither the look nor the other files back, and that is told."""
    scene.town.put(monitor({"evidently": DROP}))
    taken = imported_name("census", "aaaaaaaaaaaa")
    scene.town.put(report(taken, "CovariateShift", by="service", mayAct=False))
    await _one_look(scene, 0, _file("aaaaaaaaaaaa"), _file("bbbbbbbbbbbb"))

    assert {one["metadata"]["name"] for one in _imported(scene)} == {taken, imported_name("census", "bbbbbbbbbbbb")}
    assert scene.status["verdict"] == "Healthy"
    [told] = [event.message for event in scene.town.events if event.reason == "EvidentlyRefused"]
    assert f"DriftReport {taken}, made by hand, has its name" in told
