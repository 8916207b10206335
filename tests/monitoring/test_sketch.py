"""The order-free histogram: exact while it can be, bounded when it must, the same in any order."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gyre_monitoring.sketch import Sketch, quantiles

FINITE = st.floats(allow_nan=False, allow_infinity=False)
ARRAYS = hnp.arrays(np.float64, st.integers(1, 200), elements=FINITE)


def sketch(*parts: np.ndarray[tuple[int], np.dtype[np.float64]], cells: int = 64) -> Sketch:
    """A sketch that saw these parts, one after the other."""
    made = Sketch(cells)
    for part in parts:
        made.add(np.sort(part))
    return made


@given(ARRAYS, st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_order_and_chunks_do_not_matter(values: np.ndarray[tuple[int], np.dtype[np.float64]], random: object) -> None:
    """Whatever order values come in, and however they are cut, the cells are the same to the last bit."""
    shuffled = values.copy()
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    cut = len(values) // 3
    one, other = sketch(values).cells(), sketch(shuffled[:cut], shuffled[cut:]).cells()
    assert np.array_equal(one[0], other[0])
    assert np.array_equal(one[1], other[1])


@given(ARRAYS, ARRAYS)
@settings(max_examples=150, deadline=None)
def test_merging_is_counting_both(
    left: np.ndarray[tuple[int], np.dtype[np.float64]], right: np.ndarray[tuple[int], np.dtype[np.float64]]
) -> None:
    """Two sketches merged equal one sketch of all values."""
    merged = sketch(left)
    merged.merge(sketch(right))
    whole = sketch(left, right)
    assert np.array_equal(merged.cells()[0], whole.cells()[0])
    assert np.array_equal(merged.cells()[1], whole.cells()[1])
    assert merged.rows == left.size + right.size


@given(ARRAYS)
@settings(max_examples=100, deadline=None)
def test_memory_is_bounded_and_no_row_is_lost(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> None:
    """At most as many cells as asked for, and their counts add up."""
    cells, counts = sketch(values, cells=16).cells()
    assert cells.size <= 16
    assert counts.sum() == values.size
    assert (np.diff(cells) > 0).all()


def test_few_values_stay_exact() -> None:
    """Ages keep their values; minus zero is zero."""
    made = sketch(np.array([42.0, -0.0, 0.0, 17.0, 42.0]))
    values, counts = made.cells()
    assert values.tolist() == [0.0, 17.0, 42.0]
    assert counts.tolist() == [2, 1, 2]
    assert made.exact


def test_quantiles_of_a_million_are_close_in_rank() -> None:
    """16,384 cells place every percentile of a lognormal million within a tenth of a percent of rank."""
    values = np.random.default_rng(0).lognormal(0, 3, 1_000_000)
    made = sketch(*np.array_split(values, 17), cells=16_384)
    found = quantiles(*made.cells(), np.linspace(0.01, 0.99, 99))
    ranks = np.searchsorted(np.sort(values), found) / values.size
    assert np.abs(ranks - np.linspace(0.01, 0.99, 99)).max() < 0.001


def test_large_offset_keeps_resolution() -> None:
    """Times near 1.7e9 with a spread of an hour are told apart by seconds."""
    values = 1.7e9 + np.random.default_rng(1).uniform(0, 3600, 200_000)
    found = quantiles(*sketch(values, cells=16_384).cells(), np.array([0.25, 0.5, 0.75]))
    assert np.abs(found - 1.7e9 - [900, 1800, 2700]).max() < 30
