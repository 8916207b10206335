"""The champion's gate: its gain, the windows it leaves out, and champions that move or cannot be read."""

import pytest

from gyre_crds.contracts.task import GateReport
from gyre_crds.v1alpha1.model import Model
from gyre_operators.engine.kinds import gyre
from tests.operators.version.cluster import (
    CHAMPION,
    KEY,
    OTHER,
    PASSED,
    PROFILED,
    VERIFIED,
    model,
    version,
)
from tests.operators.version.conftest import Make
from tests.operators.version.gating import BETTER, METRIC, SCHEMA, SERVES, THIRD, report, verified


async def test_champion_gates_gain_stands_on_the_version(make: Make) -> None:
    """What a version wins over the champion is kept with its bounds, refused or not: decisions learn from it."""
    cluster = make(model([BETTER], **SERVES), version(), version(CHAMPION.name, OTHER))
    await verified(cluster)
    numbers = {"candidate": 0.82, "champion": 0.80, "gain": 0.02, "lower": -0.01, "upper": 0.05}
    cluster.answer_all(gate=report("Failed", "GateFailed", "worse.").model_copy(update={"numbers": numbers}))
    await cluster.settle()
    said = cluster.gate("better")
    assert (said["gain"], said["gainLower"], said["gainUpper"]) == (0.02, -0.01, 0.05)


async def test_champion_gate_leaves_broken_windows_out(make: Make) -> None:
    """Windows of the proving service that a look found broken are named to the champion gate; shifts stay in."""
    made = model([METRIC, BETTER], **SERVES)
    made["spec"]["promotion"] = {"provenBy": "census"}
    watch = {
        "apiVersion": "gyre.dev/v1alpha1",
        "kind": "DriftMonitor",
        "metadata": {"name": "watch", "namespace": KEY.namespace},
        "spec": {"target": {"inferenceService": "census"}},
    }
    found = [("watch", "SchemaBreak", True), ("watch", "CovariateShift", True), ("watch", "SchemaBreak", False)]
    reports = [
        {
            "apiVersion": "gyre.dev/v1alpha1",
            "kind": "DriftReport",
            "metadata": {"name": f"r{hour}", "namespace": KEY.namespace},
            "spec": {
                "monitor": by,
                "verdict": verdict,
                "reason": "x",
                "mayAct": act,
                "window": {"start": f"2026-11-20T0{hour}:00:00Z", "end": f"2026-11-20T0{hour}:30:00Z", "rows": 10},
            },
        }
        for hour, (by, verdict, act) in enumerate(found)
    ]
    cluster = make(made, version(), version(CHAMPION.name, OTHER), watch, *reports)
    await verified(cluster)

    orders = {order["gate"]: order for order in map(cluster.order, cluster.jobs("gate"))}

    assert orders["better"]["excluded"] == [{"start": "2026-11-20T00:00:00Z", "end": "2026-11-20T00:30:00Z"}]
    assert not orders["accuracy"].get("excluded")


async def test_champion_moved_means_a_new_run(make: Make) -> None:
    """A comparison counts against the champion it was made with: another champion, another Job."""
    cluster = make(
        model([BETTER], **SERVES), version(), version(CHAMPION.name, OTHER), version("census-efefefefefef", THIRD)
    )
    await verified(cluster)
    cluster.answer_all(gate=PASSED, profile=PROFILED)
    await cluster.settle()
    assert cluster.gate("better")["champion"] == OTHER
    assert cluster.ready()[1] == "Ready"
    cluster.promote("census-efefefefefef")
    status = await cluster.settle()
    assert (status["reason"], cluster.gate("better")["state"]) == ("GatesRunning", "Running")
    assert cluster.gate("better")["champion"] == THIRD
    assert len(cluster.jobs("gate")) == 2
    assert cluster.order(cluster.gate("better")["job"])["champion"]["digest"] == THIRD


async def test_older_than_the_champion_is_not_compared_again(make: Make) -> None:
    """A version that passed and was made before the new champion is not its heir, and costs no Job."""
    newer = version("census-efefefefefef", THIRD)
    newer["metadata"]["creationTimestamp"] = "2026-11-20T09:30:00Z"
    cluster = make(model([BETTER]), version(), newer)
    await verified(cluster)
    cluster.answer_all(gate=PASSED, profile=PROFILED)
    await cluster.settle()
    cluster.promote("census-efefefefefef")
    await cluster.settle()
    assert cluster.jobs("gate") == []
    assert cluster.gate("better")["reason"] == "NoChampion"


@pytest.mark.parametrize(
    ("answer", "gate", "said"),
    [
        pytest.param(report("Failed", "GateFailed", "It is worse."), "Failed", "It is worse.", id="refused before"),
        pytest.param(PASSED, "Passed", "0.79 is at least 0.75.", id="passed before"),
        pytest.param(None, "Running", "", id="under way"),
    ],
)
async def test_unreadable_champion_changes_no_verdict(
    make: Make, answer: GateReport | None, gate: str, said: str
) -> None:
    """A refused version turned `Passed: there is no champion`, and could have taken over from the one that is there."""
    cluster = make(model([BETTER], **SERVES), version(), version(CHAMPION.name, OTHER))
    await verified(cluster)
    if answer is not None:
        cluster.answer_all(gate=answer, profile=PROFILED)
    await cluster.settle()
    before = cluster.gate("better")
    cluster.world.put(version(CHAMPION.name, OTHER, signature=7))
    await cluster.settle()
    assert cluster.gate("better") == before
    assert before["state"] == gate
    assert said in before.get("message", "")


async def test_gates_wait_for_an_unreadable_champion(make: Make) -> None:
    """No verdict without it, by sentence; one as soon as it can be read."""
    cluster = make(model([BETTER, SCHEMA], **SERVES), version(), version(CHAMPION.name, OTHER, signature=7))
    await verified(cluster)
    for name in ("better", "schema"):
        assert cluster.gate(name)["state"] == "Unknown"
        assert f"ModelVersion {CHAMPION.name}, cannot be read (spec.signature: " in cluster.gate(name)["message"]
    assert cluster.jobs("gate") == []
    cluster.world.put(version(CHAMPION.name, OTHER))
    await cluster.settle()
    assert [cluster.gate(name)["state"] for name in ("better", "schema")] == ["Running", "Passed"]


async def test_gates_of_a_champion_stay(make: Make) -> None:
    """Once promoted, neither a changed gate list nor its own championship asks a gate again."""
    cluster = make(model([BETTER]), version())
    await verified(cluster)
    cluster.answer_all(profile=PROFILED)
    await cluster.settle()
    cluster.promote()
    await cluster.settle()
    cluster.answer_all(verify=VERIFIED)
    gates = (await cluster.settle())["gates"]
    body = cluster.world.get(gyre(Model), KEY._replace(name="census"))
    assert body is not None
    cluster.world.put({**body, "spec": {**body["spec"], "gates": [METRIC]}})
    assert (await cluster.settle())["gates"] == gates
