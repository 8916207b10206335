"""The ModelVersion controller: what it watches, may write, and asks outside of Kubernetes."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from gyre_crds import names
from gyre_crds.v1alpha1.drift import DriftMonitor, DriftReport
from gyre_crds.v1alpha1.inference import InferenceService
from gyre_crds.v1alpha1.model import Model
from gyre_crds.v1alpha1.training import TrainingJob
from gyre_crds.v1alpha1.version import ModelVersion
from gyre_operators.engine.controller import CREATE, Controller, Grant, Services
from gyre_operators.engine.kinds import JOB, POD
from gyre_operators.engine.plan import Effect, Key, Plan
from gyre_operators.engine.store import Entry, Stores
from gyre_operators.engine.watch import Watch, by_itself, by_label, by_none, by_owner, own
from gyre_operators.registry_client.mlflow import Mlflow
from gyre_operators.version.observe import Sources, gather, site_of, version_made, versions_served
from gyre_operators.version.plan import plan
from gyre_operators.version.registry import RegistryDesk
from gyre_operators.version.seen import Observed
from gyre_operators.workload.views import Job, Pod


def _made(entry: Entry[Any], _stores: Stores) -> Iterable[Key]:
    job = entry.value
    return [Key(entry.key.namespace, name) for name in version_made(job)] if isinstance(job, TrainingJob) else ()


def _served(entry: Entry[Any], stores: Stores) -> Iterable[Key]:
    """Versions that the service serves; those that it served when it could be read last, where it cannot now."""
    namespace, name, service = *entry.key, entry.value
    if isinstance(service, InferenceService):
        return [Key(namespace, served) for served in versions_served(service)]
    versions = stores.of(VERSIONS).all(namespace)
    return [Key(namespace, v.metadata.name) for v in versions if v.status is not None and name in v.status.used_by]


def _of_model(entry: Entry[Any], stores: Stores) -> Iterable[Key]:
    versions = stores.of(VERSIONS).by("model", entry.key.name, entry.key.namespace)
    return [Key(version.metadata.namespace, version.metadata.name) for version in versions]


def _model(version: ModelVersion) -> Iterable[str]:
    return (version.spec.model,)


JOBS = Watch(JOB, Job, by_owner(ModelVersion), labels=names.VERSION)
# Server pods carry the version's name too, and are somebody else's business.
PODS = Watch(POD, Pod, by_label(names.VERSION), labels=f"{names.VERSION},!{names.SERVICE}")
VERSIONS = own(ModelVersion, by_itself, indexes={"model": _model})
PRODUCERS = own(TrainingJob, _made, indexes={"version": version_made})
SERVICES = own(InferenceService, _served, indexes={"version": versions_served})


class VersionController(Controller[Observed]):
    """One version: verify, register, gate, profile, alias."""

    name = "version"
    kind = ModelVersion
    # Monitors and reports are read when a gate starts, and wake no version.
    children = (
        JOBS,
        PODS,
        VERSIONS,
        PRODUCERS,
        SERVICES,
        own(Model, _of_model),
        own(DriftMonitor, by_none),
        own(DriftReport, by_none),
    )
    grants = (Grant(JOB, CREATE),)

    def __init__(self, services: Services) -> None:
        settings = services.settings
        mlflow = Mlflow(services.http, settings.mlflow.url, public_url=settings.mlflow.public_url)
        self._desk = RegistryDesk(mlflow, services.clock)
        self._sources = Sources(
            jobs=JOBS,
            pods=PODS,
            producers=PRODUCERS,
            services=SERVICES,
            objects=services.objects,
            desk=self._desk,
            site=site_of(settings),
        )

    async def observe(self, key: Key, stores: Stores) -> Observed | None:
        """See `version.observe`."""
        return await gather(key, stores, self._sources)

    def plan(self, observed: Observed, now: datetime) -> Plan:
        """See `version.plan`."""
        return plan(observed, now)

    async def perform(self, effect: Effect) -> None:
        """See `version.registry`."""
        await self._desk.perform(effect)
