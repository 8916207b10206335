"""Labels that only some decisions reveal: no false proof, real loss found by the rows that a lot chose."""

from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from gyre_crds.contracts.profile import Profile
from gyre_crds.v1alpha1.common import Contract, LabelContract, Objective
from gyre_monitoring.evidence import Evidence, Finding
from gyre_monitoring.explain import text
from gyre_monitoring.labels import from_table
from gyre_monitoring.page import page
from gyre_monitoring.performance import later
from gyre_monitoring.profile import build
from gyre_monitoring.randomised import measure, only
from tests.monitoring.support.looks import HOUR, START, look, monitor, reported

ALL = Contract(key="id", label=LabelContract(column="truth"), features=["x"])
SOME = ALL.model_copy(update={"label": LabelContract(column="truth", observed="DependsOnDecision")})


def loans(rows: int, seed: int, *, turned: float = 0.0, propensity: float = 1.0, marked: float = 0.0) -> pa.Table:
    """Applicants, the model's approval (1), and whether they pay back; some of the truths turned."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=rows)
    score = 1 / (1 + np.exp(-2 * x - 0.5))
    truth = (generator.random(rows) < score) ^ (generator.random(rows) < turned)
    return pa.table({
        "id": np.arange(rows), "x": x, "score": score, "prediction": (score >= 0.5).astype(int),
        "truth": truth.astype(int), "gyre_propensity": np.full(rows, propensity),
        "gyre_label_sample": generator.random(rows) < marked,
    })  # fmt: skip


def judged(profile: Profile, rows: pa.Table, known: Any, contract: Contract = SOME) -> tuple[Evidence, Finding]:
    """A look at the rows, with labels where `known` says so."""
    truth = rows.select(["id", "truth"]).filter(pa.array(known))
    current = rows.drop_columns("truth")
    labelled = from_table([current], truth, contract)
    return look(current, profile=profile, contract=contract, spec=monitor(features=[]), labelled=labelled)


def refused(rows: pa.Table) -> Any:
    """Labels are known of those who were approved, and of nobody else but the marked ones."""
    return (np.asarray(rows["prediction"]) == 1) | np.asarray(rows["gyre_label_sample"])


@pytest.fixture(scope="module")
def profile() -> Profile:
    """The profile of 5,000 labelled applicants."""
    return build(lambda: [loans(5000, 0).drop_columns(["gyre_propensity", "gyre_label_sample"])], ALL)


def test_what_decisions_reveal_proves_nothing(profile: Profile) -> None:
    """Truths turned among those who are refused cannot be seen, and no window of labels by decision proves a loss."""
    told = set()
    for seed in range(10):
        rows = loans(3000, seed + 1, turned=0.3)
        evidence, finding = judged(profile, rows, refused(rows))
        told.add(finding.verdict)
        assert evidence.performance is None
        assert any("labels depend on decisions, so they are biased and prove no loss" in one for one in evidence.notes)
        assert judged(profile, rows, refused(rows), ALL)[1].verdict == "ConceptDrift"
    assert told == {"Healthy"}
    assert "payloads.labelSample" in reported(evidence, finding).spec.power


def test_marked_rows_prove_a_changed_concept(profile: Profile) -> None:
    """A fifth of the rows, marked by lot and all labelled, prove that truths turned: ten of ten windows."""
    for seed in range(10):
        rows = loans(3000, seed + 1, turned=0.2, marked=0.2)
        evidence, finding = judged(profile, rows, refused(rows))
        assert finding.verdict == "ConceptDrift"
        assert evidence.performance is not None
        assert evidence.performance.labels == np.asarray(rows["gyre_label_sample"]).sum()


def test_marked_rows_raise_no_false_alarm(profile: Profile) -> None:
    """Forty windows in which nothing changed, labels by decision and by lot: no loss is proven."""
    for seed in range(40):
        rows = loans(2000, seed + 100, marked=0.3)
        performance = judged(profile, rows, refused(rows))[0].performance
        assert performance is not None
        assert not performance.proven


def test_marked_rows_without_labels_count_for_the_model(profile: Profile) -> None:
    """If only failures are reported back, labelled rows are all errors; with the others as hits no loss is proven."""
    rows = loans(4000, 7, marked=0.3)
    wrong = np.asarray(rows["truth"]) != np.asarray(rows["prediction"])
    found = judged(profile, rows, wrong)[0].performance
    assert found is not None
    assert found.realized.value == 0.0
    assert not found.proven
    assert found.upper > 0.5
    assert judged(profile, rows, wrong, ALL)[1].verdict == "ConceptDrift"


def test_rows_after_the_alarm_are_weighed_alike(profile: Profile) -> None:
    """The loss that pays is re-estimated by the same rule: errors alone, reported back, prove nothing there either."""
    rows = loans(4000, 7, marked=0.5)
    at = pa.array([START] * 4000, pa.timestamp("us", "UTC"))
    current = rows.drop_columns("truth").append_column("gyre_time", at)
    wrong = np.asarray(rows["truth"]) != np.asarray(rows["prediction"])
    labelled = only(from_table([current], rows.select(["id", "truth"]).filter(pa.array(wrong)), SOME))
    found = [
        later(labelled, profile, SOME.objective, 0.01, alarm=START, maturity=timedelta(), measured=how)
        for how in (measure, None)
    ]
    assert found[0] is not None
    assert found[1] is not None
    assert found[0].lower < 0 < found[1].lower


def test_biased_labels_do_not_choose_the_rows(profile: Profile) -> None:
    """While inputs are elsewhere, 200 recent rows by lot are too few for a cohort, however many decisions revealed."""
    rows = loans(4000, 7, marked=0.2)
    at = pa.array([START - HOUR * (3 - row / 1000) for row in range(4000)], pa.timestamp("us", "UTC"))
    current = rows.drop_columns("truth").append_column("gyre_time", at)
    labelled = from_table([current], rows.select(["id", "truth"]).filter(pa.array(refused(rows))), SOME)
    moved = current.slice(3000).set_column(1, "x", pa.array(np.asarray(current["x"].slice(0, 1000)) + 1))
    spec = monitor(features=[])
    evidence, _ = look(moved, profile=profile, contract=SOME, spec=spec, labelled=labelled)
    assert any(one.drifted for one in evidence.inputs)
    assert evidence.performance is not None
    assert evidence.performance.labels == np.asarray(rows["gyre_label_sample"]).sum()


@pytest.mark.parametrize("name", ["gyre_label_sample", "gyre_propensity"])
def test_a_column_without_a_value_draws_nothing(name: str) -> None:
    """A mark that is null everywhere is no mark: rows with a drawn revision are the slice, and without that nothing."""
    rows = loans(300, 1, propensity=0.5)
    kind = rows.schema.field(name).type
    rows = rows.set_column(rows.column_names.index(name), name, pa.nulls(300, kind))
    labelled = from_table([rows.drop_columns("truth")], rows.select(["id", "truth"]), SOME)
    assert only(labelled).eligible == (300 if name == "gyre_label_sample" else 0)


def test_propensities_weigh_rows_back_to_everyone(profile: Profile) -> None:
    """A revision drawn seldom for hard rows: the interval covers everyone's accuracy, the plain mean does not."""
    covered, plain = 0, []
    for seed in range(40):
        whole = loans(6000, seed + 200)
        hard = np.abs(np.asarray(whole["x"])) < 0.7
        chance = np.where(hard, 0.2, 0.9)
        drawn = np.random.default_rng(seed).random(6000) < chance
        rows = whole.set_column(5, "gyre_propensity", pa.array(chance)).filter(pa.array(drawn))
        found = judged(profile, rows, np.ones(rows.num_rows, dtype=bool))[0].performance
        assert found is not None
        right = np.asarray(whole["truth"]) == np.asarray(whole["prediction"])
        assert not found.proven
        covered += abs(found.realized.value - right.mean()) <= 2 * found.realized.standard_error
        plain.append(right[drawn].mean() - right.mean())
    assert covered >= 36
    assert np.mean(plain) > 0.03


@pytest.mark.parametrize("metric", ["logLoss", "brier", "accuracy"])
def test_the_weighted_metric_is_the_plain_one_where_weights_are_equal(profile: Profile, metric: Any) -> None:
    """With every row marked and labelled, the number is that of labels without bias."""
    rows, everything = loans(3000, 9, marked=1.0), np.ones(3000, dtype=bool)
    objective = {"objective": Objective(metric=metric)}
    some, plain = (
        judged(profile, rows, everything, one.model_copy(update=objective))[0].performance for one in (SOME, ALL)
    )
    assert some is not None
    assert plain is not None
    assert some.realized.value == pytest.approx(plain.realized.value)
    assert some.lower == pytest.approx(plain.lower, abs=1e-4)
    assert some.upper == pytest.approx(plain.upper, abs=1e-4)


def test_regressors_are_weighed_too() -> None:
    """Root mean square errors over the marked rows; an unknown upper bound is told as such where some have no label."""
    generator = np.random.default_rng(0)
    truth = generator.normal(size=4000)
    table = pa.table(
        {"id": np.arange(4000), "x": truth, "prediction": truth, "truth": truth + generator.normal(size=4000)}
    )
    contract = SOME.model_copy(update={"objective": Objective(metric="rmse")})
    known = build(lambda: [table], contract)
    rows = table.append_column("gyre_propensity", pa.array(np.full(4000, 0.5)))
    rows = rows.append_column("gyre_label_sample", pa.array(np.zeros(4000, dtype=bool)))
    evidence, finding = judged(known, rows, np.arange(4000) < 3800, contract)
    assert evidence.performance is not None
    assert evidence.performance.realized.value == pytest.approx(1.0, abs=0.05)
    report = reported(evidence, finding)
    assert report.spec.performance is not None
    assert report.spec.performance.upper is None
    assert "and unknown on 3800 labels" in text(report.dump())
    assert "and unknown." in page(report, ())


@pytest.mark.parametrize(
    ("drop", "metric", "sentence"),
    [
        pytest.param(["gyre_propensity"], "accuracy", "of the rows drawn by lot 0 have a label", id="no propensities"),
        pytest.param([], "auc", "auc cannot be weighed by propensities", id="a metric that is no mean"),
    ],
)
def test_what_cannot_be_proven_is_said(profile: Profile, drop: list[str], metric: Any, sentence: str) -> None:
    """The sentence names the reason and the cure."""
    rows = loans(2000, 11, marked=0.5)
    contract = SOME.model_copy(update={"objective": Objective(metric=metric)})
    evidence, _ = judged(profile, rows.drop_columns(drop) if drop else rows, np.ones(2000, dtype=bool), contract)
    assert evidence.performance is None
    assert any(sentence in one for one in evidence.notes)
