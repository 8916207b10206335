"""Metrics of trainings: each end counts once, a start is timed once."""

from typing import Any

from prometheus_client import CollectorRegistry

from gyre_crds.v1alpha1.training import TrainingJob
from gyre_operators.training.metrics import Metrics
from tests.operators.training.cluster import training_job

LABELS = {"namespace": "team", "model": "census"}


def job(*attempts: dict[str, Any]) -> TrainingJob:
    """A TrainingJob with these attempts; without any it has no status yet."""
    body = training_job()
    body["metadata"]["creationTimestamp"] = "2026-11-20T10:00:00Z"
    if attempts:
        numbered = [{"number": number, "job": f"j-a{number}", **each} for number, each in enumerate(attempts, 1)]
        body["status"] = {"attempts": numbered}
    return TrainingJob.model_validate(body, by_alias=True, by_name=False)


def failures(registry: CollectorRegistry) -> float | None:
    """Counted attempts that failed."""
    return registry.get_sample_value(
        "gyre_training_attempts_total", {**LABELS, "outcome": "Failed", "reason": "UserError"}
    )


RUNNING = {"start": "2026-11-20T10:00:07Z"}
FAILED = {**RUNNING, "outcome": "Failed", "reason": "UserError"}


def test_a_life_is_counted_once() -> None:
    """However often a status is looked at, an attempt's end counts once and the first start is timed once."""
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    for seen in (job(), job({}), job(RUNNING), job(RUNNING), job(FAILED), job(FAILED), job(FAILED, RUNNING)):
        metrics.show(seen)
    assert failures(registry) == 1
    assert registry.get_sample_value("gyre_training_start_seconds_sum", LABELS) == 7
    assert registry.get_sample_value("gyre_training_start_seconds_count", LABELS) == 1


def test_what_was_before_is_not_counted() -> None:
    """A new process counts only what ends from now on."""
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    metrics.show(job(FAILED, RUNNING))
    assert failures(registry) is None
    metrics.show(job(FAILED, FAILED))
    assert failures(registry) == 1
    assert registry.get_sample_value("gyre_training_start_seconds_count", LABELS) is None


def test_what_is_gone_is_forgotten() -> None:
    """Jobs that were deleted take no memory."""
    metrics = Metrics(CollectorRegistry())
    metrics.show(job(FAILED))
    metrics.forget("team", frozenset())
    assert (metrics._ended, metrics._started) == ({}, set())
