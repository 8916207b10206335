"""Gates that the Model corrects, and gates that only look so."""

import pytest

from gyre_crds.v1alpha1.common import Objective
from gyre_crds.v1alpha1.model import Gate, Model
from gyre_crds.v1alpha1.version import ModelVersion
from gyre_operators.engine.kinds import gyre
from gyre_operators.version.gates import definition
from tests.operators.version.cluster import CHAMPION, KEY, OTHER, PROFILED, model, version
from tests.operators.version.conftest import Make
from tests.operators.version.gating import BETTER, METRIC, SERVES, report, verified


class LaterGate(Gate):
    """A gate of a later Gyre."""

    patience: str = "1h"
    """A field that this Gyre does not know."""


def test_definition_is_the_same_in_a_gyre_with_more_fields() -> None:
    """Digests with defaults in them would have asked every gate of every version again after an upgrade."""
    objective = Objective()
    assert definition(Gate.model_validate(METRIC), objective) == definition(LaterGate.model_validate(METRIC), objective)
    patient = {**METRIC, "patience": "2h"}
    assert definition(LaterGate.model_validate(patient), objective) != definition(
        Gate.model_validate(METRIC), objective
    )


@pytest.mark.parametrize("verdict", ["Passed", "Failed"])
async def test_gates_that_a_former_gyre_asked_are_not_asked_again(make: Make, verdict: str) -> None:
    """Its status has no definition: it is taken for the one of now, once, and no Job runs."""
    cluster = make(model([METRIC]), version())
    await verified(cluster)
    cluster.answer_all(gate=report(verdict, "GateFailed", "0.70."), profile=PROFILED)
    await cluster.settle()
    asked, named = cluster.jobs("gate"), cluster.gate("accuracy")["definition"]
    (gate,) = cluster.status()["gates"]
    former = {key: value for key, value in gate.items() if key != "definition"}
    cluster.world.patch(gyre(ModelVersion), KEY, status={"gates": [former]})
    await cluster.settle()
    assert cluster.jobs("gate") == asked
    assert (cluster.gate("accuracy")["state"], cluster.gate("accuracy")["definition"]) == (verdict, named)


async def test_corrected_gain_asks_the_comparison_again(make: Make) -> None:
    """A version once stayed refused for a gain that the contract no longer asks for; a bound's gate stays as it is."""
    made = model([METRIC, BETTER], **SERVES)
    cluster = make(made, version(), version(CHAMPION.name, OTHER))
    await verified(cluster)
    cluster.answer_all(gate=report("Failed", "GateFailed", "gains 0.01 at least, minGain is 0.02."))
    await cluster.settle()
    first = cluster.jobs("gate")
    eased = {**made["spec"]["contract"], "objective": {"metric": "accuracy", "minGain": 0.005}}
    cluster.world.patch(gyre(Model), KEY._replace(name="census"), spec={"contract": eased})
    await cluster.settle()
    (again,) = (name for name in cluster.jobs("gate") if name not in first)
    assert cluster.order(again)["type"] == "Champion"
    assert cluster.order(again)["contract"]["objective"]["minGain"] == 0.005
