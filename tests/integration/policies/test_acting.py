"""A report made by hand acts only where its maker may."""

from typing import Any

import pytest

from tests.integration.policies.conftest import OPERATOR, Server

pytestmark = pytest.mark.cluster

Json = dict[str, Any]

REPORT: Json = {
    "inferenceService": "census",
    "window": {"start": "2026-01-01T00:00:00Z", "end": "2026-01-01T01:00:00Z", "rows": 1000},
    "verdict": "PerformanceLoss",
    "level": "P1",
    "reason": "Accuracy fell.",
}


@pytest.mark.parametrize("user", ["admin-of-team", OPERATOR], ids=["who administers the namespace", "the operator"])
def test_who_has_the_verb_act_makes_reports_that_act(server: Server, user: str) -> None:
    """Administrators of the namespace get the verb by the chart's roles, and so does the operator."""
    assert server.refuses("DriftReport", {**REPORT, "mayAct": True}, user=user) == ""


@pytest.mark.parametrize("user", ["editor", "scientist"])
def test_who_lacks_it_makes_reports_that_alert(server: Server, user: str) -> None:
    """Without the verb a report is taken as long as it does not claim that it may act."""
    assert server.refuses("DriftReport", REPORT, user=user) == ""
    assert server.refuses("DriftReport", {**REPORT, "mayAct": False}, user=user) == ""
    assert (
        f"spec.mayAct: {user} has no verb act on driftreports in namespace team-a; "
        "leave it out, and the report alerts only"
    ) in server.refuses("DriftReport", {**REPORT, "mayAct": True}, user=user)


def test_a_report_never_learns_to_act(server: Server) -> None:
    """A report is immutable, so what was made without the right does not get it later."""
    path = server.make("DriftReport", REPORT)

    said = server.refuses_change(path, {"mayAct": True}, user="editor")

    assert "mayAct cannot change after creation; create a new DriftReport" in said


def test_a_place_whose_reports_act_needs_the_verb_too(server: Server) -> None:
    """What Evidently's jobs drop there is nobody's request, so who names the place is asked, or who moves it."""
    acts = {"target": {"inferenceService": "census"}, "evidently": {"uri": "s3://b/drop/", "mayAct": True}}
    alerts = {**acts, "evidently": {"uri": "s3://b/drop/"}}

    assert server.refuses("DriftMonitor", alerts, user="editor") == ""
    assert server.refuses("DriftMonitor", acts, user="admin-of-team") == ""
    said = server.refuses("DriftMonitor", acts, user="editor")
    assert "spec.evidently.mayAct: editor has no verb act on driftreports in namespace team-a; leave it out" in said

    path = server.make("DriftMonitor", acts)
    assert server.refuses_change(path, {"history": 5}, user="editor") == ""
    moved = {"evidently": {"uri": "s3://b/other/"}}
    assert "spec.evidently.mayAct: editor" in server.refuses_change(path, moved, user="editor")
