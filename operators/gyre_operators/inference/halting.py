"""What monitors say about a rollout under way."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from gyre_crds.v1alpha1.drift import DriftMonitor, DriftReport
from gyre_operators.drift.windows import looked_until
from gyre_operators.engine.clock import parse_time

_LOSS_OR_SHIFT = {"ConceptDrift", "PerformanceLoss", "EstimatedLoss", "PredictionShift", "CovariateShift"}
"""Broken data upstream hits both revisions alike and says nothing of the candidate."""


class Order(NamedTuple):
    """What is to happen to the candidate, and why."""

    action: Literal["Halt", "Rollback"]
    message: str


def monitors_order(
    monitors: Mapping[str, DriftMonitor], reports: Sequence[DriftReport], *, since: str | None
) -> Order | None:
    """The strictest order of the monitors' newest looks at windows that the candidate was in.

    Only an alarm that is news counts. One that stood before the rollout started is what the candidate may be the cure
    for: a retraining because of a loss would otherwise be halted by that very loss, for ever.

    Only monitors of this namespace order anything. A report that somebody applied by hand counts as its monitor's
    where it may act, and moves no traffic otherwise.
    """
    if since is None:
        return None
    orders = []
    for name, monitor in monitors.items():
        action = monitor.spec.actions.rollout
        newest = _newest(reports, name)
        if action == "None" or newest is None or looked_until(newest) <= parse_time(since):
            continue
        before = _newest([r for r in reports if looked_until(r) <= parse_time(since)], name)
        if _alarms(newest) and not (before is not None and _alarms(before)):
            why = f"monitor {name} saw {newest.spec.verdict} since the rollout started: {newest.spec.reason}"
            orders.append(Order(action, why))
    return max(orders, key=lambda order: order.action == "Rollback", default=None)


def _alarms(report: DriftReport) -> bool:
    return report.spec.verdict in _LOSS_OR_SHIFT and report.spec.level != "None"


def _newest(reports: Sequence[DriftReport], monitor: str) -> DriftReport | None:
    mine = [report for report in reports if report.spec.monitor == monitor and report.spec.may_act]
    return max(mine, key=looked_until, default=None)
