"""A report as a few lines for a terminal; needs neither numpy nor the rows."""

from collections.abc import Iterator, Sequence
from textwrap import fill
from typing import Any

from pydantic import ValidationError

from gyre_crds.contracts.task import Report
from gyre_crds.v1alpha1.drift import ColumnFinding, DriftReportSpec
from gyre_monitoring.errors import InputError
from gyre_monitoring.figures import figure

_BAR = 20
_FULL = 0.25
_COLUMNS = 8
_HEAD = f"> moved                method           score  effect ({_BAR} signs: {_FULL:g})"


def text(body: object, width: int | None = None) -> str:
    """The report in words, each sentence in lines of at most `width` characters where one is given.

    Raises:
        InputError: the JSON is no report of ours.
    """
    try:
        report = Report.model_validate(body)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise InputError(f"this is no gyre.report.v1: {where}: {first['msg']}") from error
    lines = (one if width is None else fill(one, width, break_long_words=False) for one in _lines(report))
    return "\n".join(lines) + "\n"


def _lines(report: Report) -> Iterator[str]:
    spec = report.spec
    level = "" if spec.level == "None" else f"  {spec.level}"
    yield f"{spec.verdict}{level}{'  (provisional)' if spec.provisional else ''}"
    yield spec.reason
    yield ""
    yield f"window       {spec.window.start} to {spec.window.end}, {spec.window.rows} rows"
    yield from _performance(spec)
    yield from _answers(spec)
    if spec.columns:
        yield ""
        yield _HEAD
        yield from (_column(one) for one in spec.columns[:_COLUMNS])
    yield from _places(report.segments)
    if spec.power:
        yield ""
        yield spec.power


def _places(segments: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Segments in which something moved, the furthest first."""
    moved = [one for one in segments if one.get("drifted")]
    for one in sorted(moved, key=lambda segment: -(segment.get("effect") or 0)):
        yield f"segment      {one['segment']}: {one['name']} moved ({one['method']} {one['score']:.3f})"


def _performance(spec: DriftReportSpec) -> Iterator[str]:
    found = spec.performance
    if found is None:
        return
    known = {"training": found.reference, "estimated": found.estimated, "realized": found.realized}
    numbers = ", ".join(f"{name} {figure(value)}" for name, value in known.items() if value is not None)
    yield f"{found.metric:<12} {numbers}"
    if found.lower is not None:
        upper = "unknown" if found.upper is None else f"{figure(found.upper)}"
        yield f"loss         between {figure(found.lower)} and {upper} on {found.labels} labels"


def _answers(spec: DriftReportSpec) -> Iterator[str]:
    found = spec.prediction
    if found is None:
        return
    if found.mean is not None:
        before = "" if found.mean_before is None else f" (training {figure(found.mean_before)})"
        yield f"answers      mean {figure(found.mean)}{before}"
    if found.entropy is not None and found.unsure is not None:
        yield (
            f"uncertainty  entropy {found.entropy:.3f} bits (training {found.entropy_before or 0:.3f}), "
            f"likelier class below 0.6 in {found.unsure:.1%} of the rows (training {found.unsure_before or 0:.1%})"
        )


def _column(column: ColumnFinding) -> str:
    if column.note:
        return f"! {column.note}"
    effect = column.effect or 0.0
    bar = "#" * min(_BAR, round(effect / _FULL * _BAR))
    score = "" if column.score is None else f"{column.score:.4f}"
    return f"{'>' if column.drifted else ' '} {column.name:<20.20} {column.method:<13} {score:>8}  {bar}"
