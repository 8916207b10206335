"""Verdicts about movement: predictions, inputs, or nothing."""

from collections.abc import Sequence

from gyre_crds.v1alpha1.drift import Level
from gyre_monitoring.evidence import Evidence, Finding
from gyre_monitoring.figures import figure
from gyre_monitoring.shifts import Shift

_NAMED = 3


def prediction_shift(evidence: Evidence) -> Finding | None:
    """The distribution of predictions or scores moved, and is not the lesser echo of an input that moved more."""
    moved = sorted((one for one in evidence.prediction if one.drifted), key=lambda one: -one.rank)
    inputs = evidence.drifted
    if not moved or (inputs and inputs[0].rank > moved[0].rank):
        return None
    cause = f"; of the inputs, {_listed(inputs)} moved" if inputs else "; no single input moved enough to name"
    action = "look at the rows behind it and wait for labels before training again"
    reason = f"{_listed(moved)} moved against training{cause}{_labels(evidence)}: {action}."
    return Finding("PredictionShift", _level(evidence), _capital(reason))


def covariate_shift(evidence: Evidence) -> Finding | None:
    """The distribution of inputs moved, and predictions less than they did."""
    moved = evidence.drifted
    if not moved:
        return None
    columns = {one.name for one in moved}
    tested = {one.name for one in evidence.inputs}
    follows = ", predictions follow" if any(one.drifted for one in evidence.prediction) else ""
    action = "no loss is proven, so nothing retrains for this alone; labels will tell whether it costs"
    reason = f"{_listed(moved)} moved ({len(columns)} of {len(tested)} columns{follows}){_labels(evidence)}: {action}."
    return Finding("CovariateShift", _level(evidence), _capital(reason))


def healthy(evidence: Evidence) -> Finding:
    """Nothing beyond the declared rate."""
    columns = len({one.name for one in evidence.inputs})
    rate = f"one false alarm in {1 / evidence.spec.false_alarm_rate:.0f} windows"
    reason = f"{evidence.rows} rows, {columns} columns: nothing beyond chance ({rate}){_labels(evidence)}."
    return Finding("Healthy", "None", reason)


def _level(evidence: Evidence) -> Level:
    """A shift is raised above P2 once as many windows in a row agree as the monitor asks for."""
    return "P1" if evidence.consecutive + 1 >= evidence.spec.persistence else "P2"


def _listed(shifts: Sequence[Shift]) -> str:
    named = list(dict.fromkeys(_named(one) for one in shifts))
    more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
    return ", ".join(named[:_NAMED]) + more


def _named(shift: Shift) -> str:
    where = f" where {shift.segment}" if shift.segment else ""
    return f"{shift.name}{where} ({shift.method} {shift.measure.score:.3f})"


def _labels(evidence: Evidence) -> str:
    performance = evidence.performance
    if performance is None:
        return ", no mature labels yet"
    return (
        f", {performance.metric} {figure(performance.realized.value)} on {performance.labels} labels "
        f"({figure(performance.reference.value)} in training)"
    )


def _capital(text: str) -> str:
    # Column names keep their case: only our own word may open a sentence with a capital.
    return text if text[:1].isupper() or not text.startswith(("prediction", "score")) else text[:1].upper() + text[1:]
