"""Small pictures as SVG: a column's two distributions, a loss with its bounds, the strip of past looks."""

from collections.abc import Sequence
from html import escape
from typing import Any

from gyre_monitoring.figures import figure

WIDTH, HEIGHT = 264, 96
_SPAN = 420
"""Width of the performance's picture: so narrow that its words can be read on a phone."""
_LEAST_SPAN = 0.1
"""Of the reference, what the picture shows at least: a difference of nothing must not look like one."""
_BASE = 76
_LETTER = 6.2
_TOP = 6
_CHARACTERS = 36
"""Letters that fit below a picture."""
_LEAST_LETTERS = 6
"""Of a name that is cut: fewer tell nobody which one it is."""
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
        title = f"<title>{_place(histogram['labels'], at, numeric=numeric)}: training {old:.1%}, now {new:.1%}</title>"
        parts += ["<g>", title, *_bars(at * step, step, old / peak, new / peak, numeric=numeric), "</g>"]
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
    room = max((high - low) * 0.12, (_LEAST_SPAN * abs(reference) - (high - low)) / 2, 1e-9)
    low, high = low - room, high + room

    def x(value: float) -> float:
        return float(round(16 + (value - low) / (high - low) * (_SPAN - 32), 1))

    parts = [_line(16, 46, _SPAN - 16, 46, "axis")]
    if len(span) == 2:  # noqa: PLR2004  lower and upper
        parts.append(_line(x(span[0]), 46, x(span[1]), 46, "range"))
    # The reference is a stroke, so that a mark that lies on it hides nothing.
    parts.append(_line(x(reference), 30, x(reference), 62, "mark-ref"))
    marks = [("training", reference, "", 20), ("estimated", estimated, "mark-est", 78 if realized is None else 98)]
    marks.append(("realized", realized, "mark-now", 78))
    for name, value, style, y in marks:
        if value is None:
            continue
        if style:
            parts.append(f'<circle cx="{x(value)}" cy="46" r="6.5" class="{style}"/>')
        text = f"{name} {figure(value)}"
        parts.append(f'<text x="{x(value)}" y="{y}" text-anchor="{_anchor(x(value))}" class="point">{text}</text>')
    box = f'viewBox="0 0 {_SPAN} {84 if realized is None else 104}"'
    return f'<svg {box} class="interval" role="img" aria-label="performance">{"".join(parts)}</svg>'


def strip(looks: Sequence[tuple[str, str]]) -> str:
    """One cell a look, oldest first: (class, title). They wrap where the page is narrow."""
    cells = [f'<i class="{style}" title="{escape(title)}"></i>' for style, title in looks]
    return f'<p class="strip" role="img" aria-label="verdicts of the last looks">{"".join(cells)}</p>'


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
        return [_text(x, figure(value), anchor) for x, value, anchor in places]
    names = [_name(one) for one in labels]
    room = _CHARACTERS // max(len(names), 1)
    every = 1
    if any(len(name) > max(room, 1) for name in names):  # names that do not fit: only some of them, longer
        every = max(1, -(-_LEAST_LETTERS * len(names) // _CHARACTERS))
    chosen = range(0, len(names), every)
    room = _CHARACTERS // max(len(chosen), 1)
    return [_label((at + 0.5) * step, _short(names[at], room)) for at in chosen]


def _label(x: float, text: str) -> str:
    """A name below its bar, kept within the picture."""
    half = len(text) * _LETTER / 2
    if x < half:
        return _text(0, text, "start")
    return _text(WIDTH, text, "end") if x > WIDTH - half else _text(x, text, "middle")


def _name(label: Any) -> str:
    return figure(label) if isinstance(label, float) else str(label)


def _place(labels: Sequence[Any], at: int, *, numeric: bool) -> str:
    """Which bar it is, in words."""
    text = _name(labels[at])
    return escape(f"around {text}" if numeric and len(labels) > _LABELLED else text)


def _bounds(performance: dict[str, Any]) -> list[float]:
    """The loss's bounds turned back to the metric, as positions of the realized value."""
    reference, realized = performance.get("reference"), performance.get("realized")
    lower, upper = performance.get("lower"), performance.get("upper")
    if None in {reference, realized, lower, upper} or lower is None or upper is None or realized is None:
        return []
    half = (upper - lower) / 2
    return [realized - half, realized + half]


def _anchor(x: float) -> str:
    return "start" if x < 80 else "end" if x > _SPAN - 80 else "middle"  # noqa: PLR2004  half a label's width


def _short(text: str, room: int) -> str:
    return text if len(text) <= room else text[: max(room - 1, 1)] + "…"


def _rect(x: float, y: float, width: float, height: float, style: str) -> str:
    size = f'width="{max(width, 0.5):.1f}" height="{max(height, 0):.1f}"'
    return f'<rect x="{x:.1f}" y="{y:.1f}" {size} rx="1" class="{style}"/>'


def _line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" class="{style}"/>'


def _text(x: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{HEIGHT - 3}" text-anchor="{anchor}" class="tick">{escape(text)}</text>'
