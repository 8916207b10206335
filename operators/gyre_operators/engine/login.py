"""Who we are to the API server: a pod's service account or a kubeconfig, kept fresh."""

import asyncio
import os
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import kubernetes.client
import kubernetes.config

_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_TOKEN_AGE = 60.0
"""Seconds after which a token is read again; kubelet rotates it long before it expires."""


class LoginError(Exception):
    """There is no way to the API server; the text says what was looked for."""


@dataclass(frozen=True, slots=True)
class Login:
    """Where the API server is and how to prove who we are."""

    server: str
    ssl: ssl.SSLContext | bool
    token: "Token"

    def session(self, *outer: aiohttp.ClientMiddlewareType) -> aiohttp.ClientSession:
        """A session that proves who we are on every request, after token rotations too.

        `outer` sees each request before and each answer after that. Must be made on the event loop that uses it.
        """

        async def authorise(
            request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
        ) -> aiohttp.ClientResponse:
            token = await self.token.fresh()
            if token:
                request.headers["Authorization"] = f"Bearer {token}"
            return await handler(request)

        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self.ssl, limit=0, keepalive_timeout=60),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
            middlewares=(*outer, authorise),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "gyre-operator"},
        )


class Token:
    """A bearer token that is asked for anew when a minute has passed."""

    def __init__(self, read: Callable[[], str | None], clock: Callable[[], float] = time.monotonic) -> None:
        """`read` may take its time (a file, a program); it runs in a thread."""
        self._read = read
        self._clock = clock
        self._token: str | None = None
        self._at = float("-inf")
        self._lock = asyncio.Lock()

    async def fresh(self) -> str | None:
        """The token, at most a minute old; None where a client certificate does the work."""
        if self._clock() - self._at > _TOKEN_AGE:
            async with self._lock:
                if self._clock() - self._at > _TOKEN_AGE:
                    token = await asyncio.to_thread(self._read)
                    self._token = token.strip() if token else None
                    self._at = self._clock()
        return self._token


def login() -> Login:
    """The way to the API server: KUBECONFIG if set, else the pod's account, else ~/.kube/config.

    Raises:
        LoginError: none of them is usable.
    """
    if not os.environ.get("KUBECONFIG") and (_ACCOUNT / "token").exists():
        return _in_cluster()
    return _from_kubeconfig()


def _in_cluster() -> Login:
    host = os.environ.get("KUBERNETES_SERVICE_HOST")
    port = os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise LoginError("a service account is mounted but KUBERNETES_SERVICE_HOST is not set")
    name = f"[{host}]" if ":" in host else host
    context = ssl.create_default_context(cafile=str(_ACCOUNT / "ca.crt"))
    return Login(f"https://{name}:{port}", context, Token((_ACCOUNT / "token").read_text))


def _from_kubeconfig() -> Login:
    configuration = kubernetes.client.Configuration()
    try:
        load: Any = kubernetes.config.load_kube_config  # carries no types
        load(client_configuration=configuration)
    except kubernetes.config.ConfigException as error:
        raise LoginError(f"neither a service account nor a usable kubeconfig: {error}") from error

    def read() -> str | None:
        # The library runs exec plugins and auth providers again when their token expires.
        header = configuration.get_api_key_with_prefix("BearerToken") or configuration.get_api_key_with_prefix(
            "authorization"
        )
        return header.split(" ", 1)[-1] if header else None

    return Login(configuration.host, _context(configuration), Token(read))


def _context(configuration: kubernetes.client.Configuration) -> ssl.SSLContext | bool:
    if not configuration.host.startswith("https"):
        return False
    context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
    if not configuration.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, configuration.key_file)
    return context
