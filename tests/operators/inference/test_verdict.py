"""The three-way verdict: false alarms, power, and what one needs for a pass."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gyre_crds.v1alpha1.inference import Stratum
from gyre_operators.inference.evidence import log_within, log_worse
from gyre_operators.inference.verdict import judge, needed_requests

ALPHA, MARGIN = 0.05, 0.01


def stratum(weight: int, candidate: tuple[int, int], stable: tuple[int, int]) -> Stratum:
    """Counts as (requests, errors)."""
    return Stratum(
        weight=weight,
        candidate_requests=candidate[0],
        candidate_errors=candidate[1],
        stable_requests=stable[0],
        stable_errors=stable[1],
    )


@pytest.mark.parametrize(
    ("strata", "verdict"),
    [
        pytest.param([stratum(10, (364, 0), (3276, 0))], "Inconclusive", id="no errors, one request short of the need"),
        pytest.param([stratum(10, (365, 0), (3285, 0))], "Pass", id="no errors at the needed requests pass"),
        pytest.param([stratum(10, (40, 2), (360, 0))], "Fail", id="two errors against none in a tenth of traffic fail"),
        pytest.param(
            [stratum(50, (300, 3), (300, 3))], "Inconclusive", id="equal errors at small counts decide nothing"
        ),
        pytest.param([stratum(50, (20000, 100), (20000, 90))], "Pass", id="equal error shares pass with many requests"),
        pytest.param([stratum(50, (20000, 200), (20000, 90))], "Pass", id="worse by less than the margin passes"),
        pytest.param([stratum(50, (2000, 100), (2000, 10))], "Fail", id="worse beyond the margin fails"),
        pytest.param(
            [stratum(10, (300, 0), (900, 0))], "Inconclusive", id="a split that is not the wanted one decides nothing"
        ),
        pytest.param(
            [stratum(100, (5000, 0), (0, 0))], "Inconclusive", id="without a concurrent baseline nothing is known"
        ),
        pytest.param(
            [stratum(10, (365, 0), (3285, 0)), stratum(50, (10, 0), (10, 0))],
            "Inconclusive",
            id="a later step starts afresh",
        ),
        pytest.param(
            [stratum(10, (100, 1), (900, 0)), stratum(50, (60, 7), (60, 1))],
            "Fail",
            id="strata together prove what none proves alone",
        ),
    ],
)
def test_verdict_on_counts(strata: list[Stratum], verdict: str) -> None:
    """Each row is what the module's docstring promises of such counts."""
    assert judge(strata, alpha=ALPHA, margin=MARGIN).verdict == verdict


def test_neither_stratum_alone_fails_in_the_row_where_both_do() -> None:
    """The table's last row claims that e-values multiply; here are its parts."""
    for alone in (stratum(10, (100, 1), (900, 0)), stratum(50, (60, 7), (60, 1))):
        assert judge([alone], alpha=ALPHA, margin=MARGIN).verdict == "Inconclusive"


@pytest.mark.parametrize(
    ("margin", "weight", "needed"),
    [(0.01, 10, 365), (0.01, 50, 361), (0.02, 10, 181), (0.02, 50, 178)],
)
def test_spotless_candidate_needs_a_few_hundred_requests(margin: float, weight: int, needed: int) -> None:
    """For traffic without errors the published size is exact, and a few hundred at margins of 0.01 to 0.02."""
    found = needed_requests(error_share=0.0, weight=weight, alpha=ALPHA, margin=margin)
    assert found == needed
    beside = needed * (100 - weight) // weight
    counts = stratum(weight, (needed, 0), (beside, 0))
    assert judge([counts], alpha=ALPHA, margin=margin).verdict == "Pass"


def test_min_requests_delay_a_pass_and_never_a_fail() -> None:
    """A step may want more requests than the statistics do."""
    spotless = [stratum(10, (400, 0), (3600, 0))]
    assert judge(spotless, alpha=ALPHA, margin=MARGIN, min_requests=500).verdict == "Inconclusive"
    failing = [stratum(10, (40, 9), (360, 0))]
    assert judge(failing, alpha=ALPHA, margin=MARGIN, min_requests=500).verdict == "Fail"


def keyed(weight: int, candidate: tuple[int, int], stable: tuple[int, int], *, processes: int = 1) -> Stratum:
    """The same counts of keys."""
    return stratum(weight, candidate, stable).model_copy(update={"unit": "Key", "processes": processes})


def test_keys_that_several_routers_count_weigh_less() -> None:
    """What one router proves by 365 keys, two prove by 730: a key may stand in the counts of both."""
    assert judge([keyed(10, (365, 0), (3285, 0))], alpha=ALPHA, margin=MARGIN).verdict == "Pass"
    assert judge([keyed(10, (365, 0), (3285, 0), processes=2)], alpha=ALPHA, margin=MARGIN).verdict == "Inconclusive"
    said = judge([keyed(10, (730, 0), (6570, 0), processes=2)], alpha=ALPHA, margin=MARGIN)
    assert said.verdict == "Pass"
    assert "0 of 730 keys" in said.sentence
    assert "2 router processes" in said.sentence


def test_keys_that_come_again_in_the_next_step_are_no_new_witnesses() -> None:
    """The evidence of two steps is averaged where keys are counted, and multiplied where requests are."""
    steps = [(10, (100, 1), (900, 0)), (50, (60, 7), (60, 1))]
    assert judge([stratum(*one) for one in steps], alpha=ALPHA, margin=MARGIN).verdict == "Fail"
    assert judge([keyed(*one) for one in steps], alpha=ALPHA, margin=MARGIN).verdict == "Inconclusive"


def test_heavy_failing_users_refuse_no_good_candidate() -> None:
    """One user in fifty fails always and asks a hundred times: two routers meet each, and both steps meet all."""
    rng = random.Random(11)  # noqa: S311  a simulation
    refused = by_request = 0
    for _ in range(300):
        strata, requests = [], []
        users = [(rng.random(), rng.random() < 0.02) for _ in range(1500)]
        for weight in (10, 50):
            sides = [[fails for place, fails in users if (place * 100 < weight) is side] for side in (True, False)]
            counts = [(2 * len(side), 2 * sum(side)) for side in sides]
            strata.append(keyed(weight, counts[0], counts[1], processes=2))
            requests.append(stratum(weight, *((50 * n, 50 * k) for n, k in counts)))
        refused += judge(strata, alpha=ALPHA, margin=MARGIN).verdict == "Fail"
        by_request += judge(requests, alpha=ALPHA, margin=MARGIN).verdict == "Fail"
    assert refused <= 300 * ALPHA
    assert by_request > 5 * refused


def rolled_back(rng: random.Random, stable: float, candidate: float, *, looks: int = 60, rate: int = 100) -> str:
    """The first verdict of a step at 10 %, looked at after every `rate` requests."""
    counts = [0, 0, 0, 0]
    for _ in range(looks):
        for _ in range(rate):
            of_candidate = rng.random() < 0.1
            counts[0 if of_candidate else 2] += 1
            counts[1 if of_candidate else 3] += rng.random() < (candidate if of_candidate else stable)
        now = stratum(10, (counts[0], counts[1]), (counts[2], counts[3]))
        said = judge([now], alpha=ALPHA, margin=MARGIN).verdict
        if said != "Inconclusive":
            return said
    return "Inconclusive"


def test_equal_candidate_is_refused_no_more_often_than_declared() -> None:
    """Null runs with a look after every hundred requests: false rollbacks stay below alpha plus three errors."""
    rng = random.Random(20261121)  # noqa: S311  a simulation
    runs = 150
    refused = sum(rolled_back(rng, 0.02, 0.02) == "Fail" for _ in range(runs))
    assert refused <= runs * (ALPHA + 3 * (ALPHA * (1 - ALPHA) / runs) ** 0.5)


def test_failing_candidate_is_caught() -> None:
    """Eight times the errors at a tenth of the traffic are found nearly always within 6,000 requests."""
    rng = random.Random(7)  # noqa: S311  a simulation
    assert sum(rolled_back(rng, 0.01, 0.08) == "Fail" for _ in range(40)) >= 39


@settings(max_examples=200, deadline=None)
@given(
    requests=st.tuples(st.integers(0, 5000), st.integers(0, 5000)),
    errors=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    margin=st.floats(0.001, 0.5),
)
def test_evidence_within_the_margin_is_never_strong_where_the_counts_say_otherwise(
    requests: tuple[int, int], errors: tuple[float, float], margin: float
) -> None:
    """Where the observed excess reaches the margin, the null fits the counts best: the evidence stays below one."""
    counts = [(n, int(n * share)) for n, share in zip(requests, errors, strict=True)]
    (n_c, k_c), (n_s, k_s) = counts
    found = log_within(counts[0], counts[1], margin)
    assert found == found  # noqa: PLR0124  not NaN
    if n_c and n_s and k_c / n_c - k_s / n_s >= margin:
        assert found <= 1e-6


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 300), st.integers(0, 300), st.floats(0.01, 0.99))
def test_one_more_error_of_the_candidate_never_weakens_the_evidence_against_it(k: int, m: int, share: float) -> None:
    """The evidence of being worse grows with the candidate's errors and falls with the stable revision's."""
    assert log_worse(k + 1, m, share) >= log_worse(k, m, share)
    assert log_worse(k, m + 1, share) <= log_worse(k, m, share)
