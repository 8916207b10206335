"""Earlier looks as the baseline of this one: what is normal here, autocorrelation and season included."""

import json
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby

import numpy as np
from pydantic import ValidationError

from gyre_crds.contracts.task import Report
from gyre_monitoring.errors import InputError
from gyre_monitoring.parts import Span
from gyre_monitoring.seasons import seasons
from gyre_monitoring.store import Store
from gyre_monitoring.values import Floats

ENOUGH = 20
"""Healthy windows from which on history, not theory, draws the line."""
_LIMIT = 300
_SEASON = 60
"""Most older windows of each season that are read besides."""
_DRAWS = 400
_SEED = 7
_MAD = 1.4826
_BROKEN = frozenset({"SchemaBreak", "QualityIncident"})
_SHIFTS = frozenset({"CovariateShift", "PredictionShift"})
_PROVEN = frozenset({"ConceptDrift", "PerformanceLoss"})
_CAUSED = frozenset({"InsufficientData", "SchemaBreak", "QualityIncident"}) | _PROVEN


@dataclass(frozen=True)
class Past:
    """One earlier look."""

    start: datetime
    end: datetime
    verdict: str
    rows: int
    statistics: Mapping[str, float] = field(default_factory=dict)
    moved: bool = False
    """Whether an input drifted in it, whatever its verdict was."""
    version: str | None = None
    """The version that answered most of its rows."""

    @property
    def shifted(self) -> bool:
        """Whether inputs or predictions moved in it."""
        return self.moved or self.verdict in _SHIFTS


@dataclass(frozen=True)
class Baseline:
    """What earlier windows say of chance."""

    windows: int
    """Windows used."""
    season: str | None
    """Which of them were used, in words; None for all."""
    centre: Mapping[str, float]
    spread: Mapping[str, float]
    limit: float
    """The line for the largest standardised statistic of a window."""
    achievable: float
    """The false-alarm rate that so many windows can vouch for."""

    def excess(self, name: str, value: float, noise: float) -> float:
        """How far a statistic lies above its own past, in spreads; `noise` is its least spread by theory."""
        if name not in self.centre:
            return math.inf
        return (value - self.centre[name]) / max(self.spread[name], noise, 1e-12)


def broken_spans(past: Sequence[Past]) -> list[Span]:
    """Windows whose data were broken: their labels speak of the fault, not of the model."""
    return [Span(one.start, one.end) for one in past if one.verdict in _BROKEN]


def moved_spans(past: Sequence[Past]) -> list[Span]:
    """Windows whose inputs were elsewhere: their labels speak of that population."""
    return [Span(one.start, one.end) for one in past if one.moved]


def first_proven(past: Sequence[Past], before: datetime, version: str | None) -> datetime | None:
    """End of the window that first proved the loss under way of a version; None where none did since a healthy one.

    With a reference of its own a monitor's history goes on over versions, and another one's alarm says nothing.
    """
    first = None
    for one in reversed([one for one in past if one.end <= before and one.version == version]):
        if one.verdict == "Healthy":
            break
        if one.verdict in _PROVEN:
            first = one.end
    return first


def run_start(past: Sequence[Past], now: datetime) -> datetime:
    """Since when inputs have been moving, window after window up to `now`."""
    start = now
    for one in reversed(past):
        if not one.moved:
            break
        start = one.start
    return start


def load(store: Store, prefix: str, before: datetime, digest: str, match: Sequence[str] = ()) -> list[Past]:
    """Earlier reports against the same reference, oldest first; what cannot be read is left out.

    Of older windows than the latest 300 only those of the same season are read: a week is long.
    """
    uris = _wanted([uri for uri in store.list(prefix) if uri.endswith("/report.json")], before, match)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda uri: _read(store, uri), uris))
    return chosen([report for report in found if report], before, digest)


def _wanted(uris: list[str], before: datetime, match: Sequence[str]) -> list[str]:
    older = [(uri, at) for uri in uris[:-_LIMIT] if (at := _window_start(uri)) is not None and at < before]
    kept: dict[str, None] = {}
    for season in seasons(match):
        same = [uri for uri, at in older if season.key(at) == season.key(before)]
        kept |= dict.fromkeys(same[-_SEASON:])
    return [*sorted(kept), *uris[-_LIMIT:]]


def _window_start(uri: str) -> datetime | None:
    """A report lies in a folder that is named after the start of its window."""
    try:
        return datetime.fromisoformat(uri.rsplit("/", 2)[-2])
    except (ValueError, IndexError):
        return None


def chosen(reports: Sequence[Report], before: datetime, digest: str) -> list[Past]:
    """The reports that speak of earlier windows and the same reference."""
    past = [
        Past(
            start=datetime.fromisoformat(one.spec.window.start),
            end=datetime.fromisoformat(one.spec.window.end),
            verdict=one.spec.verdict,
            rows=one.spec.window.rows,
            statistics=one.statistics,
            moved=bool(one.spec.drift_share),
            version=one.spec.version,
        )
        for one in reports
        if one.spec.reference_digest == digest
    ]
    return sorted((one for one in past if one.start < before), key=lambda one: one.start)


def baseline(
    past: Sequence[Past], start: datetime, rate: float, noise: Mapping[str, float], match: Sequence[str] = (),
) -> Baseline | None:  # fmt: skip
    """The baseline of a window; None while fewer than 20 windows can be used."""
    usable, season = _matched(quiet(past), start, match)
    if len(usable) < ENOUGH:
        return None
    names = [name for name in noise if all(name in one.statistics for one in usable)]
    if not names:
        return None
    matrix = np.array([[one.statistics[name] for name in names] for one in usable])
    centre = np.median(matrix, axis=0)
    spread = np.maximum(_MAD * np.median(np.abs(matrix - centre), axis=0), [noise[name] for name in names])
    largest = ((matrix - centre) / np.maximum(spread, 1e-12)).max(axis=1)
    return Baseline(
        windows=len(usable),
        season=season,
        centre=dict(zip(names, centre.tolist(), strict=True)),
        spread=dict(zip(names, spread.tolist(), strict=True)),
        limit=_line(largest, rate),
        achievable=max(rate, 1.0 / (len(usable) + 1)),
    )


def _matched(usable: list[Past], start: datetime, match: Sequence[str]) -> tuple[list[Past], str | None]:
    """The windows of the closest season that has enough of them, or all."""
    for season in seasons(match):
        same = [one for one in usable if season.key(one.start) == season.key(start)]
        if ENOUGH <= len(same) < len(usable):
            return same, season.words
    return usable, None


def quiet(past: Sequence[Past]) -> list[Past]:
    """The windows that say what chance does.

    A window that alarmed for a cause of its own (a broken schema, a proven loss) is out, and so is a
    run of shifted windows in which labels proved a loss. A shift without such a cause stays in, or the
    line would only ever ratchet down; but the run under way is held back until it is as long as a
    baseline itself.
    """
    runs = [(moved, list(group)) for moved, group in groupby(_judgeable(past), key=lambda one: one.shifted)]
    kept = []
    for at, (moved, run) in enumerate(runs):
        proven = any(one.verdict in _PROVEN for one in run)
        last = at == len(runs) - 1
        if moved and (proven or last):
            run = [] if proven else run[: max(len(run) - ENOUGH, 0)]  # noqa: PLW2901
        kept += run
    return [one for one in kept if one.verdict not in _CAUSED]


def _judgeable(past: Sequence[Past]) -> list[Past]:
    """Windows that had data to judge: a broken hour does not end a run of shifted ones."""
    return [one for one in past if one.verdict not in _CAUSED - _PROVEN]


def _line(largest: Floats, rate: float) -> float:
    """Upper bound of the (1 - rate) quantile by block resampling, and never below median + 3 MAD.

    Blocks of N^(1/3) windows keep neighbours together, so autocorrelated windows do not pass for
    more evidence than they are.
    """
    size = largest.size
    length = max(1, round(size ** (1 / 3)))
    generator = np.random.default_rng(_SEED)
    starts = generator.integers(0, size, size=(_DRAWS, math.ceil(size / length)))
    index = (starts[:, :, None] + np.arange(length)).reshape(_DRAWS, -1)[:, :size] % size
    quantile = np.quantile(largest[index], 1 - rate, axis=1, method="higher")
    centre = float(np.median(largest))
    robust = centre + 3 * _MAD * float(np.median(np.abs(largest - centre)))
    return max(float(np.quantile(quantile, 0.95)), robust)


def _read(store: Store, uri: str) -> Report | None:
    try:
        return Report.model_validate(json.loads(store.read(uri)))
    except (ValidationError, ValueError, InputError):
        return None
