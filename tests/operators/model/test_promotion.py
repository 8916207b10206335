"""Which version is champion: proof, refusal, gates of another champion, the line in git, a restored cluster."""

import pytest

from gyre_crds.v1alpha1 import Model
from gyre_operators.engine.kinds import gyre
from tests.operators.builders import (
    READY,
    after,
    condition,
    digest_of,
    key,
    loss,
    model,
    monitor,
    report,
    service,
    stalled,
    version,
)
from tests.operators.model.conftest import CHAMPION, Scene, serves


async def test_challenger_becomes_champion_when_its_rollout_is_finished(scene: Scene) -> None:
    """provenBy: gates make a challenger, the finished rollout makes a champion, a rollout under way does not."""
    scene.put(model(status=CHAMPION), service(status=serves("v1")), version("v1", age=9), version("v2"))
    await scene.rest()
    assert (scene.status["champion"]["name"], scene.status["challenger"]["name"]) == ("v1", "v2")
    scene.put(service(status=serves("v2", candidate="v3")))
    await scene.rest()
    assert scene.status["champion"]["name"] == "v1"
    scene.put(service(status=serves("v2")))
    await scene.rest()
    assert scene.status["champion"]["name"] == "v2"
    assert "challenger" not in scene.status


async def test_refused_version_is_no_challenger_any_more(scene: Scene) -> None:
    """What the rollout refused stands back; the champion stays."""
    scene.put(model(status=CHAMPION), service(status=serves("v1")), version("v1", age=9), version("v2"))
    await scene.rest()
    scene.put(service(status=serves("v1", rejected="v2")))
    await scene.rest()
    assert "challenger" not in scene.status
    assert scene.condition["reason"] == "ChampionStands"
    assert "v2 was refused by its rollout" in scene.condition["message"]


async def test_version_whose_gates_run_or_failed_is_no_challenger(scene: Scene) -> None:
    """Only Ready passes."""
    running = {"conditions": [condition("Ready", "False", "GatesRunning")]}
    failed = {"conditions": stalled("GateFailed", "accuracy 0.7 is below 0.8")}
    scene.put(model(status=CHAMPION), service(status=serves("v1")), version("v1", age=9))
    scene.put(version("v2", age=2, status=running), version("v3", age=1, status=failed))
    await scene.rest()
    assert "challenger" not in scene.status


@pytest.mark.parametrize(
    ("against", "kind", "promoted"),
    [
        ("v1", "Champion", True),
        ("v0", "Champion", False),
        (None, "Champion", False),
        ("v0", "SchemaCompatible", False),
        ("v0", "Metric", True),
    ],
    ids=[
        "measured against the champion of now",
        "measured against the champion before",
        "measured when there was none",
        "signature held against the champion before",
        "a gate that compares with nobody",
    ],
)
async def test_only_what_beat_the_champion_of_now_is_promoted(
    scene: Scene, against: str | None, kind: str, *, promoted: bool
) -> None:
    """A gate bound to another champion is no proof: its version waits until the gate was repeated."""
    gate = {"name": "better", "type": kind, "state": "Passed"}
    bound = {"conditions": READY, "gates": [gate | ({"champion": digest_of(against)} if against else {})]}
    scene.put(model(status=CHAMPION), service(status=serves("v2")), version("v1", age=9), version("v2", status=bound))
    await scene.rest()
    assert scene.status["champion"]["name"] == ("v2" if promoted else "v1")

    again = {"conditions": READY, "gates": [{**gate, "champion": digest_of("v1")}]}
    scene.put(version("v2", status=again))
    await scene.rest()
    assert scene.status["champion"]["name"] == "v2"


async def test_without_a_prover_gates_are_enough(scene: Scene) -> None:
    """No provenBy: the newest version that passed is champion at once."""
    scene.put(model({"promotion": {}}), version("v1", age=9), version("v2"))
    await scene.rest()
    assert scene.status["champion"]["name"] == "v2"


async def test_manual_champion_is_the_line_in_git_and_an_alias_of_nothing_is_said(scene: Scene) -> None:
    """One line moves the champion, also back; a name that does not exist is a sentence, and nothing moves."""
    spec = {"promotion": {"mode": "Manual"}, "aliases": {"champion": "v2"}}
    scene.put(model(spec), version("v1", age=9), version("v2"))
    await scene.rest()
    assert scene.status["champion"]["name"] == "v2"
    scene.town.patch(gyre(Model), key("census"), spec={"aliases": {"champion": "v1"}})
    await scene.rest()
    assert scene.status["champion"]["name"] == "v1"
    scene.town.patch(gyre(Model), key("census"), spec={"aliases": {"champion": "v9"}})
    await scene.rest()
    assert scene.status["champion"]["name"] == "v1"
    assert scene.condition["reason"] == "AliasOfNothing"
    assert "spec.aliases.champion: there is no ModelVersion v9" in scene.condition["message"]


async def test_restored_cluster_takes_its_champion_from_what_serves(scene: Scene) -> None:
    """Without any status: the stable revision's version is champion, and old questions are not asked again."""
    scene.put(model(annotations={"gyre.dev/retrain": "old"}), service(status=serves("v1")), version("v1", age=9))
    scene.put(monitor(), report("r1", "PerformanceLoss", performance=loss(0.1, 5000)))
    await scene.rest()
    assert scene.status["champion"]["name"] == "v1"
    assert scene.jobs() == []


async def test_champion_that_does_not_parse_stays_champion(scene: Scene) -> None:
    """Stored by an older CRD: nothing is trained, promoted or removed, and Ready says what to correct.

    It counted as gone, so that the next version that had passed its gates took its place without a proof.
    """
    scene.put(model({"retention": {"keep": 1}}, CHAMPION), service(status=serves("v1")), version("v1", age=9))
    await scene.rest()
    broken = version("v1", age=9, digest="none")
    scene.put({**broken, "metadata": {**broken["metadata"], "labels": {"gyre.dev/model": "census"}}})
    scene.put(version("v2", age=8), version("v3", age=7))
    await scene.rest(after(10))
    assert scene.status["champion"]["name"] == "v1"
    assert "challenger" not in scene.status
    assert scene.versions() == ["v1", "v2", "v3"]
    assert scene.jobs() == []
    assert scene.condition["reason"] == "InvalidSpec"
    assert scene.condition["message"].startswith("ModelVersion v1 cannot be read (spec.digest: ")
    assert "until then nothing is trained, promoted or removed" in scene.condition["message"]
    scene.put(version("v1", age=9))
    await scene.rest(after(20))
    assert scene.status["challenger"]["name"] == "v3"


async def test_service_that_does_not_parse_loses_no_version(scene: Scene) -> None:
    """What it serves cannot be known, so nothing is removed: retention took the version that it served."""
    scene.put(model({"retention": {"keep": 1}, "promotion": {}}, CHAMPION), version("v0", age=9), version("v1", age=8))
    scene.put(service(status=serves("v0")))
    await scene.rest()
    assert scene.status["usedBy"] == ["census"]
    scene.put(service({"model": {"name": ["census"]}}, serves("v0")))
    await scene.rest(after(10))
    assert scene.versions() == ["v0", "v1"]
    assert scene.status["usedBy"] == ["census"]
    assert "InferenceService census cannot be read (spec.model" in scene.condition["message"]
