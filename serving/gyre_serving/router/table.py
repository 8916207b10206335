"""The routing table as it runs: compiled whole, swapped in one assignment, refused with a reason."""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

from gyre_crds.contracts.routing import (
    REVISION_HEADER,
    VERSION_HEADER,
    BackendState,
    RevisionRoute,
    RoutingTable,
    ServiceRoute,
)
from gyre_serving.router.auth.guard import Guard
from gyre_serving.router.auth.reviews import Reviews
from gyre_serving.router.cache import Cache
from gyre_serving.router.checks import Checker
from gyre_serving.router.clients import Clients
from gyre_serving.router.deadlines import Deadlines
from gyre_serving.router.endpoints import Registry
from gyre_serving.router.fallback import Fallback
from gyre_serving.router.keys import Keys
from gyre_serving.router.limiter import Limiter
from gyre_serving.router.mirror import Mirror
from gyre_serving.router.reading import Refused, parse
from gyre_serving.router.service import Compiled, Match, Revision, Service
from gyre_serving.router.split import Lot
from gyre_serving.router.stats import Stats
from gyre_serving.router.tokens import Keyring

if TYPE_CHECKING:
    from collections.abc import Callable


class Tables:
    """Holds the running table; everything that outlives a swap is kept here or in its registry."""

    def __init__(self, registry: Registry, stats: Stats, reviews: Reviews, loop: asyncio.AbstractEventLoop) -> None:
        self.registry = registry
        self.reviews = reviews
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

    def asks_for_reviews(self) -> bool:
        """Whether any service wants to know of Kubernetes whose a token is."""
        rules = [one.auth for one in self.current.table.services] if self.current else []
        return any(rule is not None and rule.review is not None for rule in rules)

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
            guard=self._guard_of(route),
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

    def _guard_of(self, route: ServiceRoute) -> Guard | None:
        if route.auth is None:
            return None
        return Guard(route.name, route.auth, self.keyring.tokens(route.auth), self.reviews)

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
