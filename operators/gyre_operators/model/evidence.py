"""What a look says, as far as a decision rests on it: losses in points of the objective. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from math import sqrt

from gyre_crds.v1alpha1.drift import DriftReport, PerformanceFinding, Verdict
from gyre_operators.engine.clock import parse_time

LOSS: frozenset[Verdict] = frozenset({"ConceptDrift", "PerformanceLoss"})
"""Verdicts that labels have proven."""

_SHARES = {"accuracy", "auc", "f1"}
"""Metrics between 0 and 1, where more is better; one point is a hundredth."""

_MEANS = {"accuracy", "logLoss", "brier", "mae"}
"""Metrics that are means over rows, so that the later rows' part can be told apart."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """One look."""

    report: str
    verdict: Verdict
    start: datetime
    end: datetime
    version: str | None = None
    metric: str = "accuracy"
    gap: float | None = None
    """Loss of the objective against the reference, in its unit; more is worse."""
    lower: float | None = None
    """Its lower confidence bound."""
    labels: int = 0
    reference: float | None = None
    since: datetime | None = None
    """The oldest labelled row."""
    later: "Later | None" = None
    """The loss without the rows that alarmed, where the look itself measured it."""

    @property
    def is_loss(self) -> bool:
        """Whether labels prove a loss."""
        return self.verdict in LOSS and self.lower is not None

    def points(self, value: float) -> float:
        """A value in points: hundredths of a share, or percent of the reference for other metrics."""
        if self.metric in _SHARES or not self.reference:
            return 100.0 * value
        return 100.0 * value / abs(self.reference)


def evidence_of(report: DriftReport) -> Evidence:
    """The report as evidence."""
    spec, found = report.spec, report.spec.performance
    return Evidence(
        report=report.metadata.name,
        verdict=spec.verdict,
        start=parse_time(spec.window.start),
        end=parse_time(spec.window.end),
        version=spec.version,
        metric=found.metric if found else "accuracy",
        gap=_gap(found) if found else None,
        lower=found.lower if found else None,
        labels=found.labels if found else 0,
        reference=found.reference if found else None,
        since=parse_time(found.since) if found and found.since else None,
        later=_measured(found) if found else None,
    )


def _measured(found: PerformanceFinding) -> "Later | None":
    later = found.later
    if later is None or found.reference is None:
        return None
    gap = _worse(found.metric, found.reference, later.realized)
    return Later(gap, later.lower, later.labels, parse_time(later.after))


def first_alarm(now: Evidence, earlier: Sequence[Evidence]) -> Evidence | None:
    """The look that raised the alarm which `now` repeats: the oldest loss since the last healthy look.

    Only looks at the same version count, and only windows that ended before this one began.
    """
    first = None
    for look in sorted(earlier, key=lambda e: e.end, reverse=True):
        if look.version != now.version or look.end > now.start:
            continue
        if look.verdict == "Healthy":
            break
        if look.is_loss:
            first = look
    return first


@dataclass(frozen=True, slots=True)
class Later:
    """The loss on labels that the alarm had not seen."""

    gap: float
    lower: float
    labels: int
    after: datetime | None = None
    """End of the window whose rows are left out; None where it was worked out here."""


def later_loss(first: Evidence, again: Evidence) -> Later | None:
    """The loss re-estimated without the rows that alarmed; None where no later labels tell.

    The gap that alarmed was selected for being large. Our own looks measure the rows after it; they may know an
    older alarm of the same row of looks than the reports that are kept. Of another
    engine's look only the whole is known: where its rows include the alarm's
    (its labels reach back further than the alarm's window), their part is taken out: means are additive
    in rows. The interval is widened in proportion, as a mean over fewer rows has it, and the bound never
    exceeds that of the whole look, whose rows may have rolled on in the meantime.
    """
    if again.later is not None:
        return again.later
    if again.gap is None or again.lower is None or again.labels <= 0:
        return None
    apart = again.since is not None and again.since >= first.end
    if apart or again.metric not in _MEANS or first.gap is None:
        return Later(again.gap, again.lower, again.labels)
    labels = again.labels - first.labels
    if labels <= 0:
        return None
    gap = (again.gap * again.labels - first.gap * first.labels) / labels
    lower = gap - (again.gap - again.lower) * sqrt(again.labels / labels)
    return Later(gap, min(lower, again.lower), labels)


def _gap(found: PerformanceFinding) -> float | None:
    if found.reference is None or found.realized is None:
        return found.lower
    return _worse(found.metric, found.reference, found.realized)


def _worse(metric: str, reference: float, realized: float) -> float:
    return reference - realized if metric in _SHARES else realized - reference
