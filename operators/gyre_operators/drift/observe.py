"""Gathering what the decision about a DriftMonitor rests on."""

import hashlib
from collections.abc import Iterable
from datetime import datetime
from typing import Protocol

from pydantic import ValidationError

from gyre_crds import names
from gyre_crds.contracts.attempt import EXIT_USER
from gyre_crds.contracts.task import LookReport, Report
from gyre_crds.v1alpha1.drift import DriftMonitor, DriftReport
from gyre_crds.v1alpha1.inference import InferenceService
from gyre_crds.v1alpha1.model import Model
from gyre_crds.v1alpha1.version import ModelVersion
from gyre_operators.drift.manifests import CONTAINER, ROLE, report_names
from gyre_operators.drift.observed import Failure, Finished, Ground, Observed
from gyre_operators.engine.guard import UnavailableError
from gyre_operators.engine.kinds import JOB, POD
from gyre_operators.engine.plan import Key
from gyre_operators.engine.project import first_problem
from gyre_operators.engine.store import Entry, Stores
from gyre_operators.engine.watch import Watch, by_label, by_owner, own
from gyre_operators.workload.messages import failure, report
from gyre_operators.workload.pending import why_pending
from gyre_operators.workload.views import Job, Pod, instant, newest


class Documents(Protocol):
    """The object store, as far as a monitor reads it."""

    async def read(self, uri: str) -> bytes | None:
        """An object's bytes, or None when there is none.

        Raises:
            UnavailableError: the store is away.
        """


def _monitors_of(namespace: str, service: str, stores: Stores) -> list[Key]:
    found = stores.of_kind(DriftMonitor).all(namespace)
    return [Key(namespace, m.metadata.name) for m in found if m.spec.target.inference_service == service]


def _of_service(entry: Entry[InferenceService], stores: Stores) -> Iterable[Key]:
    return _monitors_of(entry.key.namespace, entry.key.name, stores)


def _of_version(entry: Entry[ModelVersion], stores: Stores) -> Iterable[Key]:
    """Monitors of services that serve it: its profile may have come."""
    for service in stores.of_kind(InferenceService).all(entry.key.namespace):
        stable = service.status.stable if service.status is not None else None
        if stable is not None and stable.version == entry.key.name:
            yield from _monitors_of(entry.key.namespace, service.metadata.name, stores)


def _of_model(entry: Entry[Model], stores: Stores) -> Iterable[Key]:
    for service in stores.of_kind(InferenceService).all(entry.key.namespace):
        if service.spec.model.name == entry.key.name:
            yield from _monitors_of(entry.key.namespace, service.metadata.name, stores)


JOBS = Watch(JOB, Job, by_owner(DriftMonitor), labels=f"{names.ROLE}={ROLE}")
PODS = Watch(POD, Pod, by_label(names.MONITOR), labels=f"{names.ROLE}={ROLE}")
SERVICES = own(InferenceService, _of_service)
VERSIONS = own(ModelVersion, _of_version)
MODELS = own(Model, _of_model)
REPORTS = own(DriftReport, by_owner(DriftMonitor))


async def observe(key: Key, stores: Stores, ground: Ground, documents: Documents) -> Observed | None:
    """Everything about one monitor; the store is asked only for a report that no object holds yet."""
    monitor = stores.of_kind(DriftMonitor).get(key)
    if monitor is None:
        return None
    service = stores.of(SERVICES).get(Key(key.namespace, monitor.spec.target.inference_service))
    stable = service.status.stable if service is not None and service.status is not None else None
    reports = [r for r in stores.of(REPORTS).all(key.namespace) if r.spec.monitor == key.name and is_own(r, monitor)]
    imported = [r for r in stores.of(REPORTS).all(key.namespace) if r.spec.monitor is None and _is_owned(r, monitor)]
    ours = {report.metadata.name for report in reports}
    look = monitor.status.look if monitor.status is not None else None
    job = stores.of(JOBS).get(Key(key.namespace, look.job)) if look is not None else None
    pod = _pod(job, stores) if job is not None else None
    why = why_pending(pod) if pod is not None else None
    finished = None
    if job is not None and look is not None and ours.isdisjoint(report_names(key.name, look.window_start)):
        finished = await finished_of(job, pod, documents)
    return Observed(
        monitor=monitor,
        ground=ground,
        service=service,
        model=stores.of(MODELS).get(Key(key.namespace, service.spec.model.name)) if service is not None else None,
        version=stores.of(VERSIONS).get(Key(key.namespace, stable.version)) if stable is not None else None,
        job=job,
        waits=why.message if why is not None else "",
        finished=finished,
        reports=tuple(sorted(reports, key=lambda report: report.spec.window.end)),
        imported=tuple(sorted(imported, key=lambda report: (report.spec.window.end, report.metadata.name))),
        taken=frozenset(found.name for found in stores.of(REPORTS).keys(key.namespace)) - ours,
    )


async def finished_of(job: Job, pod: Pod | None, documents: Documents) -> Finished | None:
    """What an ended Job left; None while it runs."""
    ended = pod.terminated(CONTAINER) if pod is not None else None
    at = instant(ended.finished_at) if ended is not None else None
    if job.complete:
        told = report(LookReport, ended)
        if told is None:
            return Finished(failure=Failure("the job ended without its report on the termination message", at=at))
        return await _document(told, documents, at=at)
    failed = job.failed
    if failed is None:
        return None
    said = failure(ended)
    if said is None:
        return Finished(failure=Failure(failed.message or failed.reason, at=at))
    final = ended is not None and ended.exit_code == EXIT_USER
    return Finished(failure=Failure(said.message, final=final, at=at))


async def _document(told: LookReport, documents: Documents, *, at: datetime | None) -> Finished:
    try:
        body = await documents.read(told.uri)
    except UnavailableError as error:
        return Finished(away=error.sentence)
    except ValueError as error:
        return Finished(failure=Failure(str(error), at=at))
    if body is None:
        return Finished(failure=Failure(f"the store holds no {told.uri}", at=at))
    digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
    if digest != told.digest:
        message = f"{told.uri} has digest {digest}, the job wrote {told.digest}: somebody else wrote to it"
        return Finished(failure=Failure(message, at=at))
    try:
        return Finished(report=Report.model_validate_json(body, by_alias=True, by_name=False))
    except ValidationError as error:
        message = (
            f"{told.uri} is no report ({first_problem(error)}): let operator and monitoring image have one version"
        )
        return Finished(failure=Failure(message, final=True, at=at))


def _pod(job: Job, stores: Stores) -> Pod | None:
    mine = [pod for pod in stores.of(PODS).all(job.metadata.namespace) if pod.owned_by(job.metadata.uid)]
    return newest(tuple(mine))


def is_own(found: DriftReport, monitor: DriftMonitor) -> bool:
    """Only what this very monitor made. Anybody can write an owner into a report of theirs, but not that it may act."""
    return found.spec.may_act and _is_owned(found, monitor)


def _is_owned(found: DriftReport, monitor: DriftMonitor) -> bool:
    return any(owner.get("uid") == monitor.metadata.uid for owner in found.metadata.owner_references)
