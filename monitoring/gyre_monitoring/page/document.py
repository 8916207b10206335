"""The page's parts, from the report alone and the verdicts of earlier looks."""

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import Any

from gyre_crds.contracts.task import Report
from gyre_crds.v1alpha1.drift import PredictionFinding
from gyre_monitoring.figures import figure
from gyre_monitoring.history import Past
from gyre_monitoring.page.charts import distribution, interval, strip
from gyre_monitoring.page.style import CSS

_MULTIPLES = 12
_PLACES = 8
"""Segments that are listed: in the table of all columns nobody looks for them."""
_STRIP = 54
_TONES = {"P0": "bad", "P1": "warn", "P2": "note"}
_CELLS = {"good": "good", "note": "note-cell", "warn": "warn", "bad": "bad", "idle": "idle"}
_BY_VERDICT = {
    "Healthy": "good", "InsufficientData": "idle", "CovariateShift": "note", "PredictionShift": "note",
    "EstimatedLoss": "note", "PerformanceLoss": "warn", "ConceptDrift": "warn",
    "SchemaBreak": "bad", "QualityIncident": "bad",
}  # fmt: skip
_MEANINGS = {
    "good": "healthy", "note-cell": "moved, or a loss estimated", "warn": "loss proven", "bad": "broken data or P0",
    "idle": "too few rows",
}  # fmt: skip
"""What a look's colour says."""


def page(report: Report, past: Sequence[Past]) -> str:
    """The whole page as HTML."""
    spec = report.spec
    tone = _tone(spec.verdict, spec.level)
    columns = _ranked(report)
    body = "".join(
        [
            _header(report, tone),
            '<section class="row">',
            _performance(report),
            _history(report, past, tone),
            "</section>",
            _multiples(columns),
            _places(report),
            _outputs(report),
            _table(report),
            _footer(report),
        ]
    )
    title = f"{spec.verdict} · {spec.monitor}"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f'<style>{CSS}</style></head><body><main class="tone-{tone}">{body}</main></body></html>'
    )


def _tone(verdict: str, level: str) -> str:
    return _TONES.get(level, _BY_VERDICT.get(verdict, "idle"))


def _header(report: Report, tone: str) -> str:
    spec = report.spec
    level = "" if spec.level == "None" else f'<span class="pill">{spec.level}</span>'
    provisional = '<span class="pill plain">provisional</span>' if spec.provisional else ""
    version = f"<span>version <b>{escape(spec.version)}</b></span>" if spec.version else ""
    window = f"{_clock(spec.window.start)} to {_clock(spec.window.end, after=spec.window.start)} UTC"
    return (
        f'<header class="tone-{tone}"><p class="meta"><span>monitor <b>{escape(spec.monitor or "")}</b></span>{version}'
        f"<span>window <b>{window}</b></span><span>rows <b>{spec.window.rows:,}</b></span></p>"
        f'<h1>{spec.verdict}{level}{provisional}</h1><p class="why">{escape(spec.reason)}</p></header>'
    )


def _performance(report: Report) -> str:
    found = report.spec.performance
    if found is None:
        text = "No labelled reference: neither a realized nor an estimated performance is known."
        if report.spec.verdict == "InsufficientData":
            text = "Too few rows: neither a realized nor an estimated performance is known."
        return f'<div class="card"><h2>Performance</h2><p class="facts">{text}</p></div>'
    body = found.dump()
    facts = "No mature labels in this window; the estimate is blind to changes of concept."
    if found.realized is not None:
        sign = "loss" if (found.lower or 0) > 0 else "difference"
        ends = [figure(one, 3) if one is not None else "unknown" for one in (found.lower, found.upper)]
        facts = f"{found.labels:,} labels; the {sign} lies between {ends[0]} and {ends[1]}."
    title = f"<h2>Performance: {escape(found.metric)}</h2>"
    return f'<div class="card">{title}{interval(body)}<p class="facts">{facts}</p></div>'


def _history(report: Report, past: Sequence[Past], tone: str) -> str:
    looks = []
    for one in past[-_STRIP:]:
        style = _CELLS[_BY_VERDICT.get(one.verdict, "idle")]
        looks.append((style, f"{_clock(one.start.isoformat())}: {one.verdict}, {one.rows:,} rows"))
    looks.append((f"{_CELLS[tone]} here", f"{_clock(report.spec.window.start)}: {report.spec.verdict}"))
    power = report.power
    windows = power.get("baselineWindows") or 0
    declared = power.get("declared")
    if power.get("calibration") == "history":
        note = f"calibrated on {windows} windows: declared rate {declared:g}, achievable {power.get('achievable'):.3g}"
    else:
        note = f"calibrated by theory for the declared rate {declared:g}; {windows} of 20 earlier windows are at hand"
    first = f"since {_clock(past[-_STRIP:][0].start.isoformat())}; " if past else ""
    legend = _legend([style.removesuffix(" here") for style, _ in looks])
    return f'<div class="card"><h2>Looks</h2>{strip(looks)}{legend}<p class="facts">{first}{note}.</p></div>'


def _legend(cells: Sequence[str]) -> str:
    """The meanings of the colours that are there."""
    marks = "".join(
        f'<span><i class="{style}"></i>{text}</span>' for style, text in _MEANINGS.items() if style in cells
    )
    return f'<p class="legend">{marks}</p>'


def _ranked(report: Report) -> list[tuple[dict[str, Any], str]]:
    """Columns with a picture, broken ones first, then as the report ranks them."""
    features = {one["name"]: one for one in report.features}
    notes = {one.name: one.note for one in report.spec.columns}
    order = [one.name for one in report.spec.columns if one.name in features]
    order += [name for name in features if name not in notes]
    return [(features[name], notes.get(name, "")) for name in order]


def _multiples(columns: list[tuple[dict[str, Any], str]]) -> str:
    cards = "".join(_column(feature, note) for feature, note in columns[:_MULTIPLES])
    if not cards:
        return ""
    legend = (
        '<p class="legend"><span><i style="background:var(--ref)"></i>training</span>'
        '<span><i style="background:var(--now)"></i>this window</span></p>'
    )
    return f'<section><h2>Columns, the most telling first</h2>{legend}<div class="grid">{cards}</div></section>'


def _places(report: Report) -> str:
    """Segments in which something moved: often the whole of it, where the column alone hardly shows it."""
    moved = _moved_most_first(one for one in report.segments if one.get("drifted"))
    if not moved:
        return ""
    items = "".join(
        f"<li><b>{escape(str(one['name']))}</b> where <b>{escape(one['segment'])}</b>: {_facts(one)}"
        f"{f' · {rows:,} rows' if (rows := one.get('rows')) else ''}</li>"
        for one in moved[:_PLACES]
    )
    more = len(moved) - _PLACES
    rest = f"<li>and {more} more, in the table of all columns</li>" if more > 0 else ""
    return f'<section><h2>Where it moved</h2><div class="card"><ul class="places">{items}{rest}</ul></div></section>'


def _moved_most_first(findings: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(findings, key=lambda one: (not one["drifted"], -(one.get("effect") or 0)))


def _column(feature: dict[str, Any], note: str) -> str:
    if note:
        tag = '<span class="tag broken">broken</span>'
    elif feature.get("drifted"):
        tag = '<span class="tag moved">moved</span>'
    else:
        tag = f'<span class="tag still">{"still" if "method" in feature else "not tested"}</span>'
    facts = f'<p class="note">{escape(note)}</p>' if note else f"<p>{_facts(feature)}</p>"
    name = escape(str(feature["name"]))
    picture = distribution(feature.get("histogram", {}))
    return f'<div class="card column"><h3><span title="{name}">{name}</span>{tag}</h3>{facts}{picture}</div>'


def _facts(feature: dict[str, Any]) -> str:
    if "method" not in feature:
        return "too few usable values"
    parts = [f"{feature['method']} {_number(feature.get('score'))}"]
    p = feature.get("pAdjusted")
    if p is not None:
        parts.append(f"p {_chance(p)}")
    if feature.get("missing"):
        parts.append(f"missing {feature['missing']:.1%}")
    if feature.get("newCategories"):
        parts.append(f"new {feature['newCategories']:.1%}")
    return " · ".join(parts)


def _outputs(report: Report) -> str:
    tests = {one["name"]: one for one in report.prediction.get("tests", [])}
    cards = "".join(
        _column({"name": name} | tests.get(name, {}) | report.prediction[name], "")
        for name in ("score", "prediction", "prediction entropy")
        if name in report.prediction
    )
    sure = _sure(report.spec.prediction)
    return f'<section><h2>What the model answers</h2>{sure}<div class="grid">{cards}</div></section>' if cards else ""


def _sure(found: PredictionFinding | None) -> str:
    if found is None or found.entropy is None or found.unsure is None:
        return ""
    return (
        f'<p class="facts">Entropy of the score {found.entropy:.3f} bits (training {found.entropy_before or 0:.3f}); '
        f"likelier class below 0.6 in {found.unsure:.1%} of the rows (training {found.unsure_before or 0:.1%}).</p>"
    )


def _table(report: Report) -> str:
    rows = "".join(_rows(report))
    head = (
        "<tr><th>column</th><th>method</th>"
        '<th class="n">score</th><th class="n">effect</th><th class="n">p adjusted</th>'
        '<th class="n">missing</th><th class="n">new</th><th class="n">least effect seen</th><th></th></tr>'
    )
    return (
        f"<details><summary>All {len(report.features)} columns</summary>"
        f'<div class="scroll"><table>{head}{rows}</table></div></details>'
    )


def _rows(report: Report) -> Iterator[str]:
    for one in [*_moved_most_first(report.features), *_moved_most_first(report.segments)]:
        name = escape(str(one["name"])) + (f" where {escape(one['segment'])}" if one.get("segment") else "")
        cells = [*(_number(one.get(key)) for key in ("score", "effect")), _chance(one.get("pAdjusted"))]
        cells += [f"{one.get(key) or 0:.1%}" for key in ("missing", "newCategories")] + [_number(one.get("mde"))]
        numbers = "".join(f'<td class="n">{cell}</td>' for cell in cells)
        state = "moved" if one["drifted"] else ""
        yield f"<tr><td>{name}</td><td>{one.get('method', '')}</td>{numbers}<td>{state}</td></tr>"


def _footer(report: Report) -> str:
    spec = report.spec
    lines = [f"<p>{escape(spec.power)}</p>"]
    lines += [f"<p>Unreadable: {escape(note)}</p>" for note in report.power.get("unreadable", [])]
    if report.power.get("evidently"):
        lines.append(f"<p>{escape(report.power['evidently'])}</p>")
    if spec.artifacts.evidently:
        lines.append(f'<p><a href="{escape(spec.artifacts.evidently.rsplit("/", 1)[-1])}">Evidently\'s report</a></p>')
    reference = escape((spec.reference_digest or "")[:19])
    lines.append(f"<p>Engine {escape(spec.engine)}, reference <code>{reference}</code></p>")
    return f"<footer>{''.join(lines)}</footer>"


def _number(value: float | None) -> str:
    return "" if value is None else figure(value, 3)


def _chance(p: float | None) -> str:
    """A p-value: below 0.0001 more digits tell nobody more."""
    return "" if p is None else "&lt; 0.0001" if p < 1e-4 else figure(p, 2)  # noqa: PLR2004  the one in the words


def _clock(text: str, after: str | None = None) -> str:
    """`2026-01-31 06:00`; the time alone on the same day as `after`."""
    plain = text[:16].replace("T", " ")
    return plain[11:] if after is not None and text[:10] == after[:10] else plain
