"""Endpoints of revisions: who they are, which one a request gets, and which are left alone for a while."""

import random
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gyre_serving.router.upstream import UpstreamConnection

STRIKES = 3
"""Failures in a row (resets, timeouts, 503 answers) after which an endpoint is ejected."""
FIRST_EJECTION = 1.0
LONGEST_EJECTION = 30.0
MAX_IDLE = 64
"""Kept-alive connections held for an endpoint while nothing is asked."""

Address = tuple[str, int]


class Endpoint:
    """One `host:port` of a model server, shared by all tables that name it."""

    __slots__ = ("ejected_until", "ejections", "host", "host_header", "idle", "pending", "port", "retired", "strikes")

    def __init__(self, address: Address) -> None:
        self.host, self.port = address
        host = f"[{self.host}]" if ":" in self.host else self.host
        self.host_header = f"{host}:{self.port}".encode()
        self.pending = 0
        self.idle: list[UpstreamConnection] = []
        self.strikes = 0
        self.ejections = 0
        self.ejected_until = 0.0
        self.retired = False

    def succeeded(self) -> None:
        """An answer came: all is forgiven."""
        if self.strikes or self.ejections:
            self.strikes = 0
            self.ejections = 0

    def failed(self, now: float, *, refused: bool) -> None:
        """A failure at `now` (loop seconds). A refused connection ejects at once, others after `STRIKES`."""
        self.strikes += 1
        if refused or self.strikes >= STRIKES:
            self.ejected_until = now + min(FIRST_EJECTION * 2**self.ejections, LONGEST_EJECTION)
            self.ejections = min(self.ejections + 1, 16)
            self.strikes = STRIKES - 1  # back on probation: one more failure ejects it for longer
            self.close_idle()

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

    __slots__ = ("endpoints",)

    def __init__(self) -> None:
        self.endpoints: tuple[Endpoint, ...] = ()

    def healthy(self, now: float) -> int:
        """How many are not ejected."""
        return sum(endpoint.ejected_until <= now for endpoint in self.endpoints)

    def pick(self, now: float, tried: Iterable[Endpoint] = ()) -> Endpoint | None:
        """Power of two choices by pending requests; untried before tried, ejected ones only when all are."""
        known = self.endpoints
        if not known:
            return None
        if len(known) == 1:
            return known[0]
        open_ = [one for one in known if one.ejected_until <= now and one not in tried]
        if not open_:
            open_ = [one for one in known if one not in tried] or list(known)
            return min(open_, key=lambda one: one.ejected_until)
        if len(open_) == 1:
            return open_[0]
        first, second = random.sample(open_, 2)
        return first if first.pending <= second.pending else second


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
