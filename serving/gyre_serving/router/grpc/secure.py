"""The gRPC port over TLS: callers known by their certificates, as on the data port's twin over TLS."""

import asyncio
import socket
from typing import TYPE_CHECKING

from gyre_serving.router.auth.channel import Channel, SecureRequest, Trust, channel_of
from gyre_serving.router.auth.tls import TlsFiles, TlsPort
from gyre_serving.router.grpc.budget import Budget
from gyre_serving.router.grpc.connection import GrpcConnection

if TYPE_CHECKING:
    from gyre_serving.router.data_port import DataPort
    from gyre_serving.router.message import Request


class SecureGrpcConnection(GrpcConnection):
    """A connection over TLS, whose calls know who shook hands."""

    def __init__(self, port: "DataPort", budget: Budget, trust: Trust) -> None:
        super().__init__(port, budget)
        self._trust = trust
        self._age = trust.age
        self._channel = Channel()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The handshake is over."""
        self._channel = channel_of(transport.get_extra_info("peercert"))
        super().connection_made(transport)

    def request(self) -> "Request":
        """A request that knows its channel."""
        return SecureRequest(self._channel)

    def outdated(self) -> bool:
        """Whether an authority was withdrawn since, or the certificate ran out: who goes on shows one that counts."""
        return self._age != self._trust.age or not self._channel.holds()


class GrpcTlsPort(TlsPort):
    """Listens for gRPC over TLS once there is a certificate."""

    alpn = "h2"

    def __init__(self, files: TlsFiles, port: "DataPort", budget: Budget, made: socket.socket) -> None:
        super().__init__(files, port, made)
        self._data_port = port
        self._budget = budget

    def connection(self) -> asyncio.Protocol:
        """One more connection."""
        return SecureGrpcConnection(self._data_port, self._budget, self)
