"""The data port over TLS: certificates read from files that somebody renews, without a dropped connection."""

import asyncio
import logging
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gyre_serving.router.auth.channel import SecureConnection
from gyre_serving.router.auth.expiry import ends

if TYPE_CHECKING:
    from gyre_serving.router.jobs import Handler

logger = logging.getLogger(__name__)

REFRESH_SECONDS = 2.0
"""How often the files are looked at."""
HANDSHAKE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Where the certificates stand."""

    certificate: Path
    """Server certificate and chain, PEM."""
    key: Path
    authority: Path | None = None
    """Authorities of client certificates, PEM; without it no client is asked for one."""

    @classmethod
    def in_directory(cls, directory: Path) -> "TlsFiles":
        """As in a Secret of type kubernetes.io/tls; any of them may come later."""
        return cls(directory / "tls.crt", directory / "tls.key", directory / "ca.crt")


class _Loaded(NamedTuple):
    """The files as they were read."""

    content: tuple[bytes, ...]
    context: ssl.SSLContext
    authorities: frozenset[bytes]
    until: float | None
    """When the server's chain ends, seconds since 1970; None where nobody can tell."""


class CertificatesError(ValueError):
    """The files cannot be used; the sentence says why."""


def check(files: TlsFiles) -> None:
    """See whether a router can start with these files; once it runs, it keeps its last good ones instead.

    Raises:
        CertificatesError: it cannot.
    """
    _load(files, None)


class TlsPort:
    """Listens once there is a certificate, and goes on with the last good one."""

    alpn = "http/1.1"
    """What is spoken."""

    def __init__(self, files: TlsFiles, handler: "Handler", made: socket.socket) -> None:
        """Args: files to follow, who handles connections, and a bound socket that does not listen yet."""
        self._files = files
        self._handler = handler
        self._socket = made
        self._server: asyncio.Server | None = None
        self._loaded: _Loaded | None = None
        self._turn = asyncio.Lock()
        self.age = 0
        """See `Trust`."""
        self.problem = "the router has no certificate yet"
        """What keeps callers from proving themselves by certificates; empty when nothing does."""

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._socket.getsockname()[1])

    @property
    def until(self) -> float | None:
        """When its certificate ends, seconds since 1970; None before there is one."""
        return self._loaded.until if self._loaded is not None else None

    def connection(self) -> asyncio.Protocol:
        """One more connection."""
        return SecureConnection(self._handler, self)

    async def follow(self) -> None:
        """Look at the files for ever."""
        while True:
            await self.refresh()
            await asyncio.sleep(REFRESH_SECONDS)

    async def refresh(self) -> None:
        """Take over what changed; broken or missing files leave the last good ones."""
        async with self._turn:
            await self._look()

    async def _look(self) -> None:
        try:
            found = await asyncio.to_thread(_load, self._files, self._loaded)
        except CertificatesError as error:
            self._say(str(error))
            return
        if found is not self._loaded:
            await self._take(found)
        self._say("" if found.authorities else "ca.crt, which says who signs callers' certificates, is missing")

    def close(self) -> None:
        """Take no more connections."""
        if self._server is not None:
            self._server.close()
        self._socket.close()

    async def _take(self, found: _Loaded) -> None:
        """New connections get the new context; open ones stay as they are.

        Both listeners are the same socket, so there is no moment without one; and uvloop hands a connection
        over in the moment in which it accepts it, so that none is on its way to the listener that goes.
        """
        if self._loaded is not None and self._loaded.authorities - found.authorities:
            self.age += 1
        if self._server is None:
            self._socket.listen(_BACKLOG)
        found.context.set_alpn_protocols([self.alpn])
        server = await self._handler.loop.create_server(
            self.connection,
            sock=self._socket.dup(),
            ssl=found.context,
            ssl_handshake_timeout=HANDSHAKE_SECONDS,
            backlog=_BACKLOG,
        )
        before, self._server, self._loaded = self._server, server, found
        if before is not None:
            before.close()
        logger.info("TLS on :%d with %d client authorities", self.port, len(found.authorities))
        if found.until is None:
            logger.warning("TLS: when %s ends cannot be read; no metric tells it", self._files.certificate)

    def _say(self, problem: str) -> None:
        if problem and problem != self.problem:
            logger.warning("TLS: %s", problem)
        self.problem = problem


_BACKLOG = 2048


def _load(files: TlsFiles, before: _Loaded | None) -> _Loaded:
    """The files as they are now; the same object as before where nothing changed.

    Raises:
        CertificatesError: certificate or key are missing or do not fit.
    """
    certificate, key, authority = (_real(one) for one in (files.certificate, files.key, files.authority))
    content = tuple(_read(one) for one in (certificate, key, authority))
    if before is not None and content == before.content:
        return before
    if certificate is None or key is None or not content[0] or not content[1]:
        raise CertificatesError(f"{files.certificate} or {files.key} is missing or empty")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # An encrypted key would ask a terminal for its password.
        context.load_cert_chain(certificate, key, password=lambda: "")
        if content[2]:
            context.load_verify_locations(cadata=content[2].decode())
            context.verify_mode = ssl.CERT_OPTIONAL
    except (OSError, ValueError) as error:
        raise CertificatesError(
            f"{files.certificate}, {files.key} or their authority cannot be used: {error}"
        ) from error
    return _Loaded(content, context, frozenset(context.get_ca_certs(binary_form=True)), ends(content[0]))


def _real(file: Path | None) -> Path | None:
    """The file behind the links of a mounted Secret, which change all at once: so all three are of one time."""
    return None if file is None else file.resolve()


def _read(file: Path | None) -> bytes:
    try:
        return b"" if file is None else file.read_bytes()
    except OSError:
        return b""
