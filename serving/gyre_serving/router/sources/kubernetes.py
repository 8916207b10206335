"""The routing table's ConfigMap and the namespace's EndpointSlices, watched.

Needs in its namespace: get, list, watch on the one ConfigMap (by resourceNames) and list, watch on
EndpointSlices. While the API server is away the last table and the last addresses stay.
"""

import asyncio
import logging
import random
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from gyre_crds.contracts.routing import CONFIG_KEY
from gyre_crds.names import ROUTER
from gyre_serving.router.endpoints import Registry
from gyre_serving.router.table import Tables

logger = logging.getLogger(__name__)

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
WATCH_SECONDS = 240
"""The server ends a watch after this; bookmarks make the next one cheap."""
LONGEST_PAUSE = 15.0
_GONE = 410


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach the API server."""

    server: str
    namespace: str
    token: Path | None
    """Read at every request: the kubelet rotates it."""
    authority: Path | None

    @classmethod
    def in_cluster(cls, environment: Mapping[str, str]) -> "Access":
        """The service account of the Pod.

        Raises:
            ValueError: outside of a Pod.
        """
        host = environment.get("KUBERNETES_SERVICE_HOST")
        if not host:
            raise ValueError("this is no Pod (KUBERNETES_SERVICE_HOST is not set); give --table FILE")
        account = Path(environment.get("GYRE_SERVICE_ACCOUNT", str(ACCOUNT)))
        port = environment.get("KUBERNETES_SERVICE_PORT", "443")
        namespace = environment.get("GYRE_NAMESPACE") or (account / "namespace").read_text().strip()
        address = f"[{host}]" if ":" in host else host
        return cls(f"https://{address}:{port}", namespace, account / "token", account / "ca.crt")

    def headers(self) -> dict[str, str]:
        """Authorization with the token as it is now."""
        return {"Authorization": f"Bearer {self.token.read_text().strip()}"} if self.token else {}

    def tls(self) -> ssl.SSLContext | bool:
        """Trust the cluster's own authority."""
        return ssl.create_default_context(cafile=str(self.authority)) if self.authority else True


class Reflector:
    """Keeps a dictionary of one collection's objects by LIST and WATCH; calls back on every change."""

    def __init__(self, access: Access, session: aiohttp.ClientSession, path: str, selector: Mapping[str, str]) -> None:
        self._access = access
        self._session = session
        self._url = f"{access.server}{path}"
        self._selector = dict(selector)
        self.objects: dict[str, dict[str, Any]] = {}
        self._version = ""

    async def run(self) -> None:
        """List, then watch, for ever. Failures are logged and waited out with jitter."""
        pause = 0.5
        while True:
            try:
                if not self._version:
                    await self._list()
                await self._watch()
                pause = 0.5
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                logger.warning("watching %s: %s; the last known state stays", self._url, error)
                await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311  jitter
                pause = min(pause * 2, LONGEST_PAUSE)

    def changed(self) -> None:
        """The objects changed."""
        raise NotImplementedError

    async def _list(self) -> None:
        timeout = aiohttp.ClientTimeout(total=30)
        async with self._session.get(
            self._url, params=self._selector, headers=self._access.headers(), timeout=timeout
        ) as answer:
            await _expect_ok(answer)
            body = orjson.loads(await answer.read())
        self.objects = {item["metadata"]["name"]: item for item in body.get("items") or ()}
        self._version = body["metadata"]["resourceVersion"]
        self.changed()

    async def _watch(self) -> None:
        parameters = self._selector | {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._version,
            "timeoutSeconds": str(WATCH_SECONDS),
        }
        # A connection that died silently is noticed when even the server's own end of the watch stays away.
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=WATCH_SECONDS + 30)
        async with self._session.get(
            self._url, params=parameters, headers=self._access.headers(), timeout=timeout
        ) as answer:
            if answer.status == _GONE:
                self._version = ""
                return
            await _expect_ok(answer)
            async for line in answer.content:
                if line.strip() and not self._take(orjson.loads(line)):
                    return

    def _take(self, event: dict[str, Any]) -> bool:
        """One watch event; False when the history is gone and a LIST is due."""
        kind, item = event["type"], event["object"]
        if kind == "ERROR":
            self._version = ""
            if item.get("code") != _GONE:
                raise ValueError(item.get("message", "the watch failed"))
            return False
        self._version = item["metadata"]["resourceVersion"]
        if kind == "BOOKMARK":
            return True
        if kind == "DELETED":
            self.objects.pop(item["metadata"]["name"], None)
        else:
            self.objects[item["metadata"]["name"]] = item
        self.changed()
        return True


async def _expect_ok(answer: aiohttp.ClientResponse) -> None:
    if answer.status != 200:  # noqa: PLR2004
        text = (await answer.text())[:300]
        raise ValueError(f"HTTP {answer.status}: {text}")


class TableWatch(Reflector):
    """Offers the ConfigMap's table whenever it changes."""

    def __init__(self, access: Access, session: aiohttp.ClientSession, tables: Tables) -> None:
        path = f"/api/v1/namespaces/{access.namespace}/configmaps"
        super().__init__(access, session, path, {"fieldSelector": f"metadata.name={ROUTER}"})
        self._tables = tables

    def changed(self) -> None:
        """Offer the table; none leaves the last one."""
        found = self.objects.get(ROUTER)
        text = (found or {}).get("data", {}).get(CONFIG_KEY) if found else None
        if text is None:
            self._tables.missing(f"ConfigMap {ROUTER} has no key {CONFIG_KEY}" if found else f"no ConfigMap {ROUTER}")
        else:
            self._tables.offer(text)


class SliceWatch(Reflector):
    """Gives the registry the ready addresses of every Service."""

    def __init__(self, access: Access, session: aiohttp.ClientSession, registry: Registry) -> None:
        path = f"/apis/discovery.k8s.io/v1/namespaces/{access.namespace}/endpointslices"
        super().__init__(access, session, path, {})
        self._registry = registry

    def changed(self) -> None:
        """Hand over all addresses."""
        self._registry.discovered(addresses(self.objects.values()))


def addresses(slices: Any) -> dict[str, tuple[str, ...]]:
    """Service name to its ready addresses; where none is ready, those that end but still serve."""
    ready: dict[str, set[str]] = {}
    ending: dict[str, set[str]] = {}
    for one in slices:
        service = one["metadata"].get("labels", {}).get("kubernetes.io/service-name")
        if service is None:
            continue
        for endpoint in one.get("endpoints") or ():
            conditions = endpoint.get("conditions") or {}
            if conditions.get("ready", True):
                ready.setdefault(service, set()).update(endpoint["addresses"])
            elif conditions.get("serving") and conditions.get("terminating"):
                ending.setdefault(service, set()).update(endpoint["addresses"])
    return {name: tuple(sorted(ready.get(name) or ending[name])) for name in ready.keys() | ending.keys()}


async def follow_kubernetes(access: Access, tables: Tables, registry: Registry) -> None:
    """Watch table and addresses, for ever."""
    connector = aiohttp.TCPConnector(ssl=access.tls())
    async with aiohttp.ClientSession(connector=connector, read_bufsize=2**22) as session, asyncio.TaskGroup() as group:
        group.create_task(SliceWatch(access, session, registry).run())
        group.create_task(TableWatch(access, session, tables).run())
