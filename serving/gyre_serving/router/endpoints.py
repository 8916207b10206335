"""Endpoints of revisions: who they are, which one a request gets, and which are left alone for a while."""

import random
from collections.abc import Callable, Collection, Mapping
from enum import StrEnum
from math import ceil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gyre_serving.router.upstream import UpstreamConnection

STRIKES = 3
"""Failures in a row (resets, timeouts, 503 answers) after which an endpoint is ejected."""
FIRST_EJECTION = 1.0
LONGEST_EJECTION = 30.0
LAST_RESORT = 4.0
"""Most seconds without a probe while a revision has nobody else: its recovery must show soon."""
MAX_IDLE = 64
"""Kept-alive connections held for an endpoint while nothing is asked."""

Address = tuple[str, int]


class Circuit(StrEnum):
    """Whether requests reach an endpoint."""

    CLOSED = "closed"
    """As many as come."""
    HALF_OPEN = "half-open"
    """One, whose end decides."""
    OPEN = "open"
    """None for a while."""


class Endpoint:
    """One `host:port` of a model server, shared by all tables that name it."""

    __slots__ = (
        "busy", "ejected_at", "ejection", "host", "host_header", "idle", "pending", "port", "prober", "retired",
        "strikes",
    )  # fmt: skip

    def __init__(self, address: Address) -> None:
        self.host, self.port = address
        host = f"[{self.host}]" if ":" in self.host else self.host
        self.host_header = f"{host}:{self.port}".encode()
        self.pending = 0
        self.idle: list[UpstreamConnection] = []
        self.strikes = 0
        self.ejection = 0.0
        """Seconds of the current ejection, 0 while the circuit is closed."""
        self.ejected_at = 0.0
        self.busy = False
        """It was ejected for answers of 503: it lives, and tells its callers so itself."""
        self.prober: object | None = None
        """The one request that is under way to find out whether it recovered."""
        self.retired = False

    def circuit(self, now: float) -> Circuit:
        """Its state at `now` (loop seconds)."""
        if not self.ejection:
            return Circuit.CLOSED
        return Circuit.HALF_OPEN if now >= self.ejected_at + self.ejection else Circuit.OPEN

    def admits(self, now: float, most: float = LONGEST_EJECTION) -> bool:
        """Whether a request may be sent; `most` bounds the ejection where nobody else is left."""
        return not self.ejection or (self.prober is None and now >= self.ejected_at + min(self.ejection, most))

    def succeeded(self) -> None:
        """An answer came: all is forgiven."""
        if self.strikes or self.ejection:
            self.strikes = 0
            self.ejection = 0.0
            self.prober = None

    def failed(self, now: float, by: object, *, refused: bool = False, busy: bool = False) -> bool:
        """A failure of request `by` at `now` (loop seconds); True when it ejects the endpoint.

        A refused connection ejects at once, others after `STRIKES`. Of an ejected endpoint only the probe
        counts, and doubles the time: what was under way before fails for the same reason, all at once.
        """
        if self.ejection:
            if by is not self.prober:
                return False
            self.ejection = min(self.ejection * 2, LONGEST_EJECTION)
        else:
            self.strikes += 1
            if not refused and self.strikes < STRIKES:
                return False
            self.ejection = FIRST_EJECTION
        self.ejected_at = now
        self.busy = busy
        self.prober = None
        self.close_idle()
        return True

    def leave(self, by: object) -> None:
        """Request `by` wants nothing more of it; a probe that nobody waited for leaves its place to another."""
        self.pending -= 1
        if self.prober is by:
            self.prober = None

    def take(self) -> "UpstreamConnection | None":
        """A kept-alive connection, the most recently used first."""
        while self.idle:
            connection = self.idle.pop()
            if not connection.closed:
                return connection
        return None

    def give(self, connection: "UpstreamConnection") -> None:
        """Keep a connection that finished its answer, unless nobody will want it."""
        if self.retired or len(self.idle) >= MAX_IDLE:
            connection.close()
        else:
            self.idle.append(connection)

    def lost(self, connection: "UpstreamConnection") -> None:
        """A kept connection was closed by the server."""
        if connection in self.idle:
            self.idle.remove(connection)

    def close_idle(self) -> None:
        """Close every kept-alive connection."""
        idle, self.idle = self.idle, []
        for connection in idle:
            connection.close()


class Backends:
    """The endpoints of one revision, as known now."""

    __slots__ = ("ask_at", "binary", "endpoints")

    def __init__(self) -> None:
        self.endpoints: tuple[Endpoint, ...] = ()
        self.binary = False
        """Whether they said that they take binary tensors."""
        self.ask_at = 0.0
        """When they are asked next, on the monotonic clock."""

    def healthy(self, now: float) -> int:
        """How many take a request."""
        return sum(endpoint.admits(now) for endpoint in self.endpoints)

    def circuits(self, now: float) -> dict[Circuit, int]:
        """How many endpoints are in each state."""
        states = [endpoint.circuit(now) for endpoint in self.endpoints]
        return {state: states.count(state) for state in Circuit}

    def pick(self, now: float, by: object, tried: Collection[Endpoint] = ()) -> Endpoint | None:
        """Power of two choices by pending requests, untried before tried; None when all are ejected.

        An ejection that is over lets request `by` through as its probe, and no other until that has ended.
        """
        known = self.endpoints
        if len(known) == 1 and not known[0].ejection:
            return known[0]
        usable = [one for one in known if one.admits(now) and one not in tried] or self._rest(now)
        if not usable:
            return None
        chosen = usable[0]
        if len(usable) > 1:
            first, second = random.sample(usable, 2)
            chosen = first if first.pending <= second.pending else second
        if chosen.ejection and chosen.admits(now, LAST_RESORT):
            chosen.prober = by
        return chosen

    def wait(self, now: float) -> int:
        """Whole seconds after which a request may be let through again, at least 1."""
        times = (one.ejected_at + min(one.ejection, LAST_RESORT) - now for one in self.endpoints)
        return max(1, ceil(min(times, default=0.0)))

    def _rest(self, now: float) -> list[Endpoint]:
        """Whom to ask when no untried one is open: a tried one again, an early probe, one that says 503 itself."""
        known = self.endpoints
        return (
            [one for one in known if not one.ejection]
            or [one for one in known if one.admits(now, LAST_RESORT)]
            or [one for one in known if one.busy]
        )


def parse_static(text: str) -> tuple[Address, ...] | None:
    """Addresses of `host:port,host:port`; None when the text is a Service's name.

    Raises:
        ValueError: with the part that is no address.
    """
    if ":" not in text:
        return None
    found = []
    for part in text.split(","):
        host, _, port = part.strip().rpartition(":")
        if not host or not port.isdigit() or not 0 < int(port) < 65536:  # noqa: PLR2004  the largest port
            raise ValueError(f"service: {part.strip()!r} is no host:port")
        found.append((host.strip("[]"), int(port)))
    return tuple(found)


class Registry:
    """All endpoints and the backends made of them; pools and ejections outlive table swaps."""

    def __init__(self) -> None:
        self._endpoints: dict[Address, Endpoint] = {}
        self._backends: dict[tuple[str, int], Backends] = {}
        self._discovered: Mapping[str, tuple[str, ...]] = {}
        self.on_change: Callable[[], None] = lambda: None

    def backends(self, service: str, port: int) -> Backends:
        """The (shared) backends of a Service's name or static list."""
        key = (service, port)
        found = self._backends.get(key)
        if found is None:
            found = self._backends[key] = Backends()
            self._fill(key, found)
        return found

    def discovered(self, services: Mapping[str, tuple[str, ...]]) -> None:
        """Take over the ready addresses of every Service of the namespace."""
        self._discovered = services
        for key, backends in self._backends.items():
            self._fill(key, backends)
        self._retire()
        self.on_change()

    def keep(self, used: set[tuple[str, int]]) -> None:
        """Forget backends that no table names any more."""
        for key in set(self._backends) - used:
            del self._backends[key]
        self._retire()

    def close(self) -> None:
        """Close every idle connection."""
        for endpoint in self._endpoints.values():
            endpoint.close_idle()

    def _fill(self, key: tuple[str, int], backends: Backends) -> None:
        service, port = key
        addresses = parse_static(service)
        if addresses is None:
            addresses = tuple((host, port) for host in self._discovered.get(service, ()))
        backends.endpoints = tuple(self._endpoints.setdefault(one, Endpoint(one)) for one in addresses)

    def _retire(self) -> None:
        used = {(one.host, one.port) for backends in self._backends.values() for one in backends.endpoints}
        for address in set(self._endpoints) - used:
            endpoint = self._endpoints.pop(address)
            endpoint.retired = True
            endpoint.close_idle()
