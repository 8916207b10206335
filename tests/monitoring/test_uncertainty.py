"""How sure the model is of its answers: counted, tested as a prediction, and told."""

import numpy as np
import pyarrow as pa
import pytest

from gyre_crds.contracts.profile import Profile
from gyre_crds.v1alpha1.common import Contract, LabelContract, Objective
from gyre_monitoring.explain import text
from gyre_monitoring.page import page
from gyre_monitoring.profile import build
from gyre_monitoring.uncertainty import NAME, entropy
from gyre_monitoring.values import Floats
from tests.monitoring.support.looks import look, monitor, reported

CONTRACT = Contract(key="id", label=LabelContract(column="label"), features=["x"])


def answers(rows: int, seed: int, sureness: float = 1.0) -> pa.Table:
    """An input that never moves, and scores that lie nearer to a tie the smaller `sureness` is."""
    generator = np.random.default_rng(seed)
    score = 0.5 + sureness * (generator.beta(0.6, 0.6, rows) - 0.5)
    return pa.table({"x": generator.normal(size=rows), "score": score, "prediction": (score >= 0.5).astype(int)})


def profile(scores: Floats | None = None, contract: Contract = CONTRACT) -> Profile:
    """The profile of 5,000 answers."""
    table = answers(5000, 0)
    if scores is not None:
        table = table.set_column(1, "score", pa.array(scores))
    return build(lambda: [table], contract)


def test_entropy_is_that_of_two_classes() -> None:
    """A tie is one bit, certainty none, 0.9 is 0.469 bits, and what is no probability is no entropy."""
    found = entropy(np.array([0.5, 0.0, 1.0, 0.9, 1.5, np.nan]))
    assert found[:4] == pytest.approx([1.0, 0.0, 0.0, 0.4689956], abs=1e-6)
    assert np.isnan(found[4:]).all()


def test_answers_as_sure_as_ever_do_not_alarm() -> None:
    """Eighty windows of 500 to 2,000 rows of the same population: at most one alarm, whatever test would raise it."""
    known = profile()
    alarms = 0
    for seed in range(80):
        _, finding = look(answers(500 + 500 * (seed % 4), seed + 1), profile=known, contract=CONTRACT,
                          spec=monitor(features=[]))  # fmt: skip
        alarms += finding.verdict != "Healthy"
    assert alarms <= 1


def test_a_model_that_grows_unsure_is_told() -> None:
    """Scores pulled to a tie are a PredictionShift in every one of ten windows; the numbers are in all three texts."""
    known = profile()
    for seed in range(10):
        current = answers(1000, seed + 1, sureness=0.6)
        evidence, finding = look(current, profile=known, contract=CONTRACT, spec=monitor(features=[]))
        assert finding.verdict == "PredictionShift"
        assert any(one.name == NAME and one.drifted for one in evidence.prediction)
    report = reported(evidence, finding)
    told = report.spec.prediction
    assert told is not None
    score = np.asarray(current["score"])
    assert told.mean == pytest.approx(score.mean(), abs=1e-3)
    assert told.entropy == pytest.approx(np.nanmean(entropy(score)), abs=1e-3)
    assert told.unsure == pytest.approx((np.abs(score - 0.5) < 0.1).mean(), abs=1e-6)
    assert told.entropy_before == pytest.approx(np.nanmean(entropy(np.asarray(answers(5000, 0)["score"]))), abs=1e-3)
    line = f"entropy {told.entropy:.3f} bits (training {told.entropy_before:.3f})"
    assert line in text(report.dump())
    assert f"Entropy of the score {told.entropy:.3f} bits" in page(report, ())


def test_scores_that_are_no_probabilities_have_no_entropy() -> None:
    """Margins of a support vector machine, and values of a regressor, are not read as probabilities."""
    assert profile().uncertainty is not None
    assert profile(np.random.default_rng(1).normal(size=5000)).uncertainty is None
    assert profile(contract=CONTRACT.model_copy(update={"objective": Objective(metric="rmse")})).uncertainty is None


def test_missing_values_of_a_column_are_in_the_report() -> None:
    """The share that the metric gyre_feature_missing_ratio shows is the window's own."""
    current = answers(1000, 5)
    holes = pa.array(np.asarray(current["x"]), mask=np.arange(1000) < 30)
    report = reported(*look(current.set_column(0, "x", holes), profile=profile(), contract=CONTRACT,
                            spec=monitor(features=[])))  # fmt: skip
    assert [one.missing for one in report.spec.columns if one.name == "x"] == [0.03]
