"""Callers asked and no longer asked who they are, without a gap while router pods are replaced. Pure.

A router can ask for tokens only where its pod has the Secret mounted, and a pod gets a mount only by
being replaced; for Kubernetes' tokens and certificates it must be of a Gyre that knows them, which the
volume of certificates tells. So a service that answers everybody goes on doing so until every router pod has the
mount, a service that did not answer yet waits for it, and a mount goes only after the table that
needed it.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime

from gyre_crds.contracts.routing import AuthRule, RoutingTable, ServiceRoute
from gyre_operators.engine.clock import parse_time
from gyre_operators.workload.tokens import TLS_VOLUME, secret_of, volume_name
from gyre_operators.workload.views import Pod


def guarded(
    routes: Iterable[ServiceRoute], live: Mapping[str, ServiceRoute], pods: Sequence[Pod]
) -> list[ServiceRoute]:
    """The routes with the rule that each can have by now.

    Args:
        routes: what the services ask for.
        live: the routes that stand in the table.
        pods: the router pods that may still get a request.
    """
    return [_guarded(route, live.get(route.name), pods) for route in routes]


def _guarded(route: ServiceRoute, live: ServiceRoute | None, pods: Sequence[Pod]) -> ServiceRoute:
    if route.auth is None or _ready(route.auth, pods):
        return route
    if live is not None and live.revisions:
        return route.model_copy(update={"auth": live.auth})
    # Nobody is answered yet, so nobody misses an answer; and nobody is answered unasked. A rule that names a
    # revision goes with the revisions: routers refuse the whole table over a name that it does not hold.
    return route.model_copy(update={"revisions": [], "matches": [], "fallback": None, "mirror": None})


def _ready(rule: AuthRule, pods: Sequence[Pod]) -> bool:
    """Whether every pod has what the rule needs; pods that come later have it from their Deployment."""
    secret = secret_of(rule)
    wanted = {volume_name(secret)} if secret is not None else set()
    if rule.review is not None or rule.certificates:
        wanted.add(TLS_VOLUME)
    return all(wanted <= {volume.name for volume in pod.spec.volumes} for pod in pods)


def secrets_of(services: Iterable[str], table: RoutingTable, live: Mapping[str, ServiceRoute]) -> list[str]:
    """Secrets to mount: those asked for, and those that the table names, the one that is just being replaced too.

    Args:
        services: Secrets that services ask for.
        table: the table as it will be.
        live: the routes as they stand.
    """
    rules = [route.auth for route in (*table.services, *live.values()) if route.auth is not None]
    return sorted({*services, *(secret for rule in rules if (secret := secret_of(rule)) is not None)})


def routing(pods: Collection[Pod], now: datetime) -> tuple[Pod, ...]:
    """Pods that may get a request: a terminating one too, until its grace period is over."""
    return tuple(pod for pod in pods if not pod.ended and not _gone(pod, now))


def _gone(pod: Pod, now: datetime) -> bool:
    """A deletion timestamp is the moment at which the last process has to be gone."""
    until = pod.metadata.deletion_timestamp
    return until is not None and parse_time(until) <= now
