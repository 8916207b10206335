"""The statistics against scipy, against their null laws, and against the traps that other libraries fell into."""

import math

import numpy as np
import pytest
from scipy import stats  # type: ignore[import-untyped]

from gyre_monitoring.counting import bin_counts
from gyre_monitoring.stats import special
from gyre_monitoring.stats.bins import Pair, pooled, quantile_bins
from gyre_monitoring.stats.methods import FLOORS, METHODS, Measure
from gyre_monitoring.stats.multiple import adjusted
from gyre_monitoring.values import Floats

EDGES = np.unique(np.quantile(np.random.default_rng(0).normal(size=5000), np.linspace(0, 1, 257)[1:]))


def counts(values: Floats) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Fine counts of values on the edges of a normal reference."""
    return bin_counts(np.sort(values), EDGES)


def measured(method: str, current: Floats, reference: Floats | None = None, floor: float = 0.0) -> Measure:
    """A method on two samples, by default with no tolerated shift."""
    reference = np.random.default_rng(0).normal(size=5000) if reference is None else reference
    return METHODS[method](Pair(counts(reference), counts(current)), EDGES, floor)


@pytest.mark.parametrize("df", [1, 4, 9, 30])
@pytest.mark.parametrize("x", [0.1, 3.0, 20.0, 80.0])
def test_chi_square_tails_equal_scipy(df: int, x: float) -> None:
    """The tail that every p-value stands on agrees with scipy to nine digits."""
    assert special.chi2_sf(x, df) == pytest.approx(stats.chi2.sf(x, df), rel=1e-9, abs=1e-300)


def test_other_tails_equal_scipy() -> None:
    """Kolmogorov's law, normal quantiles and the inverse chi-square agree with scipy."""
    assert special.kolmogorov_sf(0.9) == pytest.approx(stats.kstwobign.sf(0.9), rel=1e-9)
    assert special.kolmogorov_sf(0.1) == 1.0
    assert special.normal_quantile(0.992) == pytest.approx(stats.norm.ppf(0.992), rel=1e-9)
    assert special.normal_sf(2.5) == pytest.approx(stats.norm.sf(2.5), rel=1e-9)
    assert special.chi2_isf(1e-4, 9) == pytest.approx(stats.chi2.isf(1e-4, 9), rel=1e-6)


@pytest.mark.parametrize("noncentrality", [1, 8, 50, 2000])
@pytest.mark.parametrize("share", [0.2, 0.01, 1e-4, 1e-6])
def test_noncentral_tail_is_close_and_never_too_bold(noncentrality: int, share: float) -> None:
    """Sankaran's approximation stays within 3 % below the truth, and above it in the far tail."""
    for df in (1, 3, 9):
        found = special.noncentral_sf(stats.ncx2.isf(share, df, noncentrality), df, noncentrality)
        assert found >= 0.97 * share
        if noncentrality >= 8:
            assert found <= 2.0 * share


def test_kolmogorov_smirnov_equals_scipy_on_the_stored_bins() -> None:
    """256 stored edges lose less than half a percentage point of the exact distance."""
    reference, current = np.random.default_rng(0).normal(size=5000), np.random.default_rng(1).normal(0.2, size=1000)
    exact = stats.ks_2samp(current, reference)
    ours = measured("KS", current, reference)
    assert ours.score == pytest.approx(exact.statistic, abs=0.005)
    assert math.log(ours.p_value) == pytest.approx(math.log(exact.pvalue), rel=0.15)


def test_chi_square_equals_scipys_contingency_test() -> None:
    """On the same pooled bins the two-sample statistic is scipy's."""
    pair = quantile_bins(Pair(counts(np.random.default_rng(0).normal(size=5000)),
                              counts(np.random.default_rng(2).normal(0.1, size=900))))  # fmt: skip
    ours = METHODS["ChiSquare"](pair, None, 0.0)
    theirs = stats.chi2_contingency(np.vstack(pair), correction=False)
    assert ours.p_value == pytest.approx(theirs.pvalue, rel=1e-9)


def test_wasserstein_equals_scipy_in_reference_deviations() -> None:
    """A shift of 0.3 deviations moves the earth by 0.3, but for what lies beyond the stored range."""
    current = np.random.default_rng(3).normal(0.3, size=20_000)
    exact = stats.wasserstein_distance(current, np.random.default_rng(0).normal(size=5000))
    assert measured("Wasserstein", current).score == pytest.approx(exact, abs=0.01)


@pytest.mark.parametrize("method", list(METHODS))
@pytest.mark.parametrize("rows", [300, 2000])
def test_p_values_are_calibrated_under_the_null(method: str, rows: int) -> None:
    """At nominal 5 %, no method alarms beyond 5 % plus three standard errors on samples of one population."""
    generator = np.random.default_rng(rows)
    repetitions = 400
    alarms = sum(
        measured(method, generator.normal(size=rows), generator.normal(size=5000)).p_value <= 0.05
        for _ in range(repetitions)
    )
    assert alarms / repetitions <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / repetitions)


@pytest.mark.parametrize("method", list(METHODS))
def test_every_method_finds_a_shift_of_a_third(method: str) -> None:
    """0.35 deviations in 2,000 rows is beyond the floor and beyond chance for every method."""
    found = measured(method, np.random.default_rng(5).normal(0.35, size=2000), floor=FLOORS[method])
    assert found.p_value < 1e-3
    assert found.effect >= FLOORS[method]


@pytest.mark.parametrize("method", ["PSI", "KL", "KS", "Wasserstein", "JensenShannon"])
def test_one_outlier_neither_hides_a_shift_nor_makes_one(method: str) -> None:
    """A value of 1e6 among 5,000 changes no statistic by more than a hair; equal-width bins lose 0.98 to 0.00007."""
    for shift in (0.0, 1.0):
        clean = np.random.default_rng(6).normal(shift, size=5000)
        spoiled = clean.copy()
        spoiled[17] = 1e6
        assert measured(method, spoiled).score == pytest.approx(measured(method, clean).score, abs=0.01)


def test_effect_is_debiased() -> None:
    """Chance makes a PSI of (bins - 1)(1/n + 1/m); the effect of equal populations averages to nothing."""
    generator = np.random.default_rng(8)
    found = [measured("PSI", generator.normal(size=500), generator.normal(size=5000)) for _ in range(200)]
    assert np.mean([one.score for one in found]) == pytest.approx(9 * (1 / 500 + 1 / 5000), rel=0.1)
    assert abs(np.mean([one.signed for one in found])) < 0.002


def test_sparse_categories_are_pooled() -> None:
    """Categories with fewer than five expected rows become one bin, and no row is lost."""
    pair = Pair(np.array([3000, 1900, 60, 20, 15, 5]), np.array([300, 190, 6, 2, 1, 1]))
    merged = pooled(pair)
    assert merged.reference.size == 3
    assert [int(side.sum()) for side in merged] == [5000, 500]


def test_many_categories_do_not_alarm_by_themselves() -> None:
    """100 rare categories at 200 rows keep the nominal 5 %; without pooling they alarm far oftener."""
    generator, shares = np.random.default_rng(9), np.random.default_rng(1).dirichlet(np.full(100, 0.4))
    pairs = [Pair(generator.multinomial(5000, shares), generator.multinomial(200, shares)) for _ in range(400)]
    alarms = sum(METHODS["ChiSquare"](pair, None, 0.0).p_value <= 0.05 for pair in pairs)
    assert alarms / 400 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 400)


def test_benjamini_hochberg_equals_scipy_and_weights_shift_the_burden() -> None:
    """Equal weights are the plain procedure; a heavy column needs less evidence, the others more."""
    p_values = np.array([0.001, 0.02, 0.03, 0.4, 0.9])
    assert adjusted(p_values) == pytest.approx(stats.false_discovery_control(p_values))
    weighted = adjusted(p_values, np.array([1.0, 5.0, 1.0, 1.0, 1.0]))
    assert weighted[1] < adjusted(p_values)[1]
    assert weighted[2] >= adjusted(p_values)[2]
