"""The rules, in the order in which the first hit wins; each is a pure function of the evidence."""

from collections.abc import Callable

from gyre_monitoring.evidence import Evidence, Finding
from gyre_monitoring.rules import data, loss, shift

RULES: tuple[Callable[[Evidence], Finding | None], ...] = (
    data.insufficient,
    data.schema_break,
    data.quality_incident,
    loss.concept_drift,
    loss.performance_loss,
    loss.estimated_loss,
    shift.prediction_shift,
    shift.covariate_shift,
)


def verdict(evidence: Evidence) -> Finding:
    """The first finding; a window that no rule objects to is healthy."""
    for rule in RULES:
        finding = rule(evidence)
        if finding is not None:
            return finding
    return shift.healthy(evidence)
