"""From evidence and verdict to report.json, whose `spec` becomes the DriftReport word for word."""

import hashlib
import json
import math
from datetime import UTC, datetime
from typing import Any

from gyre_crds.contracts.task import Report
from gyre_crds.v1alpha1.drift import (
    ColumnFinding,
    DriftReportSpec,
    LaterLoss,
    PerformanceFinding,
    PredictionFinding,
    ReportArtifacts,
    ReportWindow,
)
from gyre_monitoring import details, power
from gyre_monitoring.details import rounded, share_missing
from gyre_monitoring.evidence import Evidence, Finding, Incident
from gyre_monitoring.performance import Performance
from gyre_monitoring.profile import moments
from gyre_monitoring.shifts import Shift
from gyre_monitoring.window import ColumnWindow

_TOP = 20
_TEXT = 1024


def report(evidence: Evidence, finding: Finding, monitor: str, *, version: str | None = None) -> Report:
    """The whole report, without artifacts."""
    return Report(
        spec=spec(evidence, finding, monitor, version),
        features=[details.feature(evidence, one.name) for one in evidence.profile.columns],
        prediction=details.prediction(evidence),
        segments=details.segments(evidence),
        quality=[details.incident(one) for one in evidence.quality],
        schema_findings=[details.incident(one) for one in evidence.schema],
        power=details.powers(evidence),
        statistics=details.statistics(evidence),
    )


def spec(evidence: Evidence, finding: Finding, monitor: str, version: str | None) -> DriftReportSpec:
    """What stands in the DriftReport."""
    whole = [one for one in evidence.inputs if one.segment is None]
    drifted = {one.name for one in evidence.inputs if one.drifted}
    return DriftReportSpec(
        monitor=monitor,
        version=evidence.window.version(version),
        window=ReportWindow(start=stamp(evidence.span.start), end=stamp(evidence.span.end), rows=evidence.rows),
        verdict=finding.verdict,
        level=finding.level,
        reason=_cut(finding.reason),
        columns=_columns(evidence)[:_TOP],
        drift_share=round(len(drifted) / len(whole), 4) if whole else None,
        prediction=_answers(evidence),
        performance=_performance(evidence),
        power=_cut(" ".join([power.sentence(evidence), _declared(evidence), *evidence.notes])),
        provisional=_provisional(evidence),
        reference_digest=evidence.digest,
    )


def with_artifacts(made: Report, artifacts: ReportArtifacts, engine: str) -> Report:
    """The report with where it is kept and which engines spoke."""
    return made.model_copy(update={"spec": made.spec.model_copy(update={"artifacts": artifacts, "engine": engine})})


def encoded(made: Report) -> bytes:
    """The report as it stands in the store: JSON without NaN or infinity."""
    return json.dumps(clean(made.dump()), separators=(",", ":"), allow_nan=False).encode()


def digest(content: bytes) -> str:
    """Digest of an encoded report."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def stamp(moment: datetime) -> str:
    """RFC 3339 in UTC, whole seconds where it is whole."""
    text = moment.astimezone(UTC).isoformat(timespec="milliseconds" if moment.microsecond else "seconds")
    return text.replace("+00:00", "Z")


def clean(value: Any) -> Any:
    """The value with every NaN and infinity replaced by null, at any depth."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: clean(one) for key, one in value.items()}
    return [clean(one) for one in value] if isinstance(value, list) else value


def _columns(evidence: Evidence) -> list[ColumnFinding]:
    broken = [one for one in (*evidence.schema, *evidence.quality) if one.column]
    notes = {one.column: one for one in reversed(broken)}
    tests = {one.name: one for one in evidence.inputs if one.segment is None}
    ranked = sorted(tests.values(), key=lambda one: (not one.drifted, -one.rank))
    names = dict.fromkeys([str(one.column) for one in broken] + [one.name for one in ranked])
    columns = evidence.window.columns
    return [_column(name, tests.get(name), notes.get(name), columns.get(name)) for name in names]


def _column(name: str, shift: Shift | None, incident: Incident | None, window: ColumnWindow | None) -> ColumnFinding:
    note = _cut(f"{name} {incident.words}") if incident else ""
    missing = share_missing(window) if window is not None else None
    if shift is None:
        return ColumnFinding(name=name, method=incident.check if incident else "none", missing=missing, note=note)
    return ColumnFinding(
        name=name,
        method=shift.method,
        score=rounded(shift.measure.score),
        effect=rounded(shift.measure.effect),
        p_adjusted=rounded(shift.p_adjusted),
        drifted=shift.drifted,
        missing=missing,
        note=note,
    )


def _answers(evidence: Evidence) -> PredictionFinding | None:
    """What the model answered and how sure it was; None where nothing was answered."""
    window, profile = evidence.window, evidence.profile
    source = profile.score if profile.task == "Classification" else profile.prediction
    answered = window.columns.get(source.name) if source else None
    entropy, known = window.uncertainty, profile.uncertainty
    mean, before = _means(answered)
    bits, bits_before = _means(entropy)
    if mean is None and bits is None:
        return None
    both = entropy is not None and known is not None and entropy.valid
    return PredictionFinding(
        mean=mean,
        mean_before=before,
        entropy=bits,
        entropy_before=bits_before,
        unsure=round(window.unsure / entropy.valid, 6) if both and entropy else None,
        unsure_before=round(known.unsure / (known.entropy.rows - known.entropy.missing), 6) if both and known else None,
    )


def _means(column: ColumnWindow | None) -> tuple[float | None, float | None]:
    """Mean of the window and of the reference; None for categories and empty columns."""
    if column is None or column.profile.number is None or not column.valid:
        return None, None
    return rounded(moments(*column.numbers.sketch.cells())[0]), rounded(column.profile.number.mean)


def _performance(evidence: Evidence) -> PerformanceFinding | None:
    realized, estimated = evidence.performance, evidence.estimated
    if realized is None:
        if estimated is None:
            return None
        return PerformanceFinding(
            metric=estimated.metric, reference=rounded(estimated.reference), estimated=rounded(estimated.value)
        )
    same = estimated is not None and estimated.metric == realized.metric
    return PerformanceFinding(
        metric=realized.metric,
        reference=rounded(realized.reference.value),
        estimated=rounded(estimated.value) if same and estimated else None,
        realized=rounded(realized.realized.value),
        lower=rounded(realized.lower),
        upper=rounded(realized.upper),
        labels=realized.labels,
        since=stamp(realized.since) if realized.since else None,
        later=_later(realized),
    )


def _later(realized: Performance) -> LaterLoss | None:
    found = realized.later
    value, lower = (rounded(found.realized), rounded(found.lower)) if found else (None, None)
    if found is None or value is None or lower is None:
        return None
    return LaterLoss(after=stamp(found.after), realized=value, lower=lower, labels=found.labels)


def _provisional(evidence: Evidence) -> bool:
    baseline = evidence.baseline
    return baseline is None or baseline.achievable > evidence.spec.false_alarm_rate


def _declared(evidence: Evidence) -> str:
    rate, baseline = evidence.spec.false_alarm_rate, evidence.baseline
    if baseline is None:
        return f"Provisional: the rate of {rate:g} holds by theory for independent rows; 20 quiet windows calibrate it."
    season = f" of {baseline.season}" if baseline.season else ""
    text = f"Calibrated on {baseline.windows} windows{season}"
    if baseline.achievable > rate:
        return f"{text}: declared {rate:g}, so few windows vouch for {baseline.achievable:.3g} (provisional)."
    return f"{text} for the declared rate of {rate:g}."


def _cut(text: str) -> str:
    return text if len(text) <= _TEXT else text[: _TEXT - 1] + "…"
