"""The current window, counted against a profile: one pass, one column at a time."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gyre_crds.contracts.payload import PayloadColumn
from gyre_crds.contracts.profile import CategoryProfile, ColumnProfile, Profile
from gyre_crds.v1alpha1.drift import DriftMonitorSpec, Feature
from gyre_monitoring.counting import NumberCounter, bin_counts
from gyre_monitoring.profile import OURS
from gyre_monitoring.samples import TextSample, VectorSample
from gyre_monitoring.uncertainty import entropy, near_ties, scores
from gyre_monitoring.values import Counts, Floats, canonical, column_type, numbers, texts

_CELLS = 4096
_NAME = re.compile(r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")
_KEYS = 500_000  # enough keys to know the share of duplicates; memory stays bounded


@dataclass
class ColumnWindow:
    """One column of the window."""

    profile: ColumnProfile
    feature: Feature | None
    rows: int = 0
    """Rows seen, those that lack the column too."""
    absent: int = 0
    """Rows of parts that lack the column."""
    retyped: int = 0
    """Rows that hold another type."""
    found: str | None = None
    """That other type."""
    sample: VectorSample | TextSample | None = None
    """Rows of a vector or a text."""
    missing: int = 0
    infinite: int = 0
    unseen: int = 0
    """Rows of categories that the reference never had."""
    below: int = 0
    above: int = 0
    """Rows outside the declared min and max."""
    counts: Counts = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    """Rows in the profile's bins; of a category: its values, then the other known ones, then the unseen."""
    numbers: NumberCounter = field(default_factory=lambda: NumberCounter(_CELLS))

    @property
    def valid(self) -> int:
        """Rows with a usable value."""
        return int(self.counts.sum())


class WindowCounter:
    """Counts tables against a profile."""

    def __init__(self, profile: Profile, spec: DriftMonitorSpec) -> None:
        features = {feature.name: feature for feature in spec.features}
        watched = [*profile.columns, *(one for one in (profile.prediction, profile.score) if one)]
        self.columns = {one.name: ColumnWindow(one, features.get(one.name)) for one in watched}
        for column in self.columns.values():
            column.counts = np.zeros(_bins(column.profile), dtype=np.int64)
            column.sample = _sample(column.profile)
        self.uncertainty = ColumnWindow(profile.uncertainty.entropy, None) if profile.uncertainty else None
        if self.uncertainty is not None:
            self.uncertainty.counts = np.zeros(_bins(self.uncertainty.profile), dtype=np.int64)
        self.unsure = 0
        self.rows = 0
        self.extra: Counter[str] = Counter()
        self.versions: Counter[str] = Counter()
        self.keys: set[int] = set()
        self.keyed = 0
        self.first: float | None = None
        self.last: float | None = None

    def add(self, table: pa.Table, *, ignored: frozenset[str] = frozenset()) -> None:
        """Count a table; `ignored` names columns that are known not to be features (key, time, label)."""
        self.rows += table.num_rows
        for column in self.columns.values():
            _count(column, table)
        for name in table.column_names:
            if name not in self.columns and name not in ignored and not name.startswith(OURS):
                self.extra[name] += table.num_rows
        self._count_uncertainty(table)
        self._book(table)

    def _count_uncertainty(self, table: pa.Table) -> None:
        found = scores(table)
        if self.uncertainty is not None and found is not None:
            self.uncertainty.rows += table.num_rows
            self.unsure += near_ties(found)
            _count_numbers(self.uncertainty, entropy(found))

    def _book(self, table: pa.Table) -> None:
        names = table.column_names
        if PayloadColumn.KEY in names and len(self.keys) < _KEYS:
            present = texts(table[PayloadColumn.KEY]).drop_null()
            self.keyed += len(present)
            self.keys.update(map(hash, present.to_pylist()))
        if PayloadColumn.VERSION in names:
            self.versions.update(texts(table[PayloadColumn.VERSION]).drop_null().to_pylist())
        if PayloadColumn.TIME in names and table.num_rows:
            seen = numbers(table[PayloadColumn.TIME])
            self.first = min(float(np.nanmin(seen)), self.first if self.first is not None else np.inf)
            self.last = max(float(np.nanmax(seen)), self.last if self.last is not None else -np.inf)

    def version(self, told: str | None) -> str | None:
        """The version that serves, or else that of most rows; None where that is no name of a version."""
        seen = [told] if told else [name for name, _ in self.versions.most_common(1)]
        return next((name for name in seen if _NAME.match(name)), None)

    @property
    def duplicates(self) -> float:
        """Share of keyed rows whose key came before in the window."""
        return 1.0 - len(self.keys) / self.keyed if self.keyed else 0.0


def count(
    tables: Iterable[pa.Table], profile: Profile, spec: DriftMonitorSpec, ignored: frozenset[str] = frozenset(),
) -> WindowCounter:  # fmt: skip
    """All tables of a window."""
    counter = WindowCounter(profile, spec)
    for table in tables:
        counter.add(table, ignored=ignored)
    return counter


def adapted(profile: Profile, spec: DriftMonitorSpec) -> Profile:
    """The profile with columns that the monitor calls categorical turned from numbers into categories."""
    wanted = {feature.name: feature.categorical for feature in spec.features if feature.categorical is not None}
    return profile.model_copy(update={"columns": [_recast(one, wanted) for one in profile.columns]})


def coded(profile: Profile) -> frozenset[str]:
    """Columns whose texts are counted by value."""
    columns = [*profile.columns, *([profile.prediction] if profile.prediction else [])]
    return frozenset(one.name for one in columns if one.kind == "Category" and one.type == "string")


def _recast(column: ColumnProfile, wanted: Mapping[str, bool]) -> ColumnProfile:
    number = column.number
    if not wanted.get(column.name) or column.kind != "Number" or number is None or not number.exact:
        return column
    category = CategoryProfile(
        values=[str(canonical(edge)) for edge in number.edges],
        counts=number.counts,
        losses=number.losses,
        labelled=number.labelled,
    )
    return column.model_copy(update={"kind": "Category", "number": None, "category": category})


def _bins(profile: ColumnProfile) -> int:
    if profile.category is not None:
        return len(profile.category.values) + 2
    return len(profile.number.edges) if profile.number else 0


def _count(column: ColumnWindow, table: pa.Table) -> None:
    rows = table.num_rows
    column.rows += rows
    if column.profile.name not in table.column_names:
        column.absent += rows
        return
    data = table[column.profile.name].combine_chunks()
    kind = column_type(data.type)
    if kind == "nothing" or data.null_count == rows:
        column.missing += rows
    elif kind != column.profile.type and not _label_like(column.profile):
        column.retyped += rows - data.null_count
        column.missing += data.null_count
        column.found = kind
    elif column.profile.kind == "Category":
        _count_categories(column, data)
    elif isinstance(column.sample, VectorSample):
        _count_vectors(column, column.sample, data)
    else:
        _count_numbers(column, numbers(data if kind != "string" else pc.utf8_length(texts(data))))
        if isinstance(column.sample, TextSample):
            column.sample.add(texts(data))


def _sample(profile: ColumnProfile) -> VectorSample | TextSample | None:
    if profile.vector is None:
        return None
    return VectorSample(profile.vector.dimension) if profile.kind == "Vector" else TextSample()


def _count_vectors(column: ColumnWindow, sample: VectorSample, data: pa.Array) -> None:
    missing, wrong = sample.missing, sum(sample.wrong.values())
    sample.add(data)
    column.missing += sample.missing - missing
    column.retyped += sum(sample.wrong.values()) - wrong
    if sample.wrong:
        column.found = f"a vector of {max(sample.wrong, key=lambda one: sample.wrong[one])} numbers"
    column.counts = np.array([sample.reservoir.rows], dtype=np.int64)


def _label_like(profile: ColumnProfile) -> bool:
    """Predicted classes are compared by name: a server may write 1 where the reference has "1"."""
    return profile.name == PayloadColumn.PREDICTION and profile.kind == "Category"


def _count_categories(column: ColumnWindow, data: pa.Array) -> None:
    profile = column.profile.category
    if profile is None:
        return
    distinct, rows, missing = _distinct(data)
    column.missing += missing
    index = pc.index_in(distinct, pa.array(profile.values, pa.string()))
    held = index.is_valid().to_numpy(zero_copy_only=False)
    known = np.bincount(index.drop_null().to_numpy(), rows[held], minlength=len(profile.values))
    unknown = int(rows.sum() - known.sum())
    # Rare categories were folded into one count: an unknown value may be one of them, so it is new only without a fold.
    tail = [unknown, 0] if profile.other else [0, unknown]
    column.unseen += tail[1]
    column.counts += np.append(known, tail).astype(np.int64)
    if column.feature is not None and column_type(data.type) == "number":
        _count_range(column, np.sort(numbers(data)))


def _distinct(data: pa.Array) -> tuple[pa.Array, Counts, int]:
    """Values in the form they are compared in, how many rows hold each, and how many hold none.

    A value may stand several times. Of a dictionary, only its entries are looked at.
    """
    if not pa.types.is_dictionary(data.type):
        data = texts(data).dictionary_encode()
    codes = data.indices.drop_null().to_numpy()
    rows = np.bincount(codes, minlength=len(data.dictionary))
    names = texts(data.dictionary)
    kept = names.is_valid().to_numpy(zero_copy_only=False)
    return names.drop_null(), rows[kept], len(data) - int(rows[kept].sum())


def _count_numbers(column: ColumnWindow, values: Floats) -> None:
    part = column.numbers.add(values)
    column.missing += part.missing
    column.infinite += part.infinite
    if column.counts.size:
        edges = column.profile.number.edges if column.profile.number else []
        column.counts += bin_counts(part.finite, np.asarray(edges))
    _count_range(column, part.finite)


def _count_range(column: ColumnWindow, ordered: Floats) -> None:
    if column.feature is None or column.profile.kind == "Text":
        return
    ordered = ordered[np.isfinite(ordered)]
    if column.feature.min is not None:
        column.below += int(np.searchsorted(ordered, column.feature.min, side="left"))
    if column.feature.max is not None:
        column.above += int(ordered.size - np.searchsorted(ordered, column.feature.max, side="right"))
