"""Gates: what each says, and when it is asked again."""

import pytest

from gyre_crds.contracts.attempt import FailureReport
from gyre_crds.contracts.task import GateReport
from gyre_crds.v1alpha1.model import Model
from gyre_crds.v1alpha1.version import ModelVersion
from gyre_operators.engine.kinds import gyre
from tests.operators.version.cluster import (
    CHAMPION,
    DIGEST,
    KEY,
    OTHER,
    PASSED,
    PROFILED,
    model,
    version,
)
from tests.operators.version.conftest import Make
from tests.operators.version.gating import APPROVAL, BETTER, METRIC, SERVES, report, verified

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
