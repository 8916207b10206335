"""Verdicts about how well the model does, proven by labels or estimated without."""

from gyre_crds.v1alpha1.drift import Level
from gyre_monitoring.evidence import Evidence, Finding
from gyre_monitoring.figures import figure
from gyre_monitoring.performance import Performance

_SHARES = frozenset({"accuracy", "auc", "f1"})
HEAVY_SHARE = 0.05
"""Proven loss of a share-like metric from which on the level is P0."""
HEAVY_RELATIVE = 0.2
"""The same for an error, relative to the reference."""
_PARTIAL = 0.5


def concept_drift(evidence: Evidence) -> Finding | None:
    """Labels prove a loss that no moved input explains."""
    performance = _worth_telling(evidence)
    if performance is None or not performance.concept:
        return None
    if performance.explained:
        first = performance.explained[0]
        where = f"and rows whose {first.column} the training knew lose as well"
    else:
        where = "and no input moved"
    action = "the relation of inputs and label changed, so train again on recent labelled rows"
    return Finding("ConceptDrift", _level(performance), f"{_numbers(performance)}, {where}: {action}.")


def performance_loss(evidence: Evidence) -> Finding | None:
    """Labels prove a loss that the movement of inputs explains."""
    performance = _worth_telling(evidence)
    if performance is None:
        return None
    best = performance.explained[0] if performance.explained else None
    where = ""
    if best is not None and best.outside_loss is not None:
        where = (
            f"; rows whose {best.column} training never saw err {best.outside_loss:.1%}, "
            f"the others {best.inside_loss:.1%}"
        )
    elif best is not None:
        where = f"; the movement of {best.column} explains it"
    action = "train again with rows of the new population"
    return Finding("PerformanceLoss", _level(performance), f"{_numbers(performance)}{where}: {action}.")


def estimated_loss(evidence: Evidence) -> Finding | None:
    """The estimate without labels speaks of a loss; labels have not disproven it."""
    estimated, performance = evidence.estimated, evidence.performance
    if estimated is None or not estimated.lost:
        return None
    same = performance is not None and performance.metric == estimated.metric
    if performance is not None and same and performance.upper < estimated.floor:
        return None
    moved = f"; {evidence.drifted[0].name} moved most" if evidence.drifted else ""
    reason = (
        f"Estimated {estimated.metric} {figure(estimated.value, 3)} against {figure(estimated.reference, 3)} "
        f"in training{moved}: "
        "an estimate, blind to changes of concept; send labels for some of these rows to prove or refute it."
    )
    return Finding("EstimatedLoss", "P2", reason)


def _worth_telling(evidence: Evidence) -> Performance | None:
    performance = evidence.performance
    if performance is None or not performance.proven:
        return None
    return performance if performance.loss >= evidence.contract.objective.min_gain else None


def _numbers(performance: Performance) -> str:
    text = (
        f"{performance.metric} fell by {performance.loss:.3f}" if performance.metric in _SHARES
        else f"{performance.metric} rose by {figure(performance.loss)}"
    )  # fmt: skip
    sure = f"{1 - performance.level:.1%} sure of at least {figure(performance.lower, 3)}"
    before = figure(performance.reference.value)
    known = f"{figure(performance.realized.value)} on {performance.labels} labels against {before}"
    coverage = performance.labels / max(performance.eligible, 1)
    partial = f", labels for {coverage:.0%} of the rows" if coverage < _PARTIAL else ""
    return f"{text[:1].upper() + text[1:]} ({known} in training; {sure}{partial})"


def _level(performance: Performance) -> Level:
    heavy = HEAVY_SHARE if performance.metric in _SHARES else HEAVY_RELATIVE * performance.reference.value
    return "P0" if performance.lower >= heavy else "P1"
