"""What past retrainings teach of the share that can be won back."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gyre_crds.v1alpha1 import Model
from gyre_crds.v1alpha1.model import Retraining
from gyre_operators.model.learned import LEAST, MOST, PRIOR, Expected, expected
from tests.operators.builders import (
    NOW,
    READY,
    after,
    digest_of,
    loss,
    model,
    monitor,
    report,
    service,
    stalled,
    text,
    version,
)
from tests.operators.model.conftest import CHAMPION, Scene, serves


def retrained(
    gain: float, *, lost: float = 4.0, half: float = 0.0, number: int = 1, days: float | None = None
) -> Retraining:
    """A retraining on a loss that was known exactly, some days after the training before."""
    return Retraining(
        version=f"v{number}",
        at=text(NOW),
        lost=lost,
        lost_lower=lost,
        gain=gain,
        gain_lower=gain - half,
        gain_upper=gain + half,
        age_days=days,
    )


def test_nothing_learned_is_one_half() -> None:
    """Without a retraining the prior stands, and says that it was learned from none."""
    assert expected([]) == Expected(PRIOR, 0)


@pytest.mark.parametrize(
    ("past", "least", "most"),
    [
        pytest.param([retrained(4.0)], 0.75, 0.75, id="one full success moves the share half of the way"),
        pytest.param([retrained(4.0)] * 8, 0.85, 0.95, id="eight full successes bring it near to one"),
        pytest.param([retrained(0.0)] * 8, LEAST, 0.13, id="eight failures bring it near to nothing"),
        pytest.param([retrained(4.0, half=40)], 0.5, 0.51, id="a gain that is not known teaches nothing"),
        pytest.param(
            [retrained(-40.0)] * 20, LEAST, 0.12, id="twenty disasters leave hardly more than the least share"
        ),
        pytest.param([retrained(-40.0)], 0.25, 0.25, id="one disaster counts as a retraining that won nothing"),
        pytest.param([retrained(40.0)], 0.75, 0.75, id="nobody wins back more than was lost"),
        pytest.param(
            [retrained(4.0)] * 8 + [retrained(0.0)] * 2, 0.4, 0.6, id="two new failures weigh as eight successes"
        ),
        pytest.param([retrained(4.0, lost=0.0)], PRIOR, PRIOR, id="without a loss there is no share of it"),
    ],
)
def test_share(past: list[Retraining], least: float, most: float) -> None:
    """The share moves from the prior with the number of retrainings and with how sure each is."""
    found = expected(past)
    assert least - 1e-9 <= found.share <= most + 1e-9
    assert found.retrainings == sum(one.lost > 0 for one in past)


@pytest.mark.parametrize(
    ("past", "per_day"),
    [
        pytest.param([], 0.0, id="without a retraining there is no experience"),
        pytest.param([retrained(6.0)], 0.0, id="a gain of unknown age is none"),
        pytest.param(
            [retrained(6.0, days=6)], 0.5, id="one point a day counts half, beside one before that won nothing"
        ),
        pytest.param([retrained(6.0, days=0.01)], 3.0, id="what came within a day counts as of a day"),
        pytest.param([retrained(20.0, days=20), retrained(0.0, days=3)], 0.26, id="the newest tells more"),
        pytest.param([retrained(-6.0, days=6)], -0.5, id="a gain below nothing counts as it is"),
    ],
)
def test_points_won_per_day(past: list[Retraining], per_day: float) -> None:
    """What retrainings won for each day of age, and how that is forgotten."""
    found = expected(past)
    assert found.per_day == pytest.approx(per_day, abs=0.005)
    assert found.aged == sum(one.age_days is not None for one in past)


@pytest.mark.parametrize(
    ("past", "per_day"),
    [
        pytest.param([], 0.4, id="alone it is all that is known"),
        pytest.param([retrained(0.0, days=6)], 0.2, id="one retraining that won nothing halves it"),
        pytest.param([retrained(6.0, days=6)], 0.7, id="one that won more raises it by half"),
    ],
)
def test_assumed_decay_gives_way_to_what_was_measured(past: list[Retraining], per_day: float) -> None:
    """What is assumed counts as one retraining before all others."""
    assert expected(past, 0.4).per_day == pytest.approx(per_day, abs=0.005)


def test_what_is_won_lasts_until_the_next_retraining() -> None:
    """Nothing is known of the first life but its horizon; later lives are the times between retrainings."""
    assert expected([]).lasting(30) == 1
    assert expected([retrained(4.0, days=2)]).lasting(30) == 1
    short = [retrained(4.0, days=2), retrained(4.0, days=6), retrained(4.0, days=90)]
    assert expected(short).lasting(30) == pytest.approx((30 + 6 + 30) / 90)


@given(st.lists(st.tuples(st.floats(-20, 20), st.floats(0.1, 20), st.floats(0, 20)), max_size=20))
def test_share_is_always_a_share(drawn: list[tuple[float, float, float]]) -> None:
    """Whatever was measured, the share stays between its bounds."""
    past = [retrained(gain, lost=lost, half=half) for gain, lost, half in drawn]
    assert LEAST <= expected(past).share <= MOST


@pytest.mark.parametrize(
    "past",
    [
        pytest.param([retrained(1.0, lost=1e-200)], id="a loss of nearly nothing"),
        pytest.param([retrained(1.0, lost=1e200)], id="a loss without end"),
        pytest.param([retrained(1.0, half=1e300)], id="bounds without end"),
        pytest.param([retrained(1e308, days=1.0), retrained(1e308, days=1.0)], id="gains without end"),
    ],
)
def test_numbers_of_no_measurement_teach_nothing(past: list[Retraining]) -> None:
    """A damaged status, or a reference of nearly nothing, ended in an error or in a training worth `nan`."""
    found = expected(past)
    assert found.share == PRIOR
    assert 0 <= found.per_day < 1


def judged(parent: str, *, gain: float = 0.045, state: str = "Passed") -> dict[str, Any]:
    """The status of a version that its champion gate compared with another."""
    gate = {"name": "better", "type": "Champion", "state": state, "reason": state, "champion": digest_of(parent)}
    numbers = {"gain": gain, "gainLower": gain - 0.004, "gainUpper": gain + 0.004}
    return {"conditions": READY, "gates": [gate | numbers]}


async def life(scene: Scene, **decision: Any) -> str:
    """A Model that retrains on a loss of five points; the name of the job."""
    rules = {"costPerRun": 1, "benefitPerPoint": 2, "cooldown": "1s", **decision}
    training = {"template": {"image": "i", "command": ["c"]}, "triggers": [{"type": "Drift"}], "decision": rules}
    scene.put(model({"training": training}, {**CHAMPION, "observedGeneration": 1}))
    scene.put(service(status=serves("v1")), version("v1", age=9), monitor())
    for minute, labels in ((1, 1000), (2, 2500)):
        found = loss(0.05, labels, since=NOW)
        scene.put(report(f"r{minute}", "PerformanceLoss", end=after(60 * minute), performance=found))
        await scene.rest(after(60 * minute + 1))
    [job] = scene.jobs()
    return job


async def test_measured_gain_teaches_the_next_decision(scene: Scene) -> None:
    """The first decision rests on the prior, the next on what the champion gate measured, and says so."""
    job = await life(scene)
    assert "recoverable 0.50 until retrainings teach it" in scene.newest()["message"]
    scene.finish(job, version="v2")
    scene.put(version("v2", status=judged("v1"), lineage={"job": job, "parent": "v1", "trainedAt": text(NOW)}))
    scene.put(service(status=serves("v2")))
    await scene.rest(after(130))
    [learned] = scene.status["retrainings"]
    assert (learned["version"], learned["lost"], learned["gain"]) == ("v2", 5.0, 4.5)
    assert learned["ageDays"] == pytest.approx(9 / 24, abs=0.01)
    for minute, labels in ((5, 1000), (6, 2500)):
        found = loss(0.05, labels, since=after(200))
        made = report(f"r{minute}", "PerformanceLoss", end=after(60 * minute), performance=found, version="v2")
        scene.put(made)
        await scene.rest(after(60 * minute + 1))
    share = scene.newest()["arithmetic"]["recoverable"]
    assert 0.6 < share < 0.75
    assert f"recoverable {share:.2f} from 1 retraining)" in scene.newest()["message"]


@pytest.mark.parametrize(("won", "action"), [(40.0, "Retrain"), (0.0, "Nothing")])
async def test_retrainings_that_paid_let_the_next_not_wait_for_a_proof(scene: Scene, won: float, action: str) -> None:
    """A healthy look nine hours after the last training: what past ones won within a day decides."""
    past = retrained(won, number=0, days=1).dump()
    training = {"template": {"image": "i", "command": ["c"]}, "triggers": [{"type": "Drift"}]}
    training["decision"] = {"costPerRun": 1, "benefitPerPoint": 2}
    scene.put(model({"training": training}, {**CHAMPION, "observedGeneration": 1, "retrainings": [past]}))
    scene.put(service(status=serves("v1")), version("v1", age=9), monitor())
    scene.put(report("r1", "Healthy", end=after(60), performance=loss(0.02, 2000, since=NOW)))
    await scene.rest(after(61))
    assert scene.newest()["action"] == action
    assert ("1 retraining won 20.00 points per day of age" in scene.newest()["message"]) == (action == "Retrain")


@pytest.mark.parametrize(("assumed", "action"), [(40, "Retrain"), (0, "Nothing")])
async def test_assumed_decay_tries_a_first_retraining_without_a_proof(
    scene: Scene, assumed: float, action: str
) -> None:
    """A healthy look at a version that is nine hours old, and no retraining yet."""
    rules = {"costPerRun": 1, "benefitPerPoint": 2, "assumedDecay": assumed}
    training = {"template": {"image": "i", "command": ["c"]}, "triggers": [{"type": "Drift"}], "decision": rules}
    scene.put(model({"training": training}, {**CHAMPION, "observedGeneration": 1}))
    scene.put(service(status=serves("v1")), version("v1", age=9), monitor())
    scene.put(report("r1", "Healthy", end=after(60), performance=loss(0.02, 2000, since=NOW)))
    await scene.rest(after(61))
    assert scene.newest()["action"] == action
    assert ("are assumed (spec.training.decision.assumedDecay)" in scene.newest()["message"]) == (action == "Retrain")


@pytest.mark.parametrize(
    "rules",
    [
        pytest.param({"horizon": "999999d999999d"}, id="a horizon"),
        pytest.param({"cooldown": "999999d999999d"}, id="a pause"),
        pytest.param({"budget": {"runs": 9, "per": "999999d999999d"}}, id="a budget's period"),
    ],
)
async def test_spans_beyond_all_dates_are_a_century(scene: Scene, rules: dict[str, Any]) -> None:
    """`cooldown: 999999d` means never again: no date is so long ago, and the Model's rounds broke off."""
    decision = {"costPerRun": 1, "benefitPerPoint": 2, "assumedDecay": 40, **rules}
    training = {"template": {"image": "i", "command": ["c"]}, "triggers": [{"type": "Drift"}], "decision": decision}
    trained = text(NOW - timedelta(days=400))
    scene.put(model({"training": training}, {**CHAMPION, "observedGeneration": 1, "trainedAt": [trained]}))
    scene.put(service(status=serves("v1")), version("v1", age=9), monitor())
    scene.put(report("r1", "Healthy", end=after(60), performance=loss(0.02, 2000, since=NOW)))
    await scene.rest(after(61))
    assert scene.newest()["reason"] == ("Cooldown" if "cooldown" in rules else "RetrainingPays")


async def test_gain_was_won_over_the_age_of_the_champion(scene: Scene) -> None:
    """A version refused an hour ago made the champion no younger.

    The gain over nine hours counted as won within that one hour, and the next trainings followed each other.
    """
    scene.put(version("v0", age=1, status={"conditions": stalled("GateFailed", "worse")}))
    job = await life(scene)
    assert scene.newest()["arithmetic"]["ageDays"] == pytest.approx(1 / 24, abs=0.01)
    scene.finish(job, version="v2")
    scene.put(version("v2", status=judged("v1"), lineage={"job": job, "parent": "v1", "trainedAt": text(NOW)}))
    await scene.rest(after(130))
    assert scene.status["retrainings"][0]["ageDays"] == pytest.approx(9 / 24, abs=0.01)


async def test_a_training_that_made_nothing_is_not_tried_again_at_each_look(scene: Scene) -> None:
    """What experience expects grows from the last try, not from the last success.

    A training without new data left the version as old as it was: each look trained again, as often as cooldown let.
    """
    won = {"version": "v0", "at": text(NOW), "lost": 0, "lostLower": 0, "gain": 1, "gainLower": 0, "gainUpper": 2}
    rules = {"costPerRun": 1, "benefitPerPoint": 2, "cooldown": "1s"}
    training = {"template": {"image": "i", "command": ["c"]}, "triggers": [{"type": "Drift"}], "decision": rules}
    status = {**CHAMPION, "retrainings": [{**won, "ageDays": 1}], "observedGeneration": 1}
    scene.put(model({"training": training}, status), service(status=serves("v1")), version("v1", age=240), monitor())
    for hour in (1, 2, 3):
        found = {**loss(0.02, 1000, since=after(-86_400)), "lower": -0.02}
        scene.put(report(f"r{hour}", end=after(3600 * hour), performance=found))
        await scene.rest(after(3600 * hour + 1))
        for job in scene.jobs():
            scene.finish(job, failed="no new data")
    assert [d["report"] for d in scene.status["decisions"] if d["action"] == "Retrain"] == ["r1"]


async def test_what_was_learned_outlives_its_decision_and_version(scene: Scene) -> None:
    """Decisions leave the status and retention removes versions: what they taught stays."""
    job = await life(scene)
    scene.put(version("v2", status=judged("v1"), lineage={"job": job, "parent": "v1", "trainedAt": text(NOW)}))
    await scene.rest(after(130))
    before = scene.status["retrainings"]
    body = scene.town.object(Model, "census")
    scene.town.put({**body, "status": {**body["status"], "decisions": []}})
    await scene.rest(after(140))
    assert scene.status["retrainings"] == before


async def test_what_the_user_sets_wins(scene: Scene) -> None:
    """An explicit share is not learned away."""
    await life(scene, recoverable=0.8)
    assert scene.newest()["arithmetic"]["recoverable"] == 0.8
    assert "recoverable 0.80 as set" in scene.newest()["message"]


@pytest.mark.parametrize(
    "status",
    [
        pytest.param(judged("v0"), id="compared with another version than the one that lost"),
        pytest.param({"conditions": READY}, id="compared with none"),
    ],
)
async def test_only_the_comparison_with_the_version_that_lost_teaches(scene: Scene, status: dict[str, Any]) -> None:
    """A gain over another version says nothing of this loss."""
    job = await life(scene)
    scene.put(version("v2", status=status, lineage={"job": job, "parent": "v1", "trainedAt": text(NOW)}))
    await scene.rest(after(130))
    assert not scene.status.get("retrainings")
