"""Gathering what a namespace's router is made of."""

import secrets
from collections.abc import Iterable

from gyre_crds.v1alpha1.drift import DriftMonitor
from gyre_crds.v1alpha1.inference import InferenceService
from gyre_crds.v1alpha1.version import ModelVersion
from gyre_operators.engine.controller import Api
from gyre_operators.engine.kinds import (
    CONFIG_MAP,
    DEPLOYMENT,
    DISRUPTION_BUDGET,
    POD,
    ROLE,
    ROLE_BINDING,
    SECRET,
    SERVICE,
    SERVICE_ACCOUNT,
    gyre,
)
from gyre_operators.engine.plan import Key, Manifest
from gyre_operators.engine.store import Entry, Stores
from gyre_operators.engine.unread import unread
from gyre_operators.engine.watch import Watch, by_namespace, own
from gyre_operators.router.keeping import Unread
from gyre_operators.router.live import live_routes
from gyre_operators.router.manifests import FEEDBACK_SECRET, Ground, Owner
from gyre_operators.router.plan import ROUTER_LABEL, Observed
from gyre_operators.workload.views import Pod


def _of_version(entry: Entry[ModelVersion], stores: Stores) -> Iterable[Key]:
    """A version bears on the table only where a service serves it (its signature)."""
    for service in stores.of_kind(InferenceService).all(entry.key.namespace):
        status = service.status
        refs = (status.stable, status.candidate) if status is not None else ()
        if any(ref is not None and ref.version == entry.key.name for ref in refs):
            return (Key(entry.key.namespace, ""),)
    return ()


SERVICES = own(InferenceService, by_namespace)
VERSIONS = own(ModelVersion, _of_version)
MONITORS = own(DriftMonitor, by_namespace)
PODS = Watch(POD, Pod, by_namespace, labels=ROUTER_LABEL)
OBJECTS = tuple(
    Watch(kind, dict, by_namespace, labels=ROUTER_LABEL)
    for kind in (DEPLOYMENT, CONFIG_MAP, SERVICE, SERVICE_ACCOUNT, ROLE, ROLE_BINDING, DISRUPTION_BUDGET)
)


async def observe(namespace: str, stores: Stores, ground: Ground, api: Api, store: str) -> Observed | None:
    """Everything about one namespace; None where there is neither a service nor a router.

    Raises:
        ApiError, UnavailableError: the API server refuses or is away.
    """
    services = tuple(
        service for service in stores.of(SERVICES).all(namespace) if service.metadata.deletion_timestamp is None
    )
    live: tuple[Manifest, ...] = tuple(body for watch in OBJECTS for body in stores.of(watch).all(namespace))
    secret = await api.get(SECRET, Key(namespace, FEEDBACK_SECRET))
    if not stores.of(SERVICES).keys(namespace) and not live and secret is None:
        return None
    return Observed(
        namespace=namespace,
        ground=ground,
        store=store,
        services=services,
        held=await _held(namespace, stores, live, api),
        versions={version.metadata.name: version for version in stores.of(VERSIONS).all(namespace)},
        unread=_unread(stores, namespace),
        watched=frozenset(m.spec.target.inference_service for m in stores.of(MONITORS).all(namespace)),
        live=live,
        pods=tuple(stores.of(PODS).all(namespace)),
        has_key=secret is not None,
        fresh_key="" if secret is not None else secrets.token_hex(32),
    )


def _unread(stores: Stores, namespace: str) -> Unread:
    monitors = unread(stores.of(MONITORS), namespace)
    named = {name: _target(entry.raw or {}) for name, entry in monitors.items()}
    return Unread(
        versions={name: entry.error for name, entry in unread(stores.of(VERSIONS), namespace).items()},
        monitors={name: entry.error for name, entry in monitors.items()},
        targets={name: service for name, service in named.items() if service is not None},
    )


def _target(monitor: Manifest) -> str | None:
    """The service that a monitor names, where at least that can be read of it."""
    spec = monitor.get("spec")
    target = spec.get("target") if isinstance(spec, dict) else None
    service = target.get("inferenceService") if isinstance(target, dict) else None
    return service if isinstance(service, str) else None


async def _held(namespace: str, stores: Stores, live: tuple[Manifest, ...], api: Api) -> tuple[Owner, ...]:
    """Services that live and are not readable here: those that do not parse, and those that no watch brought.

    Where a route would go, the server is asked: our copy may be older than what it routes for, after a
    hand-over or a gap, and a route that was taken from a service in use cannot be given back in time.
    """
    reader = stores.of(SERVICES)
    entries = [entry for key in reader.keys(namespace) if (entry := reader.entry(key)) and not entry.deleting]
    held = {Owner(entry.key.name, entry.uid) for entry in entries if entry.value is None}
    known = {entry.key.name for entry in entries}
    routes = live_routes(live)
    if not known or routes is None or routes.keys() - known:
        heads = [head["metadata"] for head in await api.heads(gyre(InferenceService), namespace)]
        held |= {Owner(m["name"], m["uid"]) for m in heads if m["name"] not in known and "deletionTimestamp" not in m}
    return tuple(sorted(held))
