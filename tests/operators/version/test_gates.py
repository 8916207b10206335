"""Gates: what each says, when a champion moves, and when a gate is asked again."""

from typing import Any

import pytest

from gyre_crds.contracts.attempt import FailureReport
from gyre_crds.contracts.task import GateReport
from gyre_crds.v1alpha1.model import Model
from gyre_crds.v1alpha1.version import ModelVersion, Signature
from gyre_operators.engine.kinds import gyre
from gyre_operators.version.gates import schema_difference
from tests.operators.version.cluster import (
    CHAMPION,
    DIGEST,
    KEY,
    OTHER,
    PASSED,
    PROFILED,
    SIGNATURE,
    VERIFIED,
    Cluster,
    model,
    version,
)
from tests.operators.version.conftest import Make

THIRD = "sha256:" + "ef" * 32
METRIC = {"name": "accuracy", "type": "Metric", "metric": "accuracy", "min": 0.75}
BETTER = {"name": "better", "type": "Champion"}
SCHEMA = {"name": "schema", "type": "SchemaCompatible"}
APPROVAL = {"name": "approved", "type": "Approval"}
SERVES = {"champion": {"name": CHAMPION.name}}


async def verified(cluster: Cluster) -> dict[str, Any]:
    """Bring the version to its gates."""
    await cluster.settle()
    cluster.answer_all(verify=VERIFIED)
    return await cluster.settle()


def report(state: str, reason: str, message: str) -> GateReport:
    """A gate's report."""
    return GateReport(state=state, reason=reason, message=message, value=0.7, bound=0.75)


REPORTS = {
    "a metric that the run did not log": (
        report("Failed", "MetricMissing", "The run logged no 'accuracy'; log it or correct gates[].metric."),
        ("False", "MetricMissing", "Gate accuracy refuses the version: The run logged no 'accuracy'"),
    ),
    "a metric below its bound": (
        report("Failed", "GateFailed", "accuracy 0.70 is below min 0.75."),
        ("False", "GateFailed", "accuracy 0.70 is below min 0.75."),
    ),
    "too few rows to tell": (
        report("Unknown", "GateUnknown", "12 labelled rows are too few."),
        (
            "Unknown",
            "GateUnknown",
            "Gate accuracy could not decide, which is never a pass: 12 labelled rows are too few.",
        ),
    ),
    "an artifact that the runtime cannot load": (
        FailureReport(reason="CannotLoad", message="onnxruntime: invalid protobuf."),
        ("False", "CannotLoad", "onnxruntime: invalid protobuf."),
    ),
    "a store that is away": (
        FailureReport(reason="StoreUnreachable", message="the store does not answer."),
        ("Unknown", "GateUnknown", "the store does not answer."),
    ),
}


@pytest.mark.parametrize(("answer", "wanted"), REPORTS.values(), ids=REPORTS)
async def test_reports(answer: GateReport | FailureReport, wanted: tuple[str, str, str], make: Make) -> None:
    """A gate's report becomes the version's reason and sentence; only Passed passes."""
    cluster = make(model([METRIC]), version())
    await verified(cluster)
    cluster.answer_all(gate=answer, profile=PROFILED)
    await cluster.settle()
    status, reason, message = cluster.ready()
    assert (status, reason) == wanted[:2]
    assert wanted[2] in message
    assert cluster.condition("GatesPassed")["status"] != "True"


async def test_refusal_is_told_once(make: Make) -> None:
    """What a gate says is what the version says: of a refusal there once were two Events."""
    cluster = make(model([METRIC]), version())
    await verified(cluster)
    cluster.world.events.clear()
    cluster.answer_all(gate=report("Failed", "MetricMissing", "the run has no metric 'accuracy'"))
    await cluster.settle()
    assert [(event.reason, event.message) for event in cluster.world.events] == [
        ("GateFailed", "accuracy: the run has no metric 'accuracy'")
    ]


async def test_corrected_gate_is_asked_again(make: Make) -> None:
    """A gate with another bound is another question: a version once stayed refused by the bound before."""
    cluster = make(model([METRIC]), version())
    await verified(cluster)
    cluster.answer_all(gate=report("Failed", "GateFailed", "accuracy 0.70 is below min 0.75."))
    await cluster.settle()
    first = cluster.jobs("gate")
    cluster.world.patch(gyre(Model), KEY._replace(name="census"), spec={"gates": [{**METRIC, "min": 0.6}]})
    await cluster.settle()
    (second,) = (name for name in cluster.jobs("gate") if name not in first)
    assert cluster.order(second)["min"] == 0.6
    cluster.answer_all(gate=report("Passed", "Passed", "accuracy 0.70 is at least 0.6."), profile=PROFILED)
    await cluster.settle()
    assert cluster.condition("GatesPassed")["status"] == "True"


async def test_order_holds_all_that_a_gate_needs(make: Make) -> None:
    """The gate's Job is told contract, candidate, champion, bounds and what the run logged."""
    cluster = make(
        model([METRIC, BETTER], **SERVES), version(metrics={"accuracy": 0.79}), version(CHAMPION.name, OTHER)
    )
    await verified(cluster)
    orders = {order["gate"]: order for order in map(cluster.order, cluster.jobs("gate"))}
    assert (orders["accuracy"]["metric"], orders["accuracy"]["min"], orders["accuracy"]["logged"]) == (
        "accuracy",
        0.75,
        {"accuracy": 0.79},
    )
    assert "champion" not in orders["accuracy"]
    assert orders["better"]["champion"]["digest"] == OTHER
    assert orders["better"]["candidate"]["digest"] == DIGEST


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


async def test_gates_wait_for_infrastructure_and_ask_again(make: Make) -> None:
    """A gate lost to the surroundings is asked again after a minute, an undecided one after ten."""
    cluster = make(model([METRIC]), version())
    await verified(cluster)
    cluster.answer_all(gate=FailureReport(reason="StoreUnreachable", message="away"), profile=PROFILED)
    await cluster.settle()
    await cluster.settle(29)
    assert len(cluster.jobs("gate")) == 1
    await cluster.settle(31)
    assert len(cluster.jobs("gate")) == 2
    cluster.answer_all(gate=report("Unknown", "GateUnknown", "12 rows are too few."))
    await cluster.settle()
    await cluster.settle(600)
    assert len(cluster.jobs("gate")) == 2
    await cluster.settle(600)
    assert len(cluster.jobs("gate")) == 3
    cluster.answer_all(gate=PASSED)
    await cluster.settle()
    assert cluster.ready()[:2] == ("True", "Ready")


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


async def test_approval_comes_last(make: Make) -> None:
    """A person is asked when every other gate has passed, and the entry's name and time stand in the gate."""
    cluster = make(model([APPROVAL, METRIC]), version())
    await verified(cluster)
    assert (cluster.gate("approved")["state"], cluster.gate("approved")["reason"]) == ("Pending", "Pending")
    cluster.answer_all(gate=PASSED, profile=PROFILED)
    await cluster.settle()
    status, reason, message = cluster.ready()
    assert (status, reason) == ("False", "WaitingForApproval")
    assert f"Append an entry to spec.approvals of ModelVersion {KEY.name}." in message
    entry = {"user": "ada", "at": "2026-11-20T11:00:00Z"}
    cluster.world.patch(gyre(ModelVersion), KEY, spec={"approvals": [entry]})
    await cluster.settle()
    assert cluster.gate("approved")["message"] == "ada approved at 2026-11-20T11:00:00Z."
    assert cluster.ready()[:2] == ("True", "Ready")


async def test_incompatible_schema(make: Make) -> None:
    """Another input refuses the version with the sentence that names it."""
    mine = {
        **SIGNATURE,
        "inputs": [{"name": "input", "datatype": "FP64", "shape": [-1, 3], "columns": ["a", "b", "c"]}],
    }
    cluster = make(model([SCHEMA], **SERVES), version(signature=mine), version(CHAMPION.name, OTHER))
    await verified(cluster)
    status, reason, message = cluster.ready()
    assert (status, reason) == ("False", "SchemaIncompatible")
    assert "Input 'input' is FP64, the champion's is FP32." in message


async def test_without_a_model(make: Make) -> None:
    """Without its Model a version waits for it by name; with it, gates run."""
    cluster = make(version())
    await verified(cluster)
    assert cluster.ready() == (
        "False",
        "GateUnknown",
        "Model 'census' does not exist, so nobody says which gates to pass. Apply it.",
    )
    cluster.world.put(model([METRIC]))
    await cluster.settle()
    assert len(cluster.jobs("gate")) == 1


TENSOR = {"name": "x", "datatype": "FP32", "shape": [-1, 3]}
OUT = {"name": "y", "datatype": "INT64", "shape": [-1]}


@pytest.mark.parametrize(
    ("mine", "sentence"),
    [
        ({"inputs": [TENSOR], "outputs": [OUT]}, None),
        ({"inputs": [{**TENSOR, "shape": [1, 3]}], "outputs": [OUT]}, None),
        ({"inputs": [TENSOR], "outputs": [OUT, {**OUT, "name": "score"}]}, None),
        ({"inputs": [{**TENSOR, "name": "z"}], "outputs": [OUT]}, "The champion's input 'x' is missing"),
        (
            {"inputs": [{**TENSOR, "shape": [-1, 4]}], "outputs": [OUT]},
            "Input 'x' has shape [-1, 4], the champion's has [-1, 3]",
        ),
        (
            {"inputs": [{**TENSOR, "columns": ["b", "a", "c"]}], "outputs": [OUT]},
            "Input 'x' has other columns or another order than the champion's",
        ),
        ({"inputs": [TENSOR, {**TENSOR, "name": "z"}], "outputs": [OUT]}, "Input 'z' is new, and no caller sends it"),
        (
            {"inputs": [TENSOR], "outputs": [{**OUT, "datatype": "BYTES"}]},
            "Output 'y' is BYTES, the champion's is INT64",
        ),
    ],
    ids=[
        "the same",
        "another batch size",
        "one more output",
        "an input renamed",
        "a wider input",
        "columns in another order",
        "one more input",
        "an output of another type",
    ],
)
def test_schema_difference(mine: dict[str, Any], sentence: str | None) -> None:
    """What breaks callers is named, what does not is let through."""
    champion = Signature.model_validate({"inputs": [TENSOR], "outputs": [OUT]})
    assert schema_difference(Signature.model_validate(mine), champion) == sentence
