"""A Model in a world of its own."""

from datetime import datetime
from typing import Any

import pytest

from gyre_crds.v1alpha1 import Model, ModelVersion, TrainingJob
from gyre_operators.engine.kinds import gyre
from gyre_operators.model.controller import ModelController
from tests.operators.builders import (
    NOW,
    READY,
    Town,
    digest_of,
    key,
    model,
    monitor,
    service,
    services,
    stalled,
    text,
    version,
)

JOBS = gyre(TrainingJob)


class Scene:
    """One Model and what surrounds it."""

    def __init__(self) -> None:
        self.controller = ModelController(services())
        self.town = Town(self.controller)

    def put(self, *objects: dict[str, Any]) -> None:
        """Make or replace objects."""
        for made in objects:
            self.town.put(made)

    async def rest(self, now: datetime = NOW) -> None:
        """Reconcile until nothing changes."""
        await self.town.turn("model", key("census"), now)

    def annotate(self, **annotations: str) -> None:
        """A person annotates the Model; underscores stand for the group's prefix."""
        body = self.town.object(Model, "census")
        made = {f"gyre.dev/{name}": value for name, value in annotations.items()}
        self.town.put({**body, "metadata": {**body["metadata"], "annotations": made}})

    def finish(self, name: str, *, version: str | None = None, failed: str = "") -> None:
        """A TrainingJob ends."""
        conditions = stalled("UserError", failed) if failed else READY
        made = {"conditions": conditions, "finishedAt": "2026-11-21T12:00:00Z", "version": version}
        self.town.patch(JOBS, key(name), status={k: v for k, v in made.items() if v is not None})

    @property
    def status(self) -> dict[str, Any]:
        """The Model's status."""
        status: dict[str, Any] = self.town.object(Model, "census").get("status", {})
        return status

    @property
    def condition(self) -> dict[str, Any]:
        """The Ready condition."""
        return next(c for c in self.status["conditions"] if c["type"] == "Ready")

    def jobs(self) -> list[str]:
        """Names of the TrainingJobs, oldest first."""
        return [
            job["metadata"]["name"]
            for job in sorted(self.town.all(JOBS), key=lambda j: int(j["metadata"]["resourceVersion"]))
        ]

    def versions(self) -> list[str]:
        """Names of the ModelVersions."""
        return [version["metadata"]["name"] for version in self.town.all(gyre(ModelVersion))]

    def newest(self) -> dict[str, Any]:
        """The newest decision."""
        decision: dict[str, Any] = self.status["decisions"][0]
        return decision


@pytest.fixture
def scene() -> Scene:
    """An empty scene."""
    return Scene()


CHAMPION = {"champion": {"name": "v1"}}


def serves(name: str, *, candidate: str | None = None, rejected: str | None = None) -> dict[str, Any]:
    """The status of a service that serves one version."""
    made: dict[str, Any] = {"stable": {"revision": f"r-{name}", "version": name, "digest": digest_of(name)}}
    if candidate is not None:
        made["candidate"] = {"revision": f"r-{candidate}", "version": candidate, "digest": digest_of(candidate)}
    if rejected is not None:
        refusal = {"revision": f"r-{rejected}", "version": rejected, "reason": "Fail", "at": text(NOW)}
        made["rejected"] = [refusal]
    return made


DRIFT: dict[str, Any] = {
    "training": {
        "template": {"image": "i", "command": ["c"]},
        "triggers": [{"type": "Drift"}],
        "decision": {"costPerRun": 1, "benefitPerPoint": 2, "minLabels": 500},
    }
}


def drifting(scene: Scene, **decision: Any) -> None:
    """A Model that serves v1 and is watched."""
    training = {**DRIFT["training"], "decision": {**DRIFT["training"]["decision"], **decision}}
    scene.put(model({"training": training}, {**CHAMPION, "observedGeneration": 1}))
    scene.put(service(status=serves("v1")), version("v1", age=9), monitor())
