"""Decisions as metrics."""

from typing import Any

from prometheus_client import CollectorRegistry

from gyre_crds.v1alpha1 import Model
from gyre_operators.model.metrics import Metrics
from tests.operators.builders import NOW, model, text

LABELS = {"namespace": "default", "model": "census"}
COUNTED = LABELS | {"decision": "Retrain", "reason": "RetrainingPays"}


def decision(name: str, **arithmetic: float) -> dict[str, Any]:
    """A decision to retrain."""
    made = {"id": name, "at": text(NOW), "action": "Retrain", "reason": "RetrainingPays", "message": "m"}
    return {**made, "trigger": "Drift", "arithmetic": arithmetic}


def parsed(*decisions: dict[str, Any], **status: Any) -> Model:
    """The Model with these decisions."""
    return Model.model_validate(model(status={"decisions": list(decisions), **status}))


def test_each_decision_counts_once_and_none_of_an_earlier_process() -> None:
    """At start what is on record is known; later each new decision counts, also within one second."""
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    metrics.show(parsed(decision("a")))
    assert registry.get_sample_value("gyre_retrain_decisions_total", COUNTED) is None
    for _ in range(2):
        metrics.show(parsed(decision("c", benefit=12.5, cost=5.0), decision("b"), decision("a"), running="t1"))
    assert registry.get_sample_value("gyre_retrain_decisions_total", COUNTED) == 2
    assert registry.get_sample_value("gyre_retrain_expected_benefit", LABELS) == 12.5
    assert registry.get_sample_value("gyre_retrain_cost", LABELS) == 5
    assert registry.get_sample_value("gyre_retraining_in_progress", LABELS) == 1
    metrics.forget("default", "census")
    assert registry.get_sample_value("gyre_retraining_in_progress", LABELS) is None
