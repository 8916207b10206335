"""Every way in which a training can go wrong ends as one reason and one sentence with the cure."""

import pytest

from tests.operators.training.conftest import Make
from tests.operators.training.fates import CASES, Case


@pytest.mark.parametrize(
    ("case", "said"),
    [
        pytest.param("no node with enough memory", "too little free memory", id="a pod without a node"),
        pytest.param("a quota that is used up", "raise the quota", id="a pod that a quota forbids"),
        pytest.param("an exception", "exit code 1; its output ends with: ValueError: boom", id="a command that fails"),
    ],
)
async def test_trouble_is_told_once_on_one_line(case: str, said: str, make: Make) -> None:
    """Trouble warns by one Event with its cause on one line; it once passed for a start, or ended before the cause."""
    cluster = make(**CASES[case].spec)
    await cluster.settle()
    CASES[case].act(cluster)
    (event,) = (await cluster.plan()).events
    assert (event.type, event.reason) == ("Warning", CASES[case].reason)
    assert said in event.message
    assert "\n" not in event.message
    await cluster.settle()
    assert (await cluster.plan()).events == ()


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_reason_and_sentence(case: Case, make: Make) -> None:
    """The Ready condition carries the reason and a sentence that names field and cure; repeating changes nothing."""
    cluster = make(**case.spec)
    await cluster.settle()
    case.act(cluster)
    status = await cluster.settle()
    reason, message = cluster.ready()
    assert (status["state"], reason, status["reason"]) == (case.state, case.reason, case.reason)
    for part in case.says:
        assert part in message
    before = cluster.world._version
    await cluster.settle(1)
    assert cluster.world._version == before


@pytest.mark.parametrize(
    "case", [c for c in CASES.values() if c.state == "Failed"], ids=[n for n, c in CASES.items() if c.state == "Failed"]
)
async def test_failures_stand_in_the_attempt(case: Case, make: Make) -> None:
    """A failed job is Stalled and Failed for kstatus, and its attempt holds reason and diagnosis."""
    cluster = make(**case.spec)
    await cluster.settle()
    case.act(cluster)
    status = await cluster.settle()
    conditions = {each["type"]: each["status"] for each in status["conditions"]}
    assert conditions == {"Ready": "False", "Reconciling": "False", "Stalled": "True", "Failed": "True"}
    (attempt,) = status["attempts"]
    assert (attempt["outcome"], attempt["reason"], attempt["charged"]) == ("Failed", case.reason, True)
    assert attempt["diagnosis"]
    assert status["finishedAt"]
