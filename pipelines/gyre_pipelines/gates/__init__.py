"""`gyre-pipelines gate`: one proof that a version must bring. A new gate is one module and one line in `GATES`."""

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from gyre_crds.contracts.task import GateOrder, GateReport
from gyre_pipelines.gates import champion, golden_rows, metric
from gyre_pipelines.gates.base import Bench
from gyre_pipelines.objects import Store

GATES: dict[str, Callable[[GateOrder, Bench], GateReport]] = {
    "Metric": metric.evaluate,
    "GoldenRows": golden_rows.evaluate,
    "Champion": champion.evaluate,
}


def run(order: GateOrder, environment: Mapping[str, str]) -> GateReport:
    """Evaluate the gate; a version that cannot even be read is Failed, with the sentence why.

    Raises:
        Failure: the store does not answer or refuses.
    """
    with TemporaryDirectory() as folder:
        return GATES[order.type](order, Bench(Store.of(environment), Path(folder)))
