"""When a monitor's look holds a rollout, and when it does not."""

import pytest

from gyre_crds.v1alpha1 import DriftMonitor, DriftReport
from gyre_operators.inference.halting import monitors_order

SINCE = "2026-01-01T00:10:00Z"


def _report(end: str, verdict: str, level: str = "P1", monitor: str = "m", *, act: bool = True) -> DriftReport:
    window = {"start": "2026-01-01T00:00:00Z", "end": f"2026-01-01T00:{end}:00Z", "rows": 1000}
    spec = {
        "monitor": monitor,
        "window": window,
        "verdict": verdict,
        "level": level,
        "reason": "Accuracy fell.",
        "mayAct": act,
    }
    return DriftReport.model_validate(
        {"kind": "DriftReport", "metadata": {"name": f"r{end}{verdict}".lower()}, "spec": spec}
    )


def _monitor(action: str = "Halt") -> DriftMonitor:
    spec = {"target": {"inferenceService": "s"}, "actions": {"rollout": action}}
    return DriftMonitor.model_validate({"kind": "DriftMonitor", "metadata": {"name": "m"}, "spec": spec})


HEALTHY, LOSS = ("Healthy", "None"), ("PerformanceLoss", "P1")


@pytest.mark.parametrize(
    ("before", "during", "action", "wanted"),
    [
        (HEALTHY, LOSS, "Halt", "Halt"),
        (HEALTHY, LOSS, "Rollback", "Rollback"),
        (HEALTHY, LOSS, "None", None),
        (LOSS, LOSS, "Rollback", None),
        (HEALTHY, HEALTHY, "Halt", None),
        (HEALTHY, ("QualityIncident", "P0"), "Halt", None),
        (HEALTHY, ("CovariateShift", "None"), "Halt", None),
        (None, LOSS, "Halt", "Halt"),
    ],
    ids=[
        "a loss that is news halts",
        "a loss that is news rolls back where asked",
        "a monitor that may only report orders nothing",
        "a loss that stood before is what the candidate may cure",
        "a healthy window orders nothing",
        "broken data hits both revisions alike",
        "a shift below any level orders nothing",
        "without an earlier look every alarm is news",
    ],
)
def test_only_news_moves_a_rollout(
    before: tuple[str, str] | None, during: tuple[str, str], action: str, wanted: str | None
) -> None:
    """A rollout is held by an alarm that came after its start, not by the one it answers."""
    reports = ([_report("09", *before)] if before else []) + [_report("12", *during)]

    order = monitors_order({"m": _monitor(action)}, reports, since=SINCE)

    assert (order.action if order else None) == wanted


def test_a_report_that_may_not_act_moves_no_traffic() -> None:
    """The same alarm halts where whoever made the report may act, and only there."""
    monitors = {"m": _monitor()}

    assert monitors_order(monitors, [_report("12", *LOSS, act=True)], since=SINCE)
    assert monitors_order(monitors, [_report("12", *LOSS, act=False)], since=SINCE) is None
