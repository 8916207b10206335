"""Where in a column the model errs: losses by bin, what tells a moved input from a changed concept."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gyre_crds.contracts.profile import ColumnProfile
from gyre_monitoring.values import Bools, Counts, Floats, column_type, numbers, texts

OUTSIDE = -1
"""Bin of a value that the reference never had."""


class LossLedger:
    """Sums of losses and labelled rows of every bin of every column."""

    def __init__(self, profiles: Mapping[str, ColumnProfile]) -> None:
        self._profiles = profiles
        self._sums = {name: np.zeros(_size(profile)) for name, profile in profiles.items() if _size(profile)}
        self._rows = {name: np.zeros(sums.size, dtype=np.int64) for name, sums in self._sums.items()}

    def add(self, table: pa.Table, losses: Floats, keep: Bools) -> None:
        """Book the losses of the rows of a table that `keep` marks."""
        for name, sums in self._sums.items():
            if name not in table.column_names:
                continue
            index = bin_index(self._profiles[name], table[name])[keep]
            inside = index >= 0
            self._sums[name] += np.bincount(index[inside], weights=losses[inside], minlength=sums.size)
            self._rows[name] += np.bincount(index[inside], minlength=sums.size)

    def profiles(self) -> dict[str, ColumnProfile]:
        """The profiles, each with its losses."""
        return {name: self._with(profile) for name, profile in self._profiles.items()}

    def _with(self, profile: ColumnProfile) -> ColumnProfile:
        if profile.name not in self._sums or not self._rows[profile.name].any():
            return profile
        update = {"losses": self._sums[profile.name].tolist(), "labelled": self._rows[profile.name].tolist()}
        if profile.number is not None:
            return profile.model_copy(update={"number": profile.number.model_copy(update=update)})
        shape = profile.category
        return profile.model_copy(update={"category": shape and shape.model_copy(update=update)})


def bin_index(profile: ColumnProfile, column: pa.Array | pa.ChunkedArray) -> Counts:
    """Each row's bin in the profile; OUTSIDE for missing values, new categories, and beyond the range."""
    if profile.kind == "Category" and profile.category is not None:
        known = pa.array(profile.category.values, pa.string())
        found = pc.fill_null(pc.index_in(texts(column), known), OUTSIDE)
        return np.asarray(found.to_numpy(zero_copy_only=False), dtype=np.int64)
    number = profile.number
    if number is None or not number.edges:
        return np.full(len(column), OUTSIDE, dtype=np.int64)
    values = numbers(pc.utf8_length(texts(column)) if column_type(column.type) == "string" else column)
    index = np.searchsorted(np.asarray(number.edges), values, side="left").astype(np.int64)
    beyond = ~np.isfinite(values) | (values < number.min) | (values > number.max)
    index[beyond] = OUTSIDE
    return index


def _size(profile: ColumnProfile) -> int:
    shape = profile.number or profile.category
    return len(shape.counts) if shape else 0
