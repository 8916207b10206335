"""MLflow and the object store go away in the middle of a life: nothing is lost, doubled or unserved."""

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gyre_crds import names
from gyre_crds.contracts.routing import RoutingTable
from gyre_crds.v1alpha1 import InferenceService, Model, ModelVersion
from gyre_operators.engine.guard import Guard
from gyre_operators.engine.kinds import gyre
from gyre_operators.registry_client.mlflow import Mlflow
from gyre_operators.registry_client.types import OBJECT
from tests.integration.engine.harness import TRAINING_JOB, Operator, until
from tests.integration.faults.kubelet import Kubelet
from tests.integration.faults.s3 import S3Server
from tests.integration.loop.street import Street, plain
from tests.operators.mlflow.server import MlflowServer

pytestmark = pytest.mark.cluster

PROGRAM = "gyre_operators"
PATIENCE = 40
MODEL = {
    "contract": {"key": "id", "label": {"column": "employed"}},
    "training": {
        "template": {"image": "trainer:1", "command": ["python", "train.py"]},
        "triggers": [{"type": "Manual"}],
    },
    "promotion": {"provenBy": "census"},
}
TRAINING = {"model": "census", "image": "trainer:1", "command": ["python", "train.py"]}
SERVICE = {"model": {"name": "census"}, "rollout": {"analysis": {"interval": "1s"}}}


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
        first = await _first_version(street, kubelet)
        served = await street.table()
        assert served is not None
        assert await street.weights() == {first: 100}
        assert await _registered(street, mlflow) == {first: "1"}

        await asyncio.to_thread(mlflow.stop)
        await street.cluster.create(TRAINING_JOB, plain("TrainingJob", "second", TRAINING))
        await _says(street, TRAINING_JOB, "second", "Running")
        await kubelet.publish("second")
        await asyncio.to_thread(s3.stop)
        kubelet.end("second")
        said = await _says(street, TRAINING_JOB, "second", "StoreUnreachable")
        assert said.startswith("object store is away: ")
        assert await street.table() == served

        await asyncio.to_thread(s3.start)
        await _says(street, TRAINING_JOB, "second", "Succeeded")
        second = (await street.cluster.get(TRAINING_JOB, "second"))["status"]["version"]
        said = await _says(street, gyre(ModelVersion), second, "RegistryUnreachable")
        assert said.startswith("MLflow is away: ")
        assert said.endswith("Registration follows when it is back; what serves goes on.")
        await _still(street, served)

        await asyncio.to_thread(mlflow.start)
        await _says(street, gyre(ModelVersion), second, "Ready")
        assert await _registered(street, mlflow) == {first: "1", second: "2"}


async def _first_version(street: Street, kubelet: Kubelet) -> str:
    await street.cluster.create(gyre(Model), plain("Model", "census", MODEL))
    await street.cluster.create(gyre(InferenceService), plain("InferenceService", "census", SERVICE))

    async def training() -> bool:
        return bool(await street.cluster.all(TRAINING_JOB))

    await until(training, PATIENCE, "the first training")
    [job] = await street.cluster.all(TRAINING_JOB)
    name = job["metadata"]["name"]
    await _says(street, TRAINING_JOB, name, "Running")
    await kubelet.publish(name)
    kubelet.end(name)
    await _says(street, TRAINING_JOB, name, "Succeeded")
    await _says(street, gyre(InferenceService), "census", "Serving")
    await _says(street, gyre(Model), "census", "ChampionStands")
    found: str = (await street.cluster.get(TRAINING_JOB, name))["status"]["version"]
    return found


async def _says(street: Street, kind: Any, name: str, reason: str) -> str:
    """Wait for a reason of Ready; its sentence."""
    found: dict[str, str] = {}

    async def so() -> bool:
        body = await street.cluster.get(kind, name) or {}
        conditions = body.get("status", {}).get("conditions", [])
        found.update(next((c for c in conditions if c["type"] == "Ready"), {}))
        return found.get("reason") == reason

    try:
        await until(so, PATIENCE, reason)
    except AssertionError as error:
        raise AssertionError(f"{error} of {kind.kind} {name}, which says {found}") from None
    return found["message"]


async def _still(street: Street, served: RoutingTable) -> None:
    """The table is the same for as long as an operator that took a step too far would need."""
    for _ in range(10):
        assert await street.table() == served
        await asyncio.sleep(0.3)


async def _registered(street: Street, mlflow: MlflowServer) -> dict[str, str]:
    """ModelVersion to number of all that MLflow holds of the model; each stands there once."""
    async with aiohttp.ClientSession() as http:
        client = Mlflow(http, mlflow.url, guard=Guard("MLflow"))
        found = await client.versions(names.registered_model(street.cluster.namespace, "census"))
    objects = [version.tags[OBJECT] for version in found]
    assert len(objects) == len(set(objects)), objects
    return {version.tags[OBJECT]: version.number for version in found}
