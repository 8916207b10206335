"""The routing table as it runs: compiled whole, swapped in one assignment, refused with a reason."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import ValidationError

from gyre_crds.contracts.routing import (
    REVISION_HEADER,
    VERSION_HEADER,
    BackendState,
    RevisionRoute,
    RoutingTable,
    ServiceRoute,
    stamped,
)
from gyre_crds.v1alpha1.version import Signature
from gyre_serving.router.cache import Cache
from gyre_serving.router.checks import Checker
from gyre_serving.router.clients import Clients
from gyre_serving.router.deadlines import Deadlines
from gyre_serving.router.endpoints import Backends, Registry, parse_static
from gyre_serving.router.fallback import Fallback
from gyre_serving.router.keys import Keys
from gyre_serving.router.limiter import Limiter
from gyre_serving.router.mirror import Mirror
from gyre_serving.router.split import Lot, winner
from gyre_serving.router.stats import RevisionStats, ServiceStats, Stats
from gyre_serving.router.tokens import Keyring, Tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(slots=True, eq=False)
class Revision:
    """One revision's backends, compiled."""

    route: RevisionRoute
    path: bytes
    """Upstream path up to and with the version."""
    headers: bytes
    """Answer header lines that name it."""
    backends: Backends
    stats: RevisionStats
    checker: Checker | None
    lot: Lot | None
    """None with weight 0: only an explicit version asks it."""

    @property
    def version(self) -> str:
        """ModelVersion's name."""
        return self.route.version


@dataclass(slots=True, eq=False)
class Match:
    """One header match, compiled."""

    header: bytes
    values: frozenset[bytes]
    revision: Revision


@dataclass(slots=True, eq=False)
class Service:
    """One InferenceService, compiled."""

    name: str
    route: ServiceRoute
    revisions: tuple[Revision, ...]
    matches: tuple[Match, ...]
    fallback: Fallback | None
    mirror: Mirror | None
    sticky: bytes | None
    keys: Keys | None
    """Of a service with a sticky header."""
    limiter: Limiter
    deadlines: Deadlines
    clients: Clients | None
    tokens: Tokens | None
    """Of callers; None where everybody may ask."""
    cache: Cache | None
    stats: ServiceStats

    def choose(self, key: bytes, version: str | None) -> tuple[Revision, float] | None:
        """The revision for a key and the chance with which it was picked; None when no revision matches.

        `version` is a ModelVersion's name, a revision or an upstream version; of several that match
        (two revisions both call themselves 1 upstream) the split decides. A revision without any
        endpoint is passed over while another has one, so that no request fails for a Pod's start.
        """
        revisions: Sequence[Revision] = self.revisions
        if version is not None:
            revisions = [one for one in revisions if version in (one.version, one.route.revision)] or [
                one for one in revisions if one.route.upstream_version == version
            ]
        if len(revisions) == 1:
            return (revisions[0], 1.0) if version is not None or revisions[0].lot else None
        weighted = [one for one in revisions if one.lot is not None]
        if not weighted:
            return (revisions[0], 1.0) if revisions and version is not None else None
        present = [one for one in weighted if one.backends.endpoints] or weighted
        if len(present) == 1:
            return present[0], 1.0
        lots = [one.lot for one in present if one.lot is not None]
        chosen = winner(lots, key)
        return present[chosen], lots[chosen].weight / sum(lot.weight for lot in lots)

    def matched(self, headers: Mapping[bytes, bytes], now: float) -> Revision | None:
        """The revision that a header asks for; None without one, or while none of its backends is healthy."""
        for match in self.matches:
            if headers.get(match.header) in match.values and match.revision.backends.healthy(now):
                return match.revision
        return None

    def signature(self) -> Signature | None:
        """The signature of the heaviest revision that has one."""
        known = [one.route for one in self.revisions if one.route.signature is not None]
        return max(known, key=lambda route: route.weight).signature if known else None


@dataclass(frozen=True, slots=True)
class Compiled:
    """A whole table, ready to route."""

    table: RoutingTable
    services: dict[str, Service]


class Refused(Exception):  # noqa: N818  a verdict on a table, not a fault of the program
    """The table is broken; the sentence says where."""


def parse(text: bytes | str) -> RoutingTable:
    """A table from JSON, with its generation.

    Raises:
        Refused: with the first thing that is wrong and where.
    """
    try:
        table = RoutingTable.model_validate(json.loads(text))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "table"
        raise Refused(f"{where}: {first['msg']}") from error
    except ValueError as error:
        raise Refused(f"the table is no JSON: {error}") from error
    _check(table)
    return table if table.generation else stamped(table)


def _check(table: RoutingTable) -> None:
    """What the types cannot say."""
    if len({service.name for service in table.services}) < len(table.services):
        raise Refused("services: a name stands twice")
    for service in table.services:
        where = f"services.{service.name}"
        revisions = service.revisions
        if revisions and sum(one.weight for one in revisions) != 100:  # noqa: PLR2004  percent
            raise Refused(f"{where}: the weights sum to {sum(one.weight for one in revisions)}, not to 100")
        if len({one.revision for one in revisions}) < len(revisions):
            raise Refused(f"{where}: a revision stands twice")
        if service.limits.concurrency < 1 or service.limits.timeout_seconds <= 0 or service.limits.max_body < 1:
            raise Refused(f"{where}.limits: concurrency, timeoutSeconds and maxBody must be positive")
        _check_names(service, where)
        for one in revisions:
            try:
                parse_static(one.service)
            except ValueError as error:
                raise Refused(f"{where}.{one.revision}.{error}") from error


def _check_names(service: ServiceRoute, where: str) -> None:
    """Rules lead to revisions that the service has."""
    known = {one.revision for one in service.revisions}
    for match in service.matches:
        if match.revision not in known:
            raise Refused(f"{where}.matches: {match.header} leads to {match.revision!r}, which is no revision")
    if service.mirror is not None and service.mirror.revision not in known:
        raise Refused(f"{where}.mirror: {service.mirror.revision!r} is no revision")
    for name in service.fallback.revisions if service.fallback else ():
        if name not in known:
            raise Refused(f"{where}.fallback: {name!r} is no revision")


class Tables:
    """Holds the running table; everything that outlives a swap is kept here or in its registry."""

    def __init__(self, registry: Registry, stats: Stats, loop: asyncio.AbstractEventLoop) -> None:
        self.registry = registry
        self.stats = stats
        self._loop = loop
        self._limiters: dict[str, Limiter] = {}
        self._clients: dict[str, Clients] = {}
        self._mirrors: dict[str, Mirror] = {}
        self._keys: dict[str, Keys] = {}
        self._caches: dict[str, Cache] = {}
        self.keyring = Keyring()
        self.current: Compiled | None = None
        self.refused: str | None = None
        """Why the newest table was refused, if it was."""
        self.listeners: list[Callable[[Compiled], None]] = []

    def offer(self, text: bytes | str) -> bool:
        """Take over a table, or keep the old one and remember why; True when it runs."""
        try:
            table = parse(text)
        except Refused as refused:
            self.refused = str(refused)
            return False
        self.refused = None
        if self.current is None or self.current.table != table:
            self._swap(table)
        return True

    def missing(self, reason: str) -> None:
        """The table's source has none (any more): the last one stays."""
        self.refused = reason

    def generation(self) -> str:
        """The running table's generation; empty before the first."""
        return self.current.table.generation if self.current else ""

    def state(self) -> dict[str, list[BackendState]]:
        """Backends of every revision of the table, and of past ones that still answer."""
        now = self._loop.time()
        found: dict[str, list[BackendState]] = {}
        live = set()
        for service in self.current.services.values() if self.current else ():
            found[service.name] = [
                BackendState(
                    revision=one.route.revision,
                    endpoints=len(one.backends.endpoints),
                    healthy=one.backends.healthy(now),
                    in_flight=one.stats.in_flight,
                )
                for one in service.revisions
            ]
            live |= {(service.name, one.route.revision) for one in service.revisions}
        for (name, revision), stats in self.stats.revisions.items():
            if stats.in_flight and (name, revision) not in live:
                found.setdefault(name, []).append(
                    BackendState(revision=revision, endpoints=0, healthy=0, in_flight=stats.in_flight)
                )
        return found

    def _swap(self, table: RoutingTable) -> None:
        compiled = Compiled(table=table, services={route.name: self._service(route) for route in table.services})
        self.current = compiled
        self.registry.keep({(one.service, one.port) for route in table.services for one in route.revisions})
        self.stats.forget({(route.name, one.revision) for route in table.services for one in route.revisions})
        for name in set(self._limiters) - set(compiled.services):
            del self._limiters[name]
            self._clients.pop(name, None)
            self._caches.pop(name, None)
            self._mirror_of(name, None, {})
            self._keys.pop(name, None)
        self.keyring.keep(route.auth for route in table.services)
        for listener in self.listeners:
            listener(compiled)

    def _service(self, route: ServiceRoute) -> Service:
        limiter = self._limiters.setdefault(route.name, Limiter(route.limits.concurrency, self._loop))
        limiter.limit = route.limits.concurrency
        revisions = tuple(self._revision(route, one) for one in route.revisions)
        named = {one.route.revision: one for one in revisions}
        rule = route.fallback
        return Service(
            name=route.name,
            route=route,
            revisions=revisions,
            fallback=Fallback(tuple(named[one] for one in rule.revisions), rule.static) if rule else None,
            mirror=self._mirror_of(route.name, route, named),
            matches=tuple(
                Match(one.header.lower().encode(), frozenset(map(str.encode, one.values)), named[one.revision])
                for one in route.matches
            ),
            sticky=route.sticky_header.lower().encode() if route.sticky_header else None,
            keys=self._keys_of(route),
            limiter=limiter,
            deadlines=Deadlines(route.limits.timeout_seconds, self._loop),
            clients=self._clients_of(route),
            tokens=self.keyring.tokens(route.auth),
            cache=self._cache_of(route),
            stats=self.stats.service(route.name),
        )

    def close(self) -> None:
        """Drop the copies under way: nobody waits for them."""
        for mirror in self._mirrors.values():
            mirror.stop()

    def _mirror_of(self, name: str, route: ServiceRoute | None, named: Mapping[str, Revision]) -> Mirror | None:
        rule = route.mirror if route is not None else None
        if route is None or rule is None:
            if (mirror := self._mirrors.pop(name, None)) is not None:
                mirror.stop()
            return None
        mirror = self._mirrors.setdefault(name, Mirror(name, self.stats, self._loop))
        mirror.follow(rule, named[rule.revision], route.limits.timeout_seconds)
        return mirror

    def _cache_of(self, route: ServiceRoute) -> Cache | None:
        if route.cache is None:
            self._caches.pop(route.name, None)
            return None
        cache = self._caches.get(route.name)
        if cache is None or cache.rule != route.cache:
            cache = self._caches[route.name] = Cache(route.cache, self.stats.service(route.name).cache)
        return cache

    def _keys_of(self, route: ServiceRoute) -> Keys | None:
        if route.sticky_header is None:
            self._keys.pop(route.name, None)
            return None
        keys = self._keys.setdefault(route.name, Keys())
        keys.follow({one.revision: one.weight for one in route.revisions})
        return keys

    def _clients_of(self, route: ServiceRoute) -> Clients | None:
        rule = route.limits.clients
        if rule is None:
            self._clients.pop(route.name, None)
            return None
        clients = self._clients.setdefault(route.name, Clients(rule))
        clients.follow(rule)
        return clients

    def _revision(self, service: ServiceRoute, route: RevisionRoute) -> Revision:
        return Revision(
            route=route,
            path=f"/v2/models/{route.model}/versions/{route.upstream_version}".encode(),
            headers=f"{VERSION_HEADER}: {route.version}\r\n{REVISION_HEADER}: {route.revision}\r\n".encode(),
            backends=self.registry.backends(route.service, route.port),
            stats=self.stats.revision(service.name, route.revision, route.version),
            checker=Checker(route.signature) if route.signature else None,
            lot=Lot(service.salt, route.revision, route.weight) if route.weight else None,
        )
