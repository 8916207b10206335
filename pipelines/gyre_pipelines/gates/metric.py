"""Metric: a value of the run within bounds."""

from gyre_crds.contracts.task import GateOrder, GateReport
from gyre_crds.reasons import Version
from gyre_pipelines.gates.base import Bench


def evaluate(order: GateOrder, _bench: Bench) -> GateReport:
    """Hold the metric against min and max."""
    name = order.metric or ""
    value = order.logged.get(name)
    if value is None:
        known = ", ".join(sorted(order.logged)) or "none"
        message = (
            f"the run has no metric {name!r} (it has {known}; what is NaN or infinite counts as none); "
            "log it or correct gates[].metric"
        )
        return GateReport(state="Failed", reason=Version.METRIC_MISSING, message=message)
    low, high = order.min, order.max
    if low is not None and value < low:
        return _failed(f"{name} is {value:.4g}, at least {low:g} is asked for", value, low)
    if high is not None and value > high:
        return _failed(f"{name} is {value:.4g}, at most {high:g} is asked for", value, high)
    bounds = [f"{word} {limit:g}" for word, limit in (("at least", low), ("at most", high)) if limit is not None]
    message = f"{name} is {value:.4g}, {' and '.join(bounds) or 'any value'} is asked for"
    bound = low if low is not None else high
    return GateReport(state="Passed", reason=Version.PASSED, message=message, value=value, bound=bound)


def _failed(message: str, value: float, bound: float) -> GateReport:
    return GateReport(state="Failed", reason=Version.GATE_FAILED, message=message, value=value, bound=bound)
