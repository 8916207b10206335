"""Gates for tests, and a version that is brought to them."""

from typing import Any

from gyre_crds.contracts.task import GateReport
from tests.operators.version.cluster import (
    CHAMPION,
    VERIFIED,
    Cluster,
)

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
