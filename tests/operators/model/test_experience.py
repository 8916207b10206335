"""Once retrainings were measured, the next may rest on what they won per day of age."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gyre_crds.v1alpha1.model import Budget, Decision
from gyre_operators.model.decide import decide
from gyre_operators.model.evidence import Evidence
from gyre_operators.model.experience import expectation
from gyre_operators.model.learned import Expected, expected
from gyre_operators.model.terms import FreshRollout, Situation
from tests.operators.builders import NOW

DAY = timedelta(days=1)
WON = Expected(share=0.5, retrainings=3, per_day=0.5, aged=3, intervals=(30.0, 30.0))
POLICY = Decision(cost_per_run=1.0, benefit_per_point=2.0, min_labels=500, recoverable=0.5)


ASSUMING = POLICY.model_copy(update={"assumed_decay": 0.5})


def look(verdict: Any = "Healthy", *, gap: float | None = 0.02, half: float = 0.048, **more: Any) -> Evidence:
    """Today's look: two points are measured, two more or less; a hundred labels came in on each of seven days."""
    made = Evidence(
        report="r",
        verdict=verdict,
        start=NOW - DAY,
        end=NOW,
        version="v1",
        gap=gap,
        lower=None if gap is None else gap - half,
        labels=700,
        reference=0.8,
        since=NOW - 7 * DAY,
    )
    return replace(made, **more)


def situation(days: float = 6, **more: Any) -> Situation:
    """The last training was some days ago."""
    return replace(Situation(now=NOW, policy=POLICY, trained=NOW - days * DAY, learned=WON), **more)


def unlabelled(verdict: Any = "CovariateShift") -> Evidence:
    """A look at a version that is too young for labels."""
    return look(verdict, gap=None, labels=0, since=None)


OLD = look(version="v0", report="old", start=NOW - 8 * DAY, end=NOW - 7 * DAY, since=NOW - 14 * DAY)


@pytest.mark.parametrize(
    ("evidence", "where", "action", "reason"),
    [
        pytest.param(
            look(),
            situation(),
            "Retrain",
            "RetrainingPays",
            id="experience pays though nothing is proven",
        ),
        pytest.param(
            look(),
            situation(days=0.5),
            "Nothing",
            "Healthy",
            id="soon after a training there is little to win",
        ),
        pytest.param(
            look(gap=0.0, half=0.01),
            situation(),
            "Nothing",
            "Healthy",
            id="sure labels without a loss outweigh it",
        ),
        pytest.param(
            look(),
            situation(learned=Expected()),
            "Nothing",
            "Healthy",
            id="the first retraining needs a proof",
        ),
        pytest.param(
            look(),
            situation(policy=ASSUMING, learned=expected([], 0.5)),
            "Retrain",
            "RetrainingPays",
            id="unless a decay is assumed",
        ),
        pytest.param(
            look(gap=0.0, half=0.01),
            situation(policy=ASSUMING, learned=expected([], 0.5)),
            "Nothing",
            "Healthy",
            id="sure labels without a loss outweigh what is assumed too",
        ),
        pytest.param(
            look(),
            situation(learned=replace(WON, per_day=-0.1)),
            "Nothing",
            "Healthy",
            id="retrainings that won nothing stop",
        ),
        pytest.param(
            look(),
            situation(trained=None),
            "Nothing",
            "Healthy",
            id="an unknown age lets expect nothing",
        ),
        pytest.param(
            look(),
            situation(learned=replace(WON, intervals=(3.0,) * 9)),
            "Nothing",
            "Healthy",
            id="gains that last shortly count for less",
        ),
        pytest.param(
            look(),
            situation(policy=POLICY.model_copy(update={"cost_per_run": 0.0})),
            "Nothing",
            "Healthy",
            id="without a cost each needs a proof",
        ),
        pytest.param(
            look(labels=499, since=NOW - 6 * DAY),
            situation(),
            "Nothing",
            "Healthy",
            id="one new label short of minLabels",
        ),
        pytest.param(
            unlabelled(),
            situation(),
            "Wait",
            "WaitingForLabels",
            id="no act on inputs alone",
        ),
        pytest.param(
            unlabelled(),
            situation(earlier=(OLD,)),
            "Retrain",
            "RetrainingPays",
            id="labels come in as before: enough are new",
        ),
        pytest.param(
            unlabelled(),
            situation(earlier=(OLD, replace(OLD, report="to come", end=NOW + 9000 * DAY))),
            "Retrain",
            "RetrainingPays",
            id="a report by hand on a window to come says nothing of how labels come in",
        ),
        pytest.param(
            unlabelled(),
            situation(earlier=(OLD,), rollout=FreshRollout("v1", NOW - 6 * DAY, "v0")),
            "Wait",
            "WaitingForLabels",
            id="labels that should have come and did not are no new ones",
        ),
        pytest.param(
            look("PerformanceLoss", half=0.01, labels=60, since=NOW - 6 * DAY),
            situation(earlier=(OLD,)),
            "Wait",
            "WaitingForLabels",
            id="labels that come in slower than before are counted as they come",
        ),
        pytest.param(
            unlabelled("SchemaBreak"),
            situation(earlier=(OLD,)),
            "Nothing",
            "NotAModelProblem",
            id="broken data is never learned",
        ),
        pytest.param(
            unlabelled("InsufficientData"),
            situation(earlier=(OLD,)),
            "Wait",
            "WaitingForLabels",
            id="too few rows decide nothing",
        ),
        pytest.param(
            look(),
            situation(triggered=False),
            "Nothing",
            "Healthy",
            id="nobody asked for a trigger by drift",
        ),
        pytest.param(
            look(),
            situation(serving=frozenset({"v2"})),
            "Nothing",
            "Healthy",
            id="a version that was replaced is past",
        ),
        pytest.param(
            look(),
            situation(under_way="training t"),
            "Wait",
            "InFlight",
            id="one training at a time",
        ),
        pytest.param(
            look(),
            situation(last_training=NOW),
            "Wait",
            "Cooldown",
            id="the cooldown holds",
        ),
        pytest.param(
            look(),
            situation(policy=POLICY.model_copy(update={"budget": Budget(runs=1)}), trainings=1),
            "Nothing",
            "BudgetSpent",
            id="the budget holds",
        ),
        pytest.param(
            look(),
            situation(policy=POLICY.model_copy(update={"approval": True})),
            "Wait",
            "NeedsApproval",
            id="a person is asked",
        ),
        pytest.param(
            look("PerformanceLoss", half=0.01),
            situation(rollout=FreshRollout("v1", NOW - DAY, "v0")),
            "Nothing",
            "RolloutExplains",
            id="a loss that came with a rollout is rolled back, whatever was won before",
        ),
        pytest.param(
            look("PerformanceLoss", half=0.01, labels=300, since=NOW - 3 * DAY),
            situation(rollout=FreshRollout("v1", NOW - 3 * DAY, "v0")),
            "Wait",
            "WaitingForLabels",
            id="nor while the proof that it came with a rollout still lacks labels",
        ),
        pytest.param(
            look("PerformanceLoss", half=0.01),
            situation(days=12),
            "Retrain",
            "RetrainingPays",
            id="a first alarm need not be repeated",
        ),
    ],
)
def test_decision_table(evidence: Evidence, where: Situation, action: str, reason: str) -> None:
    """Each row is one sentence of the rule."""
    decided = decide(evidence, where)
    assert (decided.action, decided.reason) == (action, reason), decided.message


def test_arithmetic_stands_in_the_decision() -> None:
    """Three points by age, as unsure as they are large, and one by labels, sure to one point: nine parts to one."""
    decided = decide(look(), situation())
    numbers = decided.arithmetic
    assert (numbers["perDay"], numbers["ageDays"], numbers["gap"]) == (0.5, 6.0, 2.0)
    assert numbers["points"] == pytest.approx((3 / 9 + 1) / (1 / 9 + 1))
    assert numbers["benefit"] == pytest.approx(2 * numbers["points"])
    assert decided.message == (
        "3 retrainings won 0.50 points per day of age, the last training was 6.0 days ago: 1.20 points are expected "
        "(3.00 by age, 1.00 by its labels), worth 2.40 against a cost of 1.00: retrain"
    )


@pytest.mark.parametrize(
    ("learned", "told"),
    [
        pytest.param(
            expected([], 0.5),
            "0.5 points per day of age are assumed (spec.training.decision.assumedDecay), ",
            id="alone",
        ),
        pytest.param(WON, "3 retrainings won, with the 0.5 assumed, 0.50 points per day of age, ", id="among others"),
    ],
)
def test_assumption_is_named(learned: Expected, told: str) -> None:
    """Whoever reads the decision sees that it rests on what the user assumed."""
    decided = decide(look(), situation(policy=ASSUMING, learned=learned))
    assert decided.message.startswith(f"{told}the last training was 6.0 days ago: ")


def test_no_carries_what_was_expected() -> None:
    """The look's own answer stands, and the numbers tell why experience did not overrule it."""
    decided = decide(look(), situation(days=0.5))
    assert decided.message == "the look found nothing to retrain for"
    assert decided.arithmetic["ageDays"] == 0.5
    assert decided.arithmetic["expected"] < 0.5


def test_labels_that_are_young_are_no_rate() -> None:
    """Rows wait for their labels: 400 labels of four days, three of which are too young, are 400 a day."""
    young = look(labels=400, since=NOW - 4 * DAY)
    found = expectation(young, situation(maturity=3 * DAY), 0.5, 2.0)
    assert found is not None
    assert found.labels == 800


@given(
    gap=st.floats(-0.3, 0.3),
    half=st.floats(0, 0.3),
    per_day=st.floats(-5, 5),
    days=st.floats(0, 100),
    cost=st.floats(0, 50),
)
def test_retraining_only_ever_where_it_pays(gap: float, half: float, per_day: float, days: float, cost: float) -> None:
    """Whatever the numbers: the expected gain lies between age and labels, and is worth more than it costs."""
    policy = POLICY.model_copy(update={"cost_per_run": cost})
    learned = replace(WON, per_day=per_day)
    decided = decide(look(gap=gap, half=half), situation(days, policy=policy, learned=learned))
    if decided.action == "Retrain":
        assert decided.arithmetic["benefit"] >= round(cost, 4)
        assert decided.arithmetic["points"] <= max(per_day * days, 50 * gap) + 1e-3
