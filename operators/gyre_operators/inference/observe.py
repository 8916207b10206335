"""Gathering what the decision about an InferenceService rests on."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import replace

from pydantic import ValidationError

from gyre_crds import names
from gyre_crds.contracts.routing import CONFIG_KEY, RoutingTable
from gyre_crds.v1alpha1.drift import DriftMonitor, DriftReport
from gyre_crds.v1alpha1.inference import InferenceService
from gyre_crds.v1alpha1.model import Model
from gyre_crds.v1alpha1.version import ModelVersion
from gyre_operators.engine.kinds import CONFIG_MAP, DEPLOYMENT, POD
from gyre_operators.engine.kinds import SERVICE as K8S_SERVICE
from gyre_operators.engine.plan import Key, Manifest
from gyre_operators.engine.store import Entry, Stores
from gyre_operators.engine.unread import unread
from gyre_operators.engine.watch import Watch, by_label, by_none, by_owner, own
from gyre_operators.inference.faults import fault_of
from gyre_operators.inference.manifests import SERVER_ROLE
from gyre_operators.inference.observed import Fault, Ground, Observed
from gyre_operators.inference.plan import asks_routers
from gyre_operators.inference.routers import Asked
from gyre_operators.settings import Settings
from gyre_operators.workload.pending import why_pending
from gyre_operators.workload.views import Pod


def _of_model(entry: Entry[Model], stores: Stores) -> Iterable[Key]:
    """Services of a Model, also of one that is just gone."""
    return _services(entry.key.namespace, entry.key.name, stores)


def _of_version(entry: Entry[ModelVersion], stores: Stores) -> Iterable[Key]:
    """Services of the version's Model; all, where it does not say whose it is."""
    if entry.value is None:
        return stores.of_kind(InferenceService).keys(entry.key.namespace)
    return _services(entry.key.namespace, entry.value.spec.model, stores)


def _services(namespace: str, model: str, stores: Stores) -> list[Key]:
    found = stores.of_kind(InferenceService).all(namespace)
    return [Key(namespace, service.metadata.name) for service in found if service.spec.model.name == model]


def _of_report(entry: Entry[DriftReport], stores: Stores) -> Iterable[Key]:
    """Only a service with a candidate under way has to hear of a look."""
    if entry.value is None or entry.value.spec.monitor is None:
        return ()
    monitor = stores.of_kind(DriftMonitor).get(Key(entry.key.namespace, entry.value.spec.monitor))
    return (Key(entry.key.namespace, monitor.spec.target.inference_service),) if monitor else ()


def _in_namespace_moving(entry: Entry[object], stores: Stores) -> Iterable[Key]:
    """Services that wait for routers; those at rest sleep through new tables and router pods' changes."""
    for service in stores.of_kind(InferenceService).all(entry.key.namespace):
        status = service.status
        asks = service.spec.auth is not None
        if asks or status is None or status.stable is None or status.generation is None or status.candidate is not None:
            yield Key(entry.key.namespace, service.metadata.name)


def _of_router_pod(entry: Entry[Pod], stores: Stores) -> Iterable[Key]:
    """Every service: without a ready router none of them answers."""
    return stores.of_kind(InferenceService).keys(entry.key.namespace)


DEPLOYMENTS = Watch(DEPLOYMENT, dict, by_owner(InferenceService), labels=names.SERVICE)
SERVICES = Watch(K8S_SERVICE, dict, by_owner(InferenceService), labels=names.SERVICE)
PODS = Watch(POD, Pod, by_label(names.SERVICE), labels=f"{names.ROLE}={SERVER_ROLE}")
ROUTERS = Watch(POD, Pod, _of_router_pod, labels=f"{names.ROLE}=router")
TABLES = Watch(CONFIG_MAP, dict, _in_namespace_moving, labels=f"{names.ROLE}=router")
MODELS = own(Model, _of_model)
VERSIONS = own(ModelVersion, _of_version, indexes={"model": lambda version: [version.spec.model]})
MONITORS = own(DriftMonitor, by_none)
REPORTS = own(DriftReport, _of_report)


def ground_of(settings: Settings) -> Ground:
    """The part of the settings that manifests are made with."""
    return Ground(
        serving_image=settings.images.serving,
        triton_image=settings.images.triton,
        pull_policy=settings.images.pull_policy,
        frozen=settings.freeze,
    )


async def observe(key: Key, stores: Stores, ground: Ground, asked: Asked) -> Observed | None:
    """Everything about one service; routers are asked only where their answer bears on the next step."""
    service = stores.of_kind(InferenceService).get(key)
    if service is None:
        return None
    deployments = _by_revision(stores.of(DEPLOYMENTS).by_label(names.SERVICE, key.name, key.namespace))
    monitors = _monitors(key, stores)
    seen = Observed(
        service=service,
        ground=ground,
        model=stores.of(MODELS).get(Key(key.namespace, service.spec.model.name)),
        versions={v.metadata.name: v for v in stores.of(VERSIONS).by("model", service.spec.model.name, key.namespace)},
        unread=_unread(service, stores),
        deployments=deployments,
        headless=_by_revision(stores.of(SERVICES).by_label(names.SERVICE, key.name, key.namespace)),
        table=_table(stores.of(TABLES).get(Key(key.namespace, names.ROUTER))),
        monitors=monitors,
        reports=_reports(key, stores, monitors),
    )
    pods = stores.of(PODS).by_label(names.SERVICE, key.name, key.namespace)
    router_pods = stores.of(ROUTERS).all(key.namespace)
    routers, faults = await asyncio.gather(
        asked.routers(router_pods, counters=asks_routers(seen)),
        _faults(pods, deployments, asked),
    )
    return replace(seen, routers=routers, router_waits=_hindrance(router_pods), faults=faults)


def _hindrance(pods: Iterable[Pod]) -> str:
    waits = (why_pending(pod) for pod in pods if not pod.ready)
    return next((why.message for why in waits if why is not None), "")


async def _faults(pods: Iterable[Pod], deployments: Mapping[str, Manifest], asked: Asked) -> Mapping[str, Fault]:
    waiting = [pod for pod in pods if not pod.ready]
    said = await asyncio.gather(*(asked.readiness(pod) for pod in waiting))
    probes = {pod.metadata.name: fault for pod, fault in zip(waiting, said, strict=True) if fault is not None}
    faults = {}
    for revision in {*deployments, *(pod.metadata.labels.get(names.REVISION, "") for pod in waiting)}:
        mine = [pod for pod in waiting if pod.metadata.labels.get(names.REVISION) == revision]
        fault = fault_of(mine, deployments.get(revision), probes)
        if fault is not None:
            faults[revision] = fault
    return faults


def _unread(service: InferenceService, stores: Stores) -> dict[str, str]:
    namespace, model = service.metadata.namespace, service.spec.model.name
    found = {f"{ModelVersion.KIND} {name}": e.error for name, e in unread(stores.of(VERSIONS), namespace).items()}
    entry = stores.of(MODELS).entry(Key(namespace, model))
    return found | ({f"{Model.KIND} {model}": entry.error} if entry is not None and entry.value is None else {})


def _by_revision(manifests: Iterable[Manifest]) -> dict[str, Manifest]:
    found = {manifest["metadata"]["labels"].get(names.REVISION): manifest for manifest in manifests}
    return {revision: manifest for revision, manifest in found.items() if revision is not None}


def _table(config_map: Manifest | None) -> RoutingTable | None:
    text = (config_map or {}).get("data", {}).get(CONFIG_KEY)
    if text is None:
        return None
    try:
        return RoutingTable.model_validate_json(text)
    except ValidationError:
        # Written by hand or by another version: the router's controller writes it anew.
        return None


def _monitors(key: Key, stores: Stores) -> dict[str, DriftMonitor]:
    found = stores.of(MONITORS).all(key.namespace)
    return {m.metadata.name: m for m in found if m.spec.target.inference_service == key.name}


def _reports(key: Key, stores: Stores, monitors: Mapping[str, DriftMonitor]) -> tuple[DriftReport, ...]:
    found = [report for report in stores.of(REPORTS).all(key.namespace) if report.spec.monitor in monitors]
    return tuple(sorted(found, key=lambda report: report.spec.window.end))
