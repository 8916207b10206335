"""Every objective metric estimated without labels: close to the truth when inputs move, silent when nothing does."""

from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import brier_score_loss  # type: ignore[import-untyped]  # it carries no types

from gyre_crds.contracts.profile import Profile
from gyre_crds.v1alpha1.common import Contract, LabelContract, Objective
from gyre_monitoring.calibrated import change
from gyre_monitoring.evidence import Evidence, Finding
from gyre_monitoring.metrics import Metric, evaluate
from gyre_monitoring.outcomes import outcomes
from gyre_monitoring.profile import build
from gyre_monitoring.window import count
from tests.monitoring.support.looks import look, monitor

CLASSES = ("accuracy", "logLoss", "auc", "f1", "brier")
VALUES = ("rmse", "mae")


def contract(metric: Any) -> Contract:
    """The contract of a model that is judged by a metric."""
    return Contract(
        key="id",
        label=LabelContract(column="label"),
        features=["x"],
        objective=Objective(metric=metric),
    )


def classified(rows: int, seed: int, spread: float = 2.0) -> pa.Table:
    """A logistic model that is overconfident by a quarter; a smaller spread makes harder cases."""
    generator = np.random.default_rng(seed)
    x = generator.normal(0.3, spread, rows)
    score, truth = 1 / (1 + np.exp(-1.25 * x)), generator.random(rows) < 1 / (1 + np.exp(-x))
    return pa.table({"x": x, "score": score, "prediction": (score >= 0.4).astype(int), "label": truth.astype(int)})


def valued(rows: int, seed: int, spread: float = 1.0) -> pa.Table:
    """A regressor whose error grows with what it predicts; a smaller spread makes larger predictions in its range."""
    generator = np.random.default_rng(seed)
    x = generator.normal(4 * (1 - spread), spread, rows)
    return pa.table({"x": x, "prediction": x, "label": x + generator.normal(size=rows) * (0.3 + 0.5 * np.abs(x))})


def made(metric: str, rows: int, seed: int, spread: float | None = None) -> pa.Table:
    """Labelled rows of the model that the metric fits."""
    draw, usual = (valued, 1.0) if metric in VALUES else (classified, 2.0)
    return draw(rows, seed, usual if spread is None else spread)


def profile(metric: str) -> Profile:
    """The profile of 10,000 labelled rows."""
    return build(lambda: [made(metric, 10_000, 0)], contract(metric))


def judged(metric: str, known: Profile, labelled: pa.Table) -> tuple[Evidence, Finding]:
    """A look at the rows without their labels."""
    spec = monitor(features=[])
    return look(labelled.drop_columns("label"), profile=known, contract=contract(metric), spec=spec)


def truth(metric: str, known: Profile, labelled: pa.Table) -> float:
    """The metric on the labels."""
    found = evaluate(metric, outcomes(labelled, "label", metric, known.positive)[0])
    assert found is not None
    return found.value


def test_no_metric_is_left_out() -> None:
    """The metrics of these tests are those that a Model may be judged by."""
    assert {*CLASSES, *VALUES} == set(get_args(Metric))


@pytest.mark.parametrize("metric", [*CLASSES, *VALUES])
def test_the_estimate_follows_inputs_that_move(metric: str) -> None:
    """Harder cases: the estimate names the metric, and is nearer to the labels' truth than a third of the change."""
    known = profile(metric)
    moved = made(metric, 20_000, 1, 0.7 if metric in VALUES else 0.8)
    estimated = judged(metric, known, moved)[0].estimated
    assert estimated is not None
    assert estimated.metric == metric
    reference, realized = truth(metric, known, made(metric, 10_000, 0)), truth(metric, known, moved)
    assert estimated.reference == pytest.approx(reference, rel=1e-6)
    assert abs(estimated.value - realized) < abs(reference - realized) / 3
    assert estimated.lost


@pytest.mark.parametrize("metric", [*CLASSES, *VALUES])
def test_the_estimate_is_silent_on_rows_like_those_of_training(metric: str) -> None:
    """Forty windows of 1,000 rows: no estimate speaks of a loss, and at most one window alarms at all."""
    known = profile(metric)
    found = [judged(metric, known, made(metric, 1000, seed + 2)) for seed in range(40)]
    assert not any(evidence.estimated.lost for evidence, _ in found if evidence.estimated)
    assert all(evidence.estimated for evidence, _ in found)
    assert sum(finding.verdict != "Healthy" for _, finding in found) <= 1


@pytest.mark.parametrize("metric", [*CLASSES, *VALUES])
def test_the_lower_bound_errs_as_seldom_as_it_says(metric: str) -> None:
    """At the budget's level, a bound above zero on rows of one population is as rare as declared (none in 40)."""
    known = profile(metric)
    bounds = [judged(metric, known, made(metric, 1000, seed + 50))[0].estimated for seed in range(40)]
    errors = [one.loss / (one.loss - one.lower) for one in bounds if one]
    assert max(errors) < 1.0
    assert np.std(errors) > 0.1  # of a bound far too wide nothing would ever come


@pytest.mark.parametrize("centre", [pytest.param(0.3, id="common"), pytest.param(-3.0, id="rare")])
def test_the_standard_error_of_f1_is_that_of_healthy_windows(centre: float) -> None:
    """Sixty windows of one population vary by the standard error that is stated, where positives are rare too."""

    def drawn(rows: int, seed: int) -> pa.Table:
        generator = np.random.default_rng(seed)
        x = generator.normal(centre, 1.5, rows)
        score = 1 / (1 + np.exp(-x))
        called, truth = (score >= 0.5).astype(int), (generator.random(rows) < score).astype(int)
        return pa.table({"x": x, "score": score, "prediction": called, "label": truth})

    known = build(lambda: [drawn(10_000, 0)], contract("f1"))
    errors = []
    for seed in range(60):
        window = count([drawn(1000, seed + 200).drop_columns("label")], known, monitor(features=[]), frozenset())
        found = change(known, window.columns, "f1")
        assert found is not None
        errors.append((found.after - found.before) / found.error)
    assert 0.7 < np.std(errors) < 1.4


def test_a_changed_concept_is_not_seen_and_the_sentence_says_so() -> None:
    """Labels turned against unmoved inputs cost real accuracy; the estimate stays put, and says what it is blind to."""
    known = profile("auc")
    same = classified(5000, 3)
    turned = same.set_column(3, "label", pa.array(1 - np.asarray(same["label"])))
    estimated = judged("auc", known, turned)[0].estimated
    assert estimated is not None
    assert abs(estimated.loss) < 0.02
    assert truth("auc", known, turned) < 0.2
    _, finding = judged("auc", known, classified(5000, 4, 0.8))
    assert finding.verdict == "EstimatedLoss"
    assert finding.reason.startswith("Estimated auc 0.")
    assert "an estimate, blind to changes of concept" in finding.reason


def test_estimates_fall_back_to_accuracy_where_scores_are_missing() -> None:
    """A classifier without scores is judged by auc all the same: what can be estimated is named."""
    bare = [classified(10_000, seed).drop_columns("score") for seed in (0, 1)]
    known = build(lambda: bare[:1], contract("auc"))
    estimated = judged("auc", known, bare[1])[0].estimated
    assert estimated is not None
    assert (estimated.metric, estimated.source) == ("accuracy", "prediction")


def test_the_brier_score_is_scikit_learns() -> None:
    """On labelled rows it is the number that scikit-learn gives, and its standard error that of a mean."""
    rows = made("brier", 3000, 4)
    found = evaluate("brier", outcomes(rows, "label", "brier", "1")[0])
    score, truth = (np.asarray(rows[name], dtype=np.float64) for name in ("score", "label"))
    assert found is not None
    assert found.value == pytest.approx(brier_score_loss(truth, score))
    assert found.standard_error == pytest.approx(np.std((score - truth) ** 2, ddof=1) / np.sqrt(3000))
