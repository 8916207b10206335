"""Services as they run: what a table says, compiled."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gyre_crds.contracts.routing import RevisionRoute, RoutingTable, ServiceRoute
from gyre_crds.v1alpha1.version import Signature
from gyre_serving.router.auth.guard import Guard
from gyre_serving.router.cache import Cache
from gyre_serving.router.checks import Checker
from gyre_serving.router.clients import Clients
from gyre_serving.router.deadlines import Deadlines
from gyre_serving.router.endpoints import Backends
from gyre_serving.router.fallback import Fallback
from gyre_serving.router.keys import Keys
from gyre_serving.router.limiter import Limiter
from gyre_serving.router.mirror import Mirror
from gyre_serving.router.split import Lot, winner
from gyre_serving.router.stats import RevisionStats, ServiceStats

if TYPE_CHECKING:
    from collections.abc import Sequence


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


class _Split:
    """The usual draw, of all weighted revisions while each has an endpoint, with nothing left to be found out."""

    __slots__ = ("_backends", "_lots", "_outcomes")

    def __init__(self, revisions: "Sequence[Revision]", lots: "Sequence[Lot]") -> None:
        total = sum(lot.weight for lot in lots)
        self._lots = lots
        self._outcomes = [(one, lot.weight / total) for one, lot in zip(revisions, lots, strict=True)]
        self._backends = [one.backends for one in revisions]

    @staticmethod
    def of(revisions: "Sequence[Revision]") -> "_Split | None":
        """None where less than two revisions have a weight."""
        weighted = [(one, one.lot) for one in revisions if one.lot is not None]
        return _Split([one for one, _ in weighted], [lot for _, lot in weighted]) if len(weighted) > 1 else None

    def complete(self) -> bool:
        """Whether each revision has an endpoint."""
        for backends in self._backends:  # noqa: SIM110  asked for each request, and all() takes a generator
            if not backends.endpoints:
                return False
        return True

    def draw(self, key: bytes) -> tuple[Revision, float]:
        """The revision of the key, and its chance."""
        return self._outcomes[winner(self._lots, key)]


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
    guard: Guard | None
    """Asks callers who they are; None where everybody may ask."""
    cache: Cache | None
    stats: ServiceStats
    _split: "_Split | None" = field(init=False)

    def __post_init__(self) -> None:
        self._split = _Split.of(self.revisions)

    def choose(self, key: bytes, version: str | None) -> tuple[Revision, float] | None:
        """The revision for a key and the chance with which it was picked; None when no revision matches.

        `version` is a ModelVersion's name, a revision or an upstream version; of several that match
        (two revisions both call themselves 1 upstream) the split decides. A revision without any
        endpoint is passed over while another has one, so that no request fails for a Pod's start.
        """
        if version is None and self._split is not None and self._split.complete():
            return self._split.draw(key)
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

    def is_open(self) -> bool:
        """Whether everybody may ask the model, and so may know what it takes."""
        return self.guard is None or not self.guard.rule.predict

    def signature(self) -> Signature | None:
        """The signature of the heaviest revision that has one."""
        known = [one.route for one in self.revisions if one.route.signature is not None]
        return max(known, key=lambda route: route.weight).signature if known else None


@dataclass(frozen=True, slots=True)
class Compiled:
    """A whole table, ready to route."""

    table: RoutingTable
    services: dict[str, Service]
