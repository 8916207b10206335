"""The age story on real people: what the demo shows, found here by the same engine."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tests.monitoring.support import census
from tests.monitoring.support.looks import changed, labels, look, monitor, reported, window

LATER = census.people()[1]
YOUNG = census.young(LATER)


@pytest.mark.parametrize("rows", [500, 1500, 5000])
def test_people_like_those_of_training_are_healthy(rows: int) -> None:
    """Forty windows of later years' people of 16 to 64 raise at most one alarm."""
    verdicts = [look(window(census.draw(YOUNG, rows, seed)))[1].verdict for seed in range(40)]
    assert verdicts.count("Healthy") >= 39


@pytest.mark.parametrize("seed", range(5))
def test_dropping_the_age_limit_is_a_covariate_shift_of_age(seed: int) -> None:
    """With everyone from 16 on, ages moved most, and the sentence says so."""
    evidence, finding = look(window(census.draw(LATER, 2000, seed)))
    assert finding.verdict == "CovariateShift"
    assert evidence.drifted[0].name == "AGEP"
    assert finding.reason.startswith("AGEP (PSI ")


def test_four_thousand_labels_prove_the_loss() -> None:
    """Ten windows with 4,000 labels each: every one proves the loss, nine at least blame the new people alone."""
    blamed = 0
    for seed in range(10):
        people = census.draw(LATER, 4000, seed)
        current = window(people)
        evidence, finding = look(current, labelled=labels(current, people, 4000))
        assert finding.verdict in {"PerformanceLoss", "ConceptDrift"}
        blamed += finding.verdict == "PerformanceLoss" and "AGEP training never saw" in finding.reason
        performance = evidence.performance
        assert performance is not None
        assert 0 < performance.lower < performance.loss < 0.07
    assert blamed >= 9


def test_labels_of_healthy_people_prove_no_loss() -> None:
    """Thirty windows of the trained population with 2,000 labels: at most one false alarm."""
    verdicts = []
    for seed in range(30):
        people = census.draw(YOUNG, 3000, seed)
        current = window(people)
        verdicts.append(look(current, labelled=labels(current, people, 2000))[1].verdict)
    assert verdicts.count("Healthy") >= 29


@pytest.mark.parametrize("share", [1.0, 0.4])
def test_age_in_months_is_a_schema_break(share: float) -> None:
    """Ages times 12, for everyone or for a part, are a unit change that names column, factor and medians."""
    current = window(census.draw(YOUNG, 2000, 3))
    ages = np.asarray(current["AGEP"])
    months = np.where(np.arange(2000) < 2000 * share, ages * 12, ages)
    _, finding = look(changed(current, "AGEP", months))
    assert (finding.verdict, finding.level) == ("SchemaBreak", "P0")
    assert finding.reason.startswith("AGEP arrives 12 times larger than in training (median ")
    assert "nothing retrains" in finding.reason


def test_missing_ages_are_a_quality_incident() -> None:
    """30 % of the ages missing is an incident of AGEP, not drift."""
    current = window(census.draw(YOUNG, 1500, 4))
    holes = np.random.default_rng(0).random(1500) < 0.3
    _, finding = look(changed(current, "AGEP", pa.array(np.asarray(current["AGEP"]), mask=holes)))
    assert (finding.verdict, finding.level) == ("QualityIncident", "P0")
    assert finding.reason.startswith("AGEP is missing in ")


def test_concept_drift_is_blind_to_the_estimate_and_found_by_labels() -> None:
    """Inputs as ever and half of the labels turned: the estimate stays put, 1,000 labels prove the change."""
    people = census.draw(YOUNG, 3000, 5)
    turned = np.random.default_rng(1).random(3000) < 0.3
    people["y"] = np.where(turned, 1 - people["y"], people["y"])
    current = window(people)
    silent, before = look(current)
    assert before.verdict == "Healthy"
    assert silent.estimated is not None
    assert abs(silent.estimated.loss) < 0.02
    _, finding = look(current, labelled=labels(current, people, 1000))
    assert (finding.verdict, finding.level) == ("ConceptDrift", "P0")
    assert "no input moved" in finding.reason


def test_concept_drift_beside_moved_inputs_is_not_excused_by_them() -> None:
    """New people and turned labels of the old ones: the loss inside the known range makes it ConceptDrift."""
    people = census.draw(LATER, 4000, 6)
    turned = (np.random.default_rng(2).random(4000) < 0.25) & (people["AGEP"] <= 64)
    people["y"] = np.where(turned, 1 - people["y"], people["y"])
    current = window(people)
    _, finding = look(current, labelled=labels(current, people, 4000))
    assert finding.verdict == "ConceptDrift"


def test_age_plus_15_in_a_fifth_of_the_rows_is_found() -> None:
    """Planted: twenty windows of 5,000 rows, a fifth of the ages 15 years older, nineteen found at least."""
    found = 0
    for seed in range(20):
        current = window(census.draw(YOUNG, 5000, seed))
        older = np.random.default_rng(seed).random(5000) < 0.2
        moved = changed(current, "AGEP", pc.add(current["AGEP"], pa.array(np.where(older, 15.0, 0.0))))
        found += any(one.name == "AGEP" and one.drifted for one in look(moved)[0].inputs)
    assert found >= 19


def test_persistence_holds_a_shift_at_p2() -> None:
    """With persistence 3, the first two windows of a shift are P2 and the third is P1."""
    current = window(census.draw(LATER, 2000, 7))
    levels = [look(current, spec=monitor(persistence=3), consecutive=run)[1].level for run in range(3)]
    assert levels == ["P2", "P2", "P1"]


def test_the_report_fits_its_contract() -> None:
    """The report carries the numbers of the sentence, at most 20 columns, and the limits of the window."""
    people = census.draw(LATER, 4000, 8)
    current = window(people)
    made = reported(*look(current, labelled=labels(current, people, 4000)))
    spec = made.spec
    assert spec.columns[0].name == "AGEP"
    assert spec.drift_share is not None
    assert 0 < spec.drift_share <= 1
    assert spec.performance is not None
    assert spec.performance.labels == 4000
    assert spec.performance.estimated is not None
    assert "could have gone unseen" in spec.power
    assert spec.provisional
    assert {"score", "effect", "pValue", "pAdjusted", "drifted", "missing", "newCategories", "mde"} <= set(
        made.features[0]
    )
