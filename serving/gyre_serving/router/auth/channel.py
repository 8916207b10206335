"""Connections of the TLS port: whose certificate they showed, and for how long that holds."""

import asyncio
import ssl
import time
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from gyre_serving.router.connection import ClientConnection
from gyre_serving.router.message import Request

if TYPE_CHECKING:
    from gyre_serving.router.jobs import Handler

_SORTS = {"URI": "uri", "DNS": "dns"}
SOON_SECONDS = 60.0
"""Before a certificate ends its connection is closed behind an answer: who has a new one shows it in time."""


class Channel(NamedTuple):
    """What a client's certificate says; without one, no names."""

    names: frozenset[str] = frozenset()
    """`uri:`, `dns:` and `cn:` with the names in it."""
    until: float = float("inf")
    """When it ends, seconds since 1970."""

    def holds(self, seconds: float = 0.0) -> bool:
        """Whether it has not run out since it was shown, and does not within the seconds."""
        return time.time() + seconds < self.until

    def told(self) -> str:
        """The certificate's names as a person reads them."""
        return ", ".join(sorted(self.names)) or "no name"


class SecureRequest(Request):
    """A request that came over TLS."""

    __slots__ = ("channel",)

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self.channel = channel


class Trust(Protocol):
    """The certificates that count at the moment."""

    @property
    def age(self) -> int:
        """Grows when an authority is withdrawn."""


class SecureConnection(ClientConnection):
    """A client connection over TLS."""

    def __init__(self, handler: "Handler", trust: Trust) -> None:
        super().__init__(handler)
        self._trust = trust
        self._age = trust.age
        self._channel = Channel()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The handshake is over: remember who shook hands."""
        super().connection_made(transport)
        self._channel = channel_of(transport.get_extra_info("peercert"))

    def on_message_begin(self) -> None:
        """A new request, which knows its channel."""
        super().on_message_begin()
        self._request = SecureRequest(self._channel)

    def eof_received(self) -> bool:
        """TLS knows no half-closed connection."""
        super().eof_received()
        return False

    def closes(self, request: Request) -> bool:
        """Also where an authority was withdrawn since, or the certificate ends: who goes on shows one that counts."""
        return super().closes(request) or self._age != self._trust.age or not self._channel.holds(SOON_SECONDS)


def channel_of(certificate: Any) -> Channel:
    """What a verified certificate says, as `SSLSocket.getpeercert` gives it; an empty one is none."""
    if not certificate:
        return Channel()
    names = {f"{_SORTS[sort]}:{name}" for sort, name in certificate.get("subjectAltName", ()) if sort in _SORTS}
    subject = (pair for part in certificate.get("subject", ()) for pair in part)
    names |= {f"cn:{value}" for key, value in subject if key == "commonName"}
    return Channel(frozenset(names), float(ssl.cert_time_to_seconds(certificate["notAfter"])))
