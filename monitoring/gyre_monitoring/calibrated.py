"""What calibrated scores say of auc, f1, log loss and the Brier score without labels.

Each bin of scores keeps the share of positives that the reference saw in it; a window only changes how many
rows fall into which bin. A change of that share is concept drift, and these estimates are blind to it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from gyre_crds.contracts.profile import Calibration, ColumnProfile, Profile
from gyre_monitoring.profile import score_bins
from gyre_monitoring.values import Counts, Floats
from gyre_monitoring.window import ColumnWindow

_DRAWS = 300
_SEED = 11
_CLIP = 1e-6
_LEAST_ROWS = 100


class Change(NamedTuple):
    """A metric by score bins, for the reference and for the window, and the standard error of the difference."""

    before: float
    after: float
    error: float


@dataclass(frozen=True)
class _Side:
    """The rows of one side in the bins of the calibration."""

    rows: int
    weights: Floats
    """Share of rows, (bins,)."""
    log_yes: Floats
    """Mean logarithm of the score, (bins,)."""
    log_no: Floats
    """Mean logarithm of one minus the score, (bins,)."""
    square_yes: Floats
    """Mean square of one minus the score, (bins,)."""
    square_no: Floats
    """Mean square of the score, (bins,)."""
    called: Floats
    """Share of each bin that the model calls positive, taken to be its highest scores, (bins,)."""


def change(profile: Profile, columns: dict[str, ColumnWindow], metric: str) -> Change | None:
    """The metric by calibrated scores; None without calibration, scores, or what else the metric needs."""
    score, known = profile.score, profile.calibration
    if metric not in _METRICS or known is None or score is None or score.number is None or score.name not in columns:
        return None
    window = columns[score.name]
    if window.valid < _LEAST_ROWS or sum(known.rows) < _LEAST_ROWS:
        return None
    counts = np.asarray(score.number.counts)
    answered = [_answered(profile, columns, now=now) for now in (False, True)]
    if metric == "f1" and None in answered:
        return None
    before, after = (
        _side(score, known, rows, share or 0.0) for rows, share in zip((counts, window.counts), answered, strict=True)
    )
    rows = np.maximum(np.asarray(known.rows, dtype=np.float64), 1.0)
    chance = np.asarray(known.positives) / rows
    measure = _METRICS[metric]
    return Change(
        before=float(measure(chance, before.weights, before.weights * before.called, before)),
        after=float(measure(chance, after.weights, after.weights * after.called, after)),
        error=_error(measure, chance, rows, (before, after)),
    )


def _error(measure: "_Measure", chance: Floats, rows: Floats, sides: tuple[_Side, _Side]) -> float:
    """Standard error of the difference: rows are drawn anew on each side, the shares of positives once for both.

    So are the rows called positive, or the error would leave out what moves f1 most where they are few.
    """
    generator = np.random.default_rng(_SEED)
    spread = np.sqrt(np.maximum(chance * (1 - chance), 0.25 / rows) / rows)
    drawn = np.clip(chance + generator.normal(size=(_DRAWS, chance.size)) * spread, 0.0, 1.0)
    before, after = (measure(drawn, *_redrawn(side, generator), side) for side in sides)
    return float(np.std(after - before))


def _redrawn(side: _Side, generator: np.random.Generator) -> tuple[Floats, Floats]:
    """Shares of all rows by bin, and of the rows called positive, (draws, bins) each."""
    rows = generator.multinomial(side.rows, side.weights, size=_DRAWS)
    return rows / side.rows, generator.binomial(rows, side.called) / side.rows


def _side(score: ColumnProfile, known: Calibration, counts: Counts, answered: float) -> _Side:
    edges = np.asarray(score.number.edges if score.number else [])
    bins = len(known.edges)
    index = score_bins(edges, np.asarray(known.edges))
    rows = np.bincount(index, weights=counts, minlength=bins)
    value = np.clip(edges, _CLIP, 1 - _CLIP)
    log_yes, log_no, square_yes, square_no = (
        np.bincount(index, weights=counts * loss, minlength=bins) / np.maximum(rows, 1.0)
        for loss in (np.log(value), np.log1p(-value), (1 - value) ** 2, value**2)
    )
    weights = rows / rows.sum()
    above = np.cumsum(weights[::-1])[::-1] - weights
    called = np.clip((answered - above) / np.maximum(weights, 1e-12), 0.0, 1.0)
    return _Side(int(rows.sum()), weights, log_yes, log_no, square_yes, square_no, called)


def _answered(profile: Profile, columns: dict[str, ColumnWindow], *, now: bool) -> float | None:
    prediction, positive = profile.prediction, profile.positive
    if prediction is None or prediction.category is None or positive not in prediction.category.values:
        return None
    at = prediction.category.values.index(positive)
    if not now:
        return prediction.category.counts[at] / max(sum(prediction.category.counts), 1)
    window = columns.get(prediction.name)
    return int(window.counts[at]) / window.valid if window is not None and window.valid else None


def _auc(chance: Floats, weights: Floats, called: Floats, side: _Side) -> Floats:
    """Chance that a positive lies in a higher bin than a negative, ties half."""
    del called, side
    yes, no = chance * weights, (1 - chance) * weights
    below = np.cumsum(no, axis=-1) - no / 2
    pairs = yes.sum(axis=-1) * no.sum(axis=-1)
    return np.asarray((yes * below).sum(axis=-1) / np.maximum(pairs, _CLIP))


def _f1(chance: Floats, weights: Floats, called: Floats, side: _Side) -> Floats:
    del side
    hits = (chance * called).sum(axis=-1)
    return np.asarray(2 * hits / np.maximum((called + chance * weights).sum(axis=-1), _CLIP))


def _log_loss(chance: Floats, weights: Floats, called: Floats, side: _Side) -> Floats:
    del called
    return np.asarray(-(weights * (chance * side.log_yes + (1 - chance) * side.log_no)).sum(axis=-1))


def _brier(chance: Floats, weights: Floats, called: Floats, side: _Side) -> Floats:
    del called
    return np.asarray((weights * (chance * side.square_yes + (1 - chance) * side.square_no)).sum(axis=-1))


_Measure = Callable[[Floats, Floats, Floats, _Side], Floats]
_METRICS: dict[str, _Measure] = {"auc": _auc, "f1": _f1, "logLoss": _log_loss, "brier": _brier}
