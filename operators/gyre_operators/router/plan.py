"""From what was seen of a namespace to its router. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from gyre_crds import names
from gyre_crds.contracts.routing import ServiceRoute, stamped
from gyre_crds.v1alpha1.inference import InferenceService
from gyre_crds.v1alpha1.version import ModelVersion
from gyre_operators.engine.plan import Manifest, Plan, Ref, ref
from gyre_operators.router.guarding import guarded, routing, secrets_of
from gyre_operators.router.keeping import NOTHING, Unread, keep
from gyre_operators.router.live import live_routes
from gyre_operators.router.manifests import FEEDBACK_SECRET, Ground, Owner, feedback_secret, objects
from gyre_operators.router.table import table, table_text
from gyre_operators.workload.views import Pod

_SOON = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Observed:
    """Everything that a namespace's router is made of."""

    namespace: str
    ground: Ground
    store: str
    services: tuple[InferenceService, ...] = ()
    held: tuple[Owner, ...] = ()
    """Services that live but could not be read: they do not parse, or no watch has brought them yet."""
    versions: Mapping[str, ModelVersion] = field(default_factory=dict)
    watched: frozenset[str] = frozenset()
    """Services that a DriftMonitor targets."""
    unread: Unread = NOTHING
    """Versions and monitors that do not parse."""
    live: tuple[Manifest, ...] = ()
    """Objects of the router that exist."""
    pods: tuple[Pod, ...] = ()
    """Pods of the router."""
    has_key: bool = True
    fresh_key: str = ""
    """A random key, for the case that there is none."""


def plan(seen: Observed, now: datetime) -> Plan:
    """The router while there is a service, and nothing of it otherwise.

    A service that could not be read keeps the route that it has, and what rests on a version or monitor
    that does not parse stays in its route. Where the table cannot be read either, nothing changes: a
    router that answers is worth more than a table that is new.
    """
    if not seen.services and not seen.held:
        return Plan(delete=(*(ref(manifest) for manifest in seen.live), *_secret(seen)))
    kept = _kept(seen)
    if kept is None:
        return Plan()
    made, live = (
        table(seen.namespace, seen.services, seen.versions, watched=seen.watched, store=seen.store),
        _live(seen),
    )
    routes, why = keep(made.services, live, seen.unread)
    routes = guarded(routes, live, routing(seen.pods, now))
    if kept or routes != made.services:
        made = stamped(made.model_copy(update={"services": sorted([*routes, *kept], key=lambda route: route.name)}))
    rules = [service.spec.auth for service in seen.services if service.spec.auth is not None]
    asked = [rule.tokens.secret for rule in rules if rule.tokens is not None]
    owners = sorted([*(Owner(s.metadata.name, s.metadata.uid) for s in seen.services), *seen.held])
    return Plan(
        apply=objects(seen.namespace, owners, table_text(made), seen.ground, secrets_of(asked, made, live), kept=why),
        create=() if seen.has_key else (feedback_secret(seen.namespace, seen.fresh_key),),
        # Nobody tells when a terminating pod's time is over.
        requeue=_SOON if rules and any(pod.metadata.deletion_timestamp for pod in seen.pods) else None,
    )


def _live(seen: Observed) -> Mapping[str, ServiceRoute]:
    """The live routes; those of a table that cannot be read are none: then nobody is let in unasked."""
    return live_routes(seen.live) or {}


def _kept(seen: Observed) -> Sequence[ServiceRoute] | None:
    """The live routes of the services that could not be read; None where it is not known which they are."""
    if not seen.held and not seen.unread:
        return ()
    routes = live_routes(seen.live)
    if routes is None or not (routes or seen.services):
        return None
    return [routes[owner.name] for owner in seen.held if owner.name in routes]


def _secret(seen: Observed) -> tuple[Ref, ...]:
    if not seen.has_key:
        return ()
    return (Ref("v1", "Secret", seen.namespace, FEEDBACK_SECRET),)


ROUTER_LABEL = f"{names.ROLE}=router"
