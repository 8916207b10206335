"""The whole loop on a real Kubernetes: what `make demo` tells, with every claim asserted."""

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.story.__main__ import local_kubeconfig, stage_of, tell
from tests.e2e.story.stage import Stage, write_summary

pytestmark = pytest.mark.node

Summary = dict[str, Any]


async def test_the_loop_closes_without_a_failed_request(tmp_path: Path) -> None:
    """One model trains, serves, meets faults and a real change, is retrained because it pays, and takes over.

    Every failed request is one that the broken candidate answered before it was rolled back.
    """
    stage: Stage = stage_of(local_kubeconfig())

    await tell(stage)

    summary: Summary = write_summary(stage, await stage.kube.list("modelversion"), tmp_path / "summary.json")
    verdicts = {report["verdict"] for report in summary["reports"]}
    actions = {decision["action"] for decision in summary["decisions"]}
    unexpected = summary["failedRequests"] - summary["failedByVersion"].get(stage.broken, 0)
    assert unexpected == 0, summary["firstFailure"]
    assert {"Healthy", "SchemaBreak", "QualityIncident"} <= verdicts
    assert {"Retrain", "Nothing"} <= actions
    assert len(summary["versions"]) >= 3
    assert sum("champion" in version["aliases"] for version in summary["versions"]) == 1
