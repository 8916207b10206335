"""Gathering what the decision about a Model rests on."""

from collections.abc import Iterable
from typing import Any

from gyre_crds import names
from gyre_crds.v1alpha1.drift import DriftMonitor, DriftReport
from gyre_crds.v1alpha1.inference import InferenceService
from gyre_crds.v1alpha1.model import Model, ModelStatus
from gyre_crds.v1alpha1.training import TrainingJob
from gyre_crds.v1alpha1.version import ModelVersion
from gyre_operators.engine.plan import Key
from gyre_operators.engine.store import Entry, Stores
from gyre_operators.engine.unread import unread
from gyre_operators.engine.watch import by_none, own
from gyre_operators.model.observed import Observed, age


def _by_job(entry: Entry[TrainingJob], _stores: Stores) -> Iterable[Key]:
    return (Key(entry.key.namespace, entry.value.spec.model),) if entry.value else ()


def _by_version(entry: Entry[ModelVersion], stores: Stores) -> Iterable[Key]:
    return (Key(entry.key.namespace, entry.value.spec.model),) if entry.value else _every_model(entry, stores)


def _by_service(entry: Entry[InferenceService], stores: Stores) -> Iterable[Key]:
    return (Key(entry.key.namespace, entry.value.spec.model.name),) if entry.value else _every_model(entry, stores)


def _every_model(entry: Entry[Any], stores: Stores) -> Iterable[Key]:
    """What cannot be read says not whose it is, and a Model may stand still for it until it is gone."""
    return stores.of_kind(Model).keys(entry.key.namespace)


def _by_report(entry: Entry[DriftReport], stores: Stores) -> Iterable[Key]:
    service = service_of(entry.value, stores, entry.key.namespace) if entry.value is not None else None
    return (Key(entry.key.namespace, service.spec.model.name),) if service is not None else ()


JOBS = own(TrainingJob, _by_job, indexes={"model": lambda job: [job.spec.model]})
VERSIONS = own(ModelVersion, _by_version, indexes={"model": lambda version: [version.spec.model]})
SERVICES = own(InferenceService, _by_service, indexes={"model": lambda service: [service.spec.model.name]})
MONITORS = own(DriftMonitor, by_none)
REPORTS = own(DriftReport, _by_report)


def service_of(report: DriftReport, stores: Stores, namespace: str) -> InferenceService | None:
    """The service that a report speaks of, by its monitor or by name."""
    name = report.spec.inference_service
    if report.spec.monitor is not None:
        monitor = stores.of_kind(DriftMonitor).get(Key(namespace, report.spec.monitor))
        name = monitor.spec.target.inference_service if monitor is not None else None
    return stores.of_kind(InferenceService).get(Key(namespace, name)) if name is not None else None


def _unread(model: Model, stores: Stores) -> dict[str, str]:
    """What is known to be the Model's by more than the spec that cannot be read: labels, roles, earlier use."""
    namespace, name = model.metadata.namespace, model.metadata.name
    status = model.status or ModelStatus()
    roles = {ref.name for ref in (status.champion, status.challenger) if ref is not None}
    versions = unread(stores.of(VERSIONS), namespace)
    services = unread(stores.of(SERVICES), namespace)
    users = {*status.used_by, model.spec.promotion.proven_by}
    mine = [e for e in versions.values() if e.key.name in roles or e.labels.get(names.MODEL) == name]
    found = {f"{ModelVersion.KIND} {entry.key.name}": entry.error for entry in mine}
    return found | {f"{InferenceService.KIND} {n}": entry.error for n, entry in services.items() if n in users}


def observe(key: Key, stores: Stores, *, frozen: bool) -> Observed | None:
    """Everything about one Model, from the stores alone."""
    model = stores.of_kind(Model).get(key)
    if model is None:
        return None
    jobs = stores.of(JOBS).by("model", key.name, key.namespace)
    versions = stores.of(VERSIONS).by("model", key.name, key.namespace)
    services = stores.of(SERVICES).by("model", key.name, key.namespace)
    served = {service.metadata.name for service in services}
    reports = [
        report
        for report in stores.of(REPORTS).all(key.namespace)
        if report.spec.may_act
        and (service := service_of(report, stores, key.namespace)) is not None
        and service.metadata.name in served
    ]
    return Observed(
        model=model,
        versions=tuple(sorted((v for v in versions if v.metadata.deletion_timestamp is None), key=age)),
        jobs=tuple(sorted(jobs, key=lambda job: (job.metadata.creation_timestamp or "", job.metadata.name))),
        services=services,
        reports=tuple(sorted(reports, key=lambda report: (report.spec.window.end, report.metadata.name))),
        unread=_unread(model, stores),
        frozen=frozen,
    )
