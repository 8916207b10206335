"""Small pictures as SVG: a column's two distributions, a loss with its bounds, the strip of past looks."""

from collections.abc import Sequence
from html import escape
from typing import Any

WIDTH, HEIGHT = 264, 92
_BASE = 76
_TOP = 6
_CHARACTERS = 9
_LABELLED = 12  # so few bars have a name each


def distribution(histogram: dict[str, Any]) -> str:
    """Reference as grey ground, the window as coloured bars before it."""
    before, now = histogram.get("reference", []), histogram.get("current", [])
    if not before:
        return ""
    peak = max([*before, *now, 1e-9])
    step = WIDTH / len(before)
    numeric = bool(histogram.get("numeric"))
    parts = [_line(0, _BASE + 0.5, WIDTH, _BASE + 0.5, "axis")]
    for at, (old, new) in enumerate(zip(before, now, strict=True)):
        parts += _bars(at * step, step, old / peak, new / peak, numeric=numeric)
    parts += _ends(histogram["labels"], step, numeric=numeric)
    label = "distribution in training (grey) and in this window (coloured)"
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def interval(performance: dict[str, Any]) -> str:
    """The metric in training, estimated and realized, the realized one with its bounds."""
    reference, realized = performance.get("reference"), performance.get("realized")
    estimated = performance.get("estimated")
    known = [one for one in (reference, realized, estimated) if one is not None]
    if not known or reference is None:
        return ""
    span = _bounds(performance)
    low, high = min([*known, *span]), max([*known, *span])
    room = (high - low) * 0.12 or max(abs(low) * 0.05, 0.01)
    low, high = low - room, high + room

    def x(value: float) -> float:
        return float(round(16 + (value - low) / (high - low) * (600 - 32), 1))

    parts = [_line(16, 46, 584, 46, "axis")]
    if len(span) == 2:  # noqa: PLR2004  lower and upper
        parts.append(_line(x(span[0]), 46, x(span[1]), 46, "range"))
    marks = [("training", reference, "mark-ref", 20), ("estimated", estimated, "mark-est", 20)]
    marks.append(("realized", realized, "mark-now", 78))
    for name, value, style, y in marks:
        if value is not None:
            parts.append(f'<circle cx="{x(value)}" cy="46" r="6.5" class="{style}"/>')
            anchor = _anchor(x(value))
            row = y if name != "estimated" else (78 if realized is None else 96)
            text = f"{name} {value:.4g}"
            parts.append(f'<text x="{x(value)}" y="{row}" text-anchor="{anchor}" class="point">{text}</text>')
    return f'<svg viewBox="0 0 600 104" class="interval" role="img" aria-label="performance">{"".join(parts)}</svg>'


def strip(looks: Sequence[tuple[str, str, str]]) -> str:
    """One cell a look, oldest first: (class, title, label below or empty)."""
    size, gap = 16, 4
    cells = [
        f'<rect x="{at * (size + gap)}" y="0" width="{size}" height="{size}" rx="4" class="{style}">'
        f"<title>{escape(title)}</title></rect>"
        for at, (style, title, _) in enumerate(looks)
    ]
    width = max(len(looks) * (size + gap), 1)
    box = f'viewBox="0 0 {width} {size}" width="{width}" height="{size}"'
    return f'<svg {box} role="img" aria-label="verdicts of the last looks" class="strip">{"".join(cells)}</svg>'


def _bars(x: float, step: float, old: float, new: float, *, numeric: bool) -> list[str]:
    height = _BASE - _TOP
    gap = 0.5 if numeric else step * 0.14
    width = step - 2 * gap
    back = _rect(x + gap, _BASE - old * height, width, old * height, "ref")
    inset = width * (0.18 if numeric else 0.26)
    front = _rect(x + gap + inset, _BASE - new * height, width - 2 * inset, new * height, "now")
    return [back, front]


def _ends(labels: Sequence[Any], step: float, *, numeric: bool) -> list[str]:
    if numeric and len(labels) > _LABELLED:
        middle = labels[len(labels) // 2]
        places = [(0.0, labels[0], "start"), (WIDTH / 2, middle, "middle"), (float(WIDTH), labels[-1], "end")]
        return [_text(x, f"{value:.4g}", anchor) for x, value, anchor in places]
    labels = [f"{one:.4g}" if isinstance(one, float) else one for one in labels]
    room = max(2, int(_CHARACTERS * 5 / max(len(labels), 1)))
    return [_text((at + 0.5) * step, _short(str(label), room), "middle") for at, label in enumerate(labels)]


def _bounds(performance: dict[str, Any]) -> list[float]:
    """The loss's bounds turned back to the metric, as positions of the realized value."""
    reference, realized = performance.get("reference"), performance.get("realized")
    lower, upper = performance.get("lower"), performance.get("upper")
    if None in {reference, realized, lower, upper} or lower is None or upper is None or realized is None:
        return []
    half = (upper - lower) / 2
    return [realized - half, realized + half]


def _anchor(x: float) -> str:
    return "start" if x < 90 else "end" if x > 510 else "middle"  # noqa: PLR2004  near the ends of 600 units


def _short(text: str, room: int) -> str:
    return text if len(text) <= room else text[: max(room - 1, 1)] + "…"


def _rect(x: float, y: float, width: float, height: float, style: str) -> str:
    size = f'width="{max(width, 0.5):.1f}" height="{max(height, 0):.1f}"'
    return f'<rect x="{x:.1f}" y="{y:.1f}" {size} rx="1" class="{style}"/>'


def _line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" class="{style}"/>'


def _text(x: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{HEIGHT - 3}" text-anchor="{anchor}" class="tick">{escape(text)}</text>'
