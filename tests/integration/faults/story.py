"""What every fault test begins with: one model, trained and served, with the whole operator at work."""

from typing import Any

import aiohttp

from gyre_crds import names
from gyre_crds.v1alpha1 import InferenceService, Model
from gyre_operators.engine.guard import Guard
from gyre_operators.engine.kinds import gyre
from gyre_operators.registry_client.mlflow import Mlflow
from gyre_operators.registry_client.types import OBJECT
from tests.integration.engine.harness import TRAINING_JOB, until
from tests.integration.faults.kubelet import Kubelet
from tests.integration.loop.street import Street, plain
from tests.operators.mlflow.server import MlflowServer

PATIENCE = 40
MODEL = {
    "contract": {"key": "id", "label": {"column": "employed"}},
    "training": {
        "template": {"image": "trainer:1", "command": ["python", "train.py"]},
        "triggers": [{"type": "Manual"}, {"type": "Drift"}],
        "decision": {
            "costPerRun": 1,
            "benefitPerPoint": 2,
            "minLabels": 100,
            "cooldown": "0s",  # a quiet machine asks again within the second, and waits are told by others
            "budget": {"runs": 100, "per": "1d"},
        },
    },
    "promotion": {"provenBy": "census"},
}
TRAINING = {"model": "census", "image": "trainer:1", "command": ["python", "train.py"]}
SERVICE = {"model": {"name": "census"}, "rollout": {"analysis": {"interval": "1s"}}}


async def first_version(street: Street, kubelet: Kubelet) -> str:
    """From two manifests to a champion that serves; its name."""
    await street.cluster.create(gyre(Model), plain("Model", "census", MODEL))
    await street.cluster.create(gyre(InferenceService), plain("InferenceService", "census", SERVICE))

    async def training() -> bool:
        return bool(await street.cluster.all(TRAINING_JOB))

    await until(training, PATIENCE, "the first training")
    [job] = await street.cluster.all(TRAINING_JOB)
    name = job["metadata"]["name"]
    await says(street, TRAINING_JOB, name, "Running")
    await kubelet.publish(name)
    kubelet.end(name)
    await says(street, TRAINING_JOB, name, "Succeeded")
    await says(street, gyre(InferenceService), "census", "Serving")
    await says(street, gyre(Model), "census", "ChampionStands")
    found: str = (await street.cluster.get(TRAINING_JOB, name))["status"]["version"]
    return found


async def says(street: Street, kind: Any, name: str, reason: str) -> str:
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


async def registered(street: Street, mlflow: MlflowServer) -> dict[str, str]:
    """ModelVersion to number of all that MLflow holds of the model; each stands there once."""
    async with aiohttp.ClientSession() as http:
        client = Mlflow(http, mlflow.url, guard=Guard("MLflow"))
        found = await client.versions(names.registered_model(street.cluster.namespace, "census"))
    objects = [version.tags[OBJECT] for version in found]
    assert len(objects) == len(set(objects)), objects
    return {version.tags[OBJECT]: version.number for version in found}
