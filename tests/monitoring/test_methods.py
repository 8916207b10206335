"""Every method a monitor can name: the peers' number where the peers are right, and the user's threshold."""

import json
import math
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from scipy import stats  # type: ignore[import-untyped]
from scipy.spatial.distance import jensenshannon  # type: ignore[import-untyped]

from gyre_crds.v1alpha1.drift import Feature, Method
from gyre_monitoring.counting import bin_counts
from gyre_monitoring.power import least_effect
from gyre_monitoring.stats.bins import Pair, quantile_bins, smoothed
from gyre_monitoring.stats.methods import FLOORS, METHODS
from gyre_monitoring.values import Floats
from tests.monitoring.support.looks import look, monitor, normal_profile, normals

EVIDENTLY: dict[str, Any] = json.loads(
    (Path(__file__).parent / "samples" / "evidently-distances-0.7.23.json").read_text(encoding="utf-8")
)
"""What Evidently 0.7.23 says of one categorical and one numeric column."""
UNIT = {"JensenShannon": math.sqrt(math.log(2))}
"""Evidently takes the distance in nats; in bits, as here, its largest value is 1."""
PROFILE, CONTRACT = normal_profile(3)


def normal(rows: int, mean: float, std: float) -> Floats:
    """The quantiles of a normal law: a sample without chance."""
    return np.asarray(stats.norm.ppf((np.arange(rows) + 0.5) / rows, mean, std))


def numeric() -> tuple[Pair, Floats]:
    """The numeric pair of the golden file, on 256 edges."""
    sides = [normal(**EVIDENTLY["number"][side]) for side in ("reference", "current")]
    edges = np.quantile(sides[0], np.linspace(0, 1, 257)[1:])
    return Pair(*(bin_counts(side, edges) for side in sides)), edges


def test_the_engine_has_every_method_of_the_resource() -> None:
    """What DriftMonitor.spec.features[].method offers is what the engine can do, each with a default floor."""
    assert set(get_args(Method)) == set(METHODS) | {"MMD"}
    assert set(METHODS) == set(FLOORS)


@pytest.mark.parametrize("method", ["PSI", "JensenShannon", "KL", "Hellinger"])
def test_categories_score_as_with_evidently(method: str) -> None:
    """On full categories the score is Evidently's to 1 %: half a count of smoothing is all that differs."""
    golden = EVIDENTLY["category"]
    pair = Pair(np.array(golden["reference"]), np.array(golden["current"]))
    theirs = golden["scores"][method] / UNIT.get(method, 1.0)
    assert METHODS[method](pair, None, 0.0).score == pytest.approx(theirs, rel=0.01)


def test_the_p_values_of_categories_differ_from_evidently_by_the_references_own_chance() -> None:
    """Its chi-square takes the reference's shares as exact; ours is scipy's test of two samples, which is less sure.

    Its TVD is a p-value of a few permutations, so 0 here; ours is the distance, with a p-value beside it.
    """
    golden = EVIDENTLY["category"]
    before, now = np.array(golden["reference"]), np.array(golden["current"])
    exact = stats.chisquare(now, before / before.sum() * now.sum()).pvalue
    assert exact == pytest.approx(golden["p-values"]["chisquare"], rel=1e-6)
    ours = METHODS["ChiSquare"](Pair(before, now), None, 0.0).p_value
    both = stats.chi2_contingency(np.stack((before, now)), correction=False).pvalue
    assert math.log(ours) == pytest.approx(math.log(both), rel=0.01)
    assert ours > 10 * exact
    distance = METHODS["TVD"](Pair(before, now), None, 0.0)
    assert distance.score == pytest.approx(np.abs(before / before.sum() - now / now.sum()).sum() / 2)
    assert golden["p-values"]["TVD"] == 0.0
    assert 0.0 < distance.p_value < 1e-4


def test_numbers_score_as_with_evidently_where_it_bins_nothing() -> None:
    """Wasserstein to 0.01 reference deviations (theirs counts the tail beyond the range), KS to 1/256 of distance."""
    golden = EVIDENTLY["number"]
    pair, edges = numeric()
    theirs = golden["scores"]["Wasserstein"]
    assert METHODS["Wasserstein"](pair, edges, 0.0).score == pytest.approx(theirs, abs=0.01)
    distance = stats.ks_2samp(normal(**golden["reference"]), normal(**golden["current"])).statistic
    found = METHODS["KS"](pair, edges, 0.0)
    assert found.score == pytest.approx(distance, abs=1 / 256)
    assert math.log(found.p_value) == pytest.approx(math.log(golden["ks p-value"]), rel=0.1)


@pytest.mark.parametrize("method", ["PSI", "JensenShannon", "KL"])
def test_numbers_differ_from_evidently_by_its_bins_only(method: str) -> None:
    """Without outliers equal-width bins and quantile bins tell nearly the same; on equal bins they are scipy's."""
    pair, edges = numeric()
    theirs = EVIDENTLY["number"]["equal-width scores"][method] / UNIT.get(method, 1.0)
    assert METHODS[method](pair, edges, 0.0).score == pytest.approx(theirs, rel=0.3)


def test_distances_equal_scipy_on_the_same_bins() -> None:
    """KL, Jensen-Shannon, Hellinger and TVD are scipy's numbers, or their definition, on the bins we form."""
    pair, _ = numeric()
    merged = quantile_bins(pair)
    p, q = smoothed(merged.current), smoothed(merged.reference)
    score = {name: METHODS[name](merged, None, 0.0).score for name in METHODS}
    assert score["KL"] == pytest.approx(stats.entropy(q, p), rel=1e-9)
    assert score["PSI"] == pytest.approx(stats.entropy(q, p) + stats.entropy(p, q), rel=1e-9)
    assert score["JensenShannon"] == pytest.approx(jensenshannon(p, q, base=2), rel=1e-9)
    assert score["Hellinger"] == pytest.approx(math.sqrt(1 - np.sqrt(p * q).sum()), rel=1e-9)
    raw = [side / side.sum() for side in merged]
    assert score["TVD"] == pytest.approx(np.abs(raw[0] - raw[1]).sum() / 2, rel=1e-9)


def test_an_empty_bin_leaves_kl_finite() -> None:
    """A value that the window never has makes the unsmoothed divergence infinite; ours stays a number that alarms."""
    found = METHODS["KL"](Pair(np.array([500, 500]), np.array([500, 0])), None, FLOORS["KL"])
    assert math.isfinite(found.score)
    assert found.effect > FLOORS["KL"]
    assert found.p_value < 1e-6


@pytest.mark.parametrize("method", ["PSI", "KL", "ChiSquare", "Hellinger", "JensenShannon"])
def test_the_least_effect_is_in_the_unit_of_the_method(method: str) -> None:
    """A shift that is as large as `mde` says, with the method's own floor, is found about four times in five."""
    shares, rows, level, generator = np.full(10, 0.1), 1000, 0.001, np.random.default_rng(4)
    least = least_effect(method, rows, 5000, level, floor=FLOORS[method], bins=10)
    assert least is not None
    tilt = np.linspace(-1, 1, 10)
    sizes = np.linspace(0.01, 0.9, 90)
    effects = [METHODS[method](_exact(shares, shares * (1 + size * tilt)), None, 0.0).score for size in sizes]
    moved = shares * (1 + sizes[int(np.argmin(np.abs(np.array(effects) - least)))] * tilt)
    pairs = [Pair(generator.multinomial(5000, shares), generator.multinomial(rows, moved)) for _ in range(300)]
    found = [METHODS[method](pair, None, FLOORS[method]) for pair in pairs]
    share = np.mean([one.p_value <= level and one.effect >= FLOORS[method] for one in found])
    assert 0.7 <= share <= 0.9


def test_methods_without_a_law_have_no_least_effect() -> None:
    """KS, Wasserstein, TVD and MMD would need a number that nobody can derive: none is told."""
    for method in ("KS", "Wasserstein", "TVD", "MMD"):
        assert least_effect(method, 1000, 5000, 0.001, floor=0.05, bins=10) is None


def _exact(reference: Floats, current: Floats) -> Pair:
    return Pair(*(np.round(10_000_000 * side / side.sum()).astype(np.int64) for side in (reference, current)))


@pytest.mark.parametrize("method", list(METHODS))
def test_the_threshold_of_the_user_decides(method: Any) -> None:
    """A shift of 0.5 deviations counts with the default floor, and not with one that is larger than it."""
    current = normals(3, 2000, 11, shift=0.5)
    for threshold, drifts in ((None, True), (2.0, False)):
        spec = monitor(features=[Feature(name="x0", method=method, threshold=threshold)])
        evidence, _ = look(current, profile=PROFILE, contract=CONTRACT, spec=spec)
        column = next(one for one in evidence.inputs if one.name == "x0")
        assert column.method == method
        assert column.drifted is drifts
        assert column.measure.score > 0
        assert column.measure.effect > 0
