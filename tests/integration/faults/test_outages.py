"""MLflow and the object store go away in the middle of a life: nothing is lost, doubled or unserved."""

import asyncio
from pathlib import Path

import pytest

from gyre_crds.contracts.routing import RoutingTable
from gyre_crds.v1alpha1 import ModelVersion
from gyre_operators.engine.kinds import gyre
from tests.integration.engine.harness import TRAINING_JOB, Operator
from tests.integration.faults.kubelet import Kubelet
from tests.integration.faults.s3 import S3Server
from tests.integration.faults.story import TRAINING, first_version, registered, says
from tests.integration.loop.street import Street, plain
from tests.operators.mlflow.server import MlflowServer

pytestmark = pytest.mark.cluster

PROGRAM = "gyre_operators"


async def test_training_outlives_an_outage_of_mlflow_and_of_the_store(
    street: Street, mlflow: MlflowServer, s3: S3Server, tmp_path: Path
) -> None:
    """MLflow is away for a whole training and the store for its end.

    Each is said in one sentence and waited for, the served version goes on being routed to, and the new
    one is registered once.
    """
    kubelet = Kubelet(street, s3)
    operator = Operator(
        tmp_path,
        str(street.cluster.plane.kubeconfig),
        street.cluster.namespace,
        program=PROGRAM,
        environment=s3.environment,
        store={"uri": "s3://gyre", "endpoint": s3.endpoint},
        mlflow={"url": mlflow.url},
    )
    async with operator, kubelet.at_work():
        first = await first_version(street, kubelet)
        served = await street.table()
        assert served is not None
        assert await street.weights() == {first: 100}
        assert await registered(street, mlflow) == {first: "1"}

        await asyncio.to_thread(mlflow.stop)
        await street.cluster.create(TRAINING_JOB, plain("TrainingJob", "second", TRAINING))
        await says(street, TRAINING_JOB, "second", "Running")
        await kubelet.publish("second")
        await asyncio.to_thread(s3.stop)
        kubelet.end("second")
        said = await says(street, TRAINING_JOB, "second", "StoreUnreachable")
        assert said.startswith("object store is away: ")
        assert await street.table() == served

        await asyncio.to_thread(s3.start)
        await says(street, TRAINING_JOB, "second", "Succeeded")
        second = (await street.cluster.get(TRAINING_JOB, "second"))["status"]["version"]
        said = await says(street, gyre(ModelVersion), second, "RegistryUnreachable")
        assert said.startswith("MLflow is away: ")
        assert said.endswith("Registration follows when it is back; what serves goes on.")
        await _still(street, served)

        await asyncio.to_thread(mlflow.start)
        await says(street, gyre(ModelVersion), second, "Ready")
        assert await registered(street, mlflow) == {first: "1", second: "2"}


async def _still(street: Street, served: RoutingTable) -> None:
    """The table is the same for as long as an operator that took a step too far would need."""
    for _ in range(10):
        assert await street.table() == served
        await asyncio.sleep(0.3)
