"""Does a retraining pay? Every rule with its numbers."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gyre_crds.v1alpha1.drift import DriftReport
from gyre_crds.v1alpha1.model import Budget, Decision
from gyre_operators.model.decide import decide
from gyre_operators.model.evidence import Evidence, Later, evidence_of, first_alarm, later_loss
from gyre_operators.model.learned import Expected
from gyre_operators.model.terms import FreshRollout, Situation
from tests.operators.builders import NOW, text

MINUTE = timedelta(minutes=1)
POLICY = Decision(cost_per_run=1.0, benefit_per_point=2.0, recoverable=0.5, min_labels=500)


def look(
    verdict: Any = "PerformanceLoss",
    *,
    minute: int = 10,
    gap: float = 0.04,
    half: float = 0.01,
    labels: int = 2000,
    since: int = 0,
    **more: Any,
) -> Evidence:
    """A look at the minute before `minute`; its labels reach back to minute `since`."""
    made = Evidence(
        report=f"r{minute}",
        verdict=verdict,
        start=NOW + (minute - 1) * MINUTE,
        end=NOW + minute * MINUTE,
        version="v1",
        gap=gap,
        lower=gap - half,
        labels=labels,
        reference=0.8,
        since=NOW + since * MINUTE,
    )
    return replace(made, **more)


def report(name: str, *, minute: int, metric: str, reference: float, later: float) -> DriftReport:
    """A monitor's report whose look measured the rows after the alarm of minute 8."""
    performance = {
        "metric": metric,
        "reference": reference,
        "realized": later,
        "lower": 0.03,
        "labels": 1000,
        "later": {"after": text(at(8)), "realized": later, "lower": 0.02, "labels": 700},
    }
    window = {"start": text(at(minute - 1)), "end": text(at(minute)), "rows": 500}
    spec = {"monitor": "m", "verdict": "PerformanceLoss", "level": "P1", "window": window, "performance": performance}
    return DriftReport.model_validate({
        "apiVersion": "gyre.dev/v1alpha1", "kind": "DriftReport",
        "metadata": {"name": name, "namespace": "models"}, "spec": {**spec, "reason": "worse"},
    })  # fmt: skip


ALARM = look(minute=8, labels=1000)


def situation(**more: Any) -> Situation:
    """One alarm before, nothing in the way."""
    return replace(Situation(now=NOW + 11 * MINUTE, policy=POLICY, earlier=(ALARM,)), **more)


def at(minute: int) -> datetime:
    """An instant."""
    return NOW + minute * MINUTE


def policy(**more: Any) -> Decision:
    """The policy with changes."""
    return POLICY.model_copy(update=more)


@pytest.mark.parametrize(
    ("evidence", "where", "action", "reason"),
    [
        pytest.param(look("Healthy"), situation(), "Nothing", "Healthy", id="a healthy look asks for nothing"),
        pytest.param(
            look("SchemaBreak"), situation(), "Nothing", "NotAModelProblem", id="a broken schema is repaired upstream"
        ),
        pytest.param(
            look("QualityIncident"), situation(), "Nothing", "NotAModelProblem", id="broken data is repaired upstream"
        ),
        pytest.param(
            look("CovariateShift"), situation(), "Wait", "WaitingForLabels", id="moved inputs wait for labels"
        ),
        pytest.param(
            look("PredictionShift"), situation(), "Wait", "WaitingForLabels", id="moved predictions wait for labels"
        ),
        pytest.param(
            look("EstimatedLoss"), situation(), "Wait", "WaitingForLabels", id="an estimated loss waits for labels"
        ),
        pytest.param(
            look("InsufficientData"), situation(), "Wait", "WaitingForLabels", id="too few rows decide nothing"
        ),
        pytest.param(
            look(), situation(triggered=False), "Nothing", "NotTriggered", id="without a drift trigger nobody retrains"
        ),
        pytest.param(
            look(),
            situation(serving=frozenset({"v2"})),
            "Wait",
            "ChampionStands",
            id="a loss of the version before the one that serves is past",
        ),
        pytest.param(
            look(),
            situation(serving=frozenset({"v0", "v1"})),
            "Retrain",
            "RetrainingPays",
            id="a loss of one of the versions that serve counts",
        ),
        pytest.param(
            look(labels=499), situation(), "Wait", "WaitingForLabels", id="one label short of minLabels waits"
        ),
        pytest.param(
            look(labels=1499),
            situation(policy=policy(cost_per_run=1.9)),
            "Wait",
            "WaitingForLabels",
            id="one label short of minLabels after the alarm waits where the training costs half of its benefit",
        ),
        pytest.param(
            look(labels=1499),
            situation(),
            "Retrain",
            "RetrainingPays",
            id="a training that is worth three times its cost waits for fewer labels",
        ),
        pytest.param(
            look(labels=1124),
            situation(policy=policy(cost_per_run=0.0)),
            "Wait",
            "WaitingForLabels",
            id="a training for nothing waits for a quarter of minLabels: it would learn what was",
        ),
        pytest.param(look(), situation(earlier=()), "Wait", "Confirming", id="the look that alarms first is confirmed"),
        pytest.param(
            look(), situation(), "Retrain", "RetrainingPays", id="a loss proven again that is worth its cost retrains"
        ),
        pytest.param(look("ConceptDrift"), situation(), "Retrain", "RetrainingPays", id="concept drift counts as loss"),
        pytest.param(
            look(),
            situation(policy=policy(cost_per_run=4.0)),
            "Nothing",
            "DoesNotPay",
            id="a cost above the benefit does not pay",
        ),
        pytest.param(
            look(),
            situation(policy=policy(recoverable=0.05)),
            "Nothing",
            "DoesNotPay",
            id="what cannot be won back does not pay",
        ),
        pytest.param(
            look(gap=0.012, half=0.011),
            situation(),
            "Wait",
            "Confirming",
            id="a later loss whose bound holds zero is not proven",
        ),
        pytest.param(look(labels=1000), situation(), "Wait", "Confirming", id="no later labels confirm nothing"),
        pytest.param(look(), situation(under_way="training t1"), "Wait", "InFlight", id="one training at a time"),
        pytest.param(look(), situation(last_training=at(0)), "Wait", "Cooldown", id="the cooldown holds"),
        pytest.param(look(), situation(last_training=at(-60)), "Retrain", "RetrainingPays", id="the cooldown ends"),
        pytest.param(
            look(),
            situation(policy=policy(budget=Budget(runs=1)), trainings=1),
            "Nothing",
            "BudgetSpent",
            id="the budget holds",
        ),
        pytest.param(look(), situation(policy=policy(approval=True)), "Wait", "NeedsApproval", id="a person is asked"),
        pytest.param(
            look(since=5),
            situation(earlier=(), rollout=FreshRollout("v1", at(6), "v0")),
            "Nothing",
            "RolloutExplains",
            id="a loss that came with a rollout is rolled back",
        ),
        pytest.param(
            look(since=5),
            situation(rollout=FreshRollout("v1", at(9), "v0")),
            "Retrain",
            "RetrainingPays",
            id="a loss from before the rollout is not explained by it",
        ),
        pytest.param(
            look(since=5),
            situation(rollout=FreshRollout("v1", at(6), None)),
            "Retrain",
            "RetrainingPays",
            id="without a version before there is nothing to roll back to",
        ),
    ],
)
def test_decision_table(evidence: Evidence, where: Situation, action: str, reason: str) -> None:
    """Each row is one sentence of the rule."""
    decided = decide(evidence, where)
    assert (decided.action, decided.reason) == (action, reason), decided.message


def test_arithmetic_stands_in_the_decision() -> None:
    """Gap and bound are those of the later labels: 2000 at 4 points, less 1000 that alarmed; midway, half is won."""
    numbers = decide(look(), situation()).arithmetic
    assert numbers["laterLabels"] == 1000
    assert numbers["gap"] == pytest.approx(4.0)
    assert numbers["gapLower"] == pytest.approx(4.0 - 2**0.5, abs=1e-3)
    assert numbers["points"] == pytest.approx((4.0 + numbers["gapLower"]) / 4, abs=1e-3)
    assert numbers["benefit"] == pytest.approx(2 * numbers["points"], abs=1e-3)
    assert numbers["cost"] == 1.0


def test_sentence_tells_the_arithmetic() -> None:
    """The sentence of the guide, with the numbers that it rests on."""
    again = look(later=Later(0.06, 0.04, 800, ALARM.end))
    decided = decide(again, situation(policy=policy(recoverable=None)))
    assert decided.message == (
        "5.00 points are lost (midway between the 6.00 measured on 800 later labels and their lower bound of 4.00), "
        "2.50 can be won back (recoverable 0.50 until retrainings teach it), worth 5.00 against a cost of 1.00: retrain"
    )


def test_gains_that_last_shortly_pay_less() -> None:
    """Retrainings came each third day of a horizon of thirty: a tenth of the benefit, but for the first life."""
    learned = Expected(retrainings=9, intervals=(3.0,) * 9)
    numbers = decide(look(), situation(learned=learned)).arithmetic
    assert numbers["lasting"] == pytest.approx((1 + 9 * 0.1) / 10)
    assert numbers["benefit"] == pytest.approx(2 * numbers["points"] * numbers["lasting"], abs=1e-3)


def test_alarm_that_was_luck_does_not_pay() -> None:
    """The gap that alarmed is selected upward: later labels without a loss take it back."""
    lucky = look(minute=8, gap=0.06, labels=1000)
    again = look(gap=0.03, labels=2000)
    decided = decide(again, situation(earlier=(lucky,)))
    assert decided.reason == "Confirming"


def test_labels_that_are_all_later_count_as_they_are() -> None:
    """Where the look's labels begin after the alarm's window, nothing has to be taken out."""
    later = later_loss(ALARM, look(since=8))
    assert later is not None
    assert (later.gap, later.labels) == (0.04, 2000)


def test_look_that_measured_the_later_rows_itself_is_taken_at_its_word() -> None:
    """A steady cohort holds as many labels as the alarm's: nothing could be subtracted, so the look says it."""
    again = look(labels=1000, later=Later(0.05, 0.03, 600, ALARM.end))
    numbers = decide(again, situation()).arithmetic
    assert (numbers["gap"], numbers["gapLower"], numbers["laterLabels"]) == (5.0, 3.0, 600)


def test_older_alarm_than_the_kept_reports_is_the_look_s_to_know() -> None:
    """Reports are kept for a while only: a loss that waited longer than that for its budget is still proven."""
    again = look(labels=1000, later=Later(0.05, 0.03, 600, ALARM.start - MINUTE))
    assert decide(again, situation()).reason == "RetrainingPays"


def test_later_loss_of_a_report() -> None:
    """The report's metric on later rows becomes a gap: down is worse for a share, up for an error."""
    for metric, realized in (("accuracy", 0.75), ("mae", 0.85)):
        body = report("r9", minute=9, metric=metric, reference=0.8, later=realized)
        found = evidence_of(body).later
        assert found is not None
        assert found.gap == pytest.approx(0.05)
        assert (found.lower, found.labels, found.after) == (0.02, 700, at(8))


@pytest.mark.parametrize(
    ("earlier", "found"),
    [
        pytest.param((), None, id="nothing before"),
        pytest.param((look(minute=7), look(minute=8)), "r7", id="the oldest alarm of the row counts"),
        pytest.param(
            (look(minute=5), look("Healthy", minute=6), look(minute=8)), "r8", id="a healthy look ends the row"
        ),
        pytest.param(
            (look(minute=5), look("CovariateShift", minute=6), look(minute=8)),
            "r5",
            id="a look without proof does not end it",
        ),
        pytest.param((look(minute=8, version="v0"),), None, id="the version before is another matter"),
        pytest.param((look(minute=10),), None, id="a window that is not over before confirms nothing"),
    ],
)
def test_first_alarm(earlier: tuple[Evidence, ...], found: str | None) -> None:
    """Which look raised the alarm that a later one repeats."""
    first = first_alarm(look(), earlier)
    assert (first.report if first else None) == found


@pytest.mark.parametrize(
    ("metric", "reference", "points"),
    [("accuracy", 0.8, 4.0), ("auc", 0.8, 4.0), ("rmse", 2.0, 2.0), ("mae", 0.5, 8.0), ("logLoss", None, 4.0)],
)
def test_points_of_the_objective(metric: str, reference: float | None, points: float) -> None:
    """Hundredths of a share; percent of the reference for metrics without a natural scale."""
    assert look(metric=metric, reference=reference).points(0.04) == pytest.approx(points)


@given(gap=st.floats(0, 0.5), cost=st.floats(0, 50), labels=st.integers(1001, 100_000))
def test_retraining_only_ever_where_it_pays(gap: float, cost: float, labels: int) -> None:
    """Whatever the numbers: a loss is proven at its lower bound, and what is won back is worth more than the cost."""
    decided = decide(look(gap=gap, labels=labels), situation(policy=policy(cost_per_run=cost)))
    if decided.action == "Retrain":
        assert decided.arithmetic["benefit"] >= round(cost, 4)
        assert 0 < decided.arithmetic["gapLower"] <= 100 * gap + 1e-3
