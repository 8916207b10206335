"""Versions that a person registered in MLflow, and entries whose ModelVersion is gone: what to do about them."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from gyre_crds import names
from gyre_crds.v1alpha1.version import MlflowSource, ModelVersionSpec, Source
from gyre_operators.engine.clock import rfc3339
from gyre_operators.engine.plan import Effect, Manifest
from gyre_operators.registry_client.mlflow import Mlflow
from gyre_operators.registry_client.types import DELETED_AT, ID, INSTALLATION, OBJECT, RegisteredVersion


@dataclass(frozen=True, slots=True)
class Poll:
    """What MLflow holds under a Model's registered model."""

    versions: tuple[RegisteredVersion, ...] = ()
    aliases: Mapping[str, str] | None = None

    def name_of(self, number: str) -> str | None:
        """The ModelVersion whose entry has this number, as its tag says."""
        found = next((each for each in self.versions if each.number == number), None)
        return found.tags.get(OBJECT) if found else None


@dataclass(frozen=True, slots=True)
class Retire(Effect):
    """Tag an entry whose ModelVersion is gone; its bytes stay."""

    name: str
    number: str


async def poll(mlflow: Mlflow, namespace: str, model: str) -> Poll:
    """Ask MLflow for all versions and aliases of a Model.

    Raises:
        UnavailableError: MLflow is away.
        RegistryRefusedError: it refuses.
    """
    name = names.registered_model(namespace, model)
    versions = await mlflow.versions(name)
    return Poll(tuple(versions), await mlflow.aliases(name) if versions else {})


def adoptions(found: Poll, namespace: str, model: str) -> tuple[Manifest, ...]:
    """A ModelVersion for each version that a person registered and nobody has adopted yet."""
    return tuple(_adopted(each, namespace, model) for each in found.versions if _is_by_hand(each))


def _is_by_hand(version: RegisteredVersion) -> bool:
    return ID not in version.tags and OBJECT not in version.tags and version.status == "READY"


def _adopted(version: RegisteredVersion, namespace: str, model: str) -> Manifest:
    spec = ModelVersionSpec(
        model=model,
        source=Source(mlflow=MlflowSource(name=version.name, version=version.number)),
        run_id=version.run_id,
    )
    return {
        "apiVersion": "gyre.dev/v1alpha1",
        "kind": "ModelVersion",
        "metadata": {
            "name": adopted_name(model, version.number),
            "namespace": namespace,
            # Not managed by Gyre: retention removes only versions that Gyre made.
            "labels": {names.MODEL: model},
        },
        "spec": spec.dump(),
    }


def adopted_name(model: str, number: str) -> str:
    """The ModelVersion of an MLflow version that a person registered."""
    return f"{model}-mlflow-{number}"


def retirements(found: Poll, installation: str, existing: Collection[str]) -> tuple[Retire, ...]:
    """Entries of this installation whose ModelVersion is not among the existing names."""
    return tuple(
        Retire(each.name, each.number)
        for each in found.versions
        if each.tags.get(INSTALLATION) == installation
        and OBJECT in each.tags
        and each.tags[OBJECT] not in existing
        and DELETED_AT not in each.tags
    )


async def retire(mlflow: Mlflow, effect: Retire, now: datetime) -> None:
    """Carry out a `Retire`.

    Raises:
        UnavailableError: MLflow is away.
    """
    await mlflow.set_tag(effect.name, effect.number, DELETED_AT, rfc3339(now))
