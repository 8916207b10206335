"""Asking Kubernetes whose a token is (authentication.k8s.io/v1 TokenReview)."""

from collections.abc import Collection
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import aiohttp
import orjson

from gyre_crds.names import ROUTER

if TYPE_CHECKING:
    from gyre_serving.router.sources.kubernetes import Access

PATH = "/apis/authentication.k8s.io/v1/tokenreviews"
ASK = aiohttp.ClientTimeout(total=5.0)
_CREATED = 201
_FORBIDDEN = 403
_MOST = 300


class Verdict(NamedTuple):
    """What Kubernetes says of a token."""

    user: str = ""
    """Whose it is; empty where it is nobody's, or made for other audiences."""
    groups: frozenset[str] = frozenset()


class CannotAskError(Exception):
    """Kubernetes gave no verdict; the sentence says why."""


class Asks(Protocol):
    """Who knows whose a token is."""

    async def review(self, token: str, audiences: Collection[str]) -> Verdict:
        """Whose the token is.

        Raises:
            CannotAskError: nobody says.
        """

    async def try_itself(self) -> None:
        """Find out whether verdicts can be had.

        Raises:
            CannotAskError: they cannot.
        """

    async def close(self) -> None:
        """Let go of connections."""


class NoCluster:
    """A router outside of a cluster: it has nobody to ask."""

    async def review(self, token: str, audiences: Collection[str]) -> Verdict:  # noqa: ARG002  nobody looks at it
        """See `Asks.review`."""
        raise CannotAskError("this router watches no Kubernetes that could say whose a token is")

    async def try_itself(self) -> None:
        """See `Asks.try_itself`."""
        await self.review("", ())

    async def close(self) -> None:
        """See `Asks.close`."""


class ApiServer:
    """The API server of the router's own cluster."""

    def __init__(self, access: "Access") -> None:
        self._access = access
        self._session: aiohttp.ClientSession | None = None

    async def review(self, token: str, audiences: Collection[str]) -> Verdict:
        """See `Asks.review`."""
        spec = {"token": token, **({"audiences": sorted(audiences)} if audiences else {})}
        document = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec}
        status = (await self._post(document)).get("status") or {}
        # One that knows no audiences vouches for the API server's own alone, and says so by naming none.
        meant = not audiences or bool(set(audiences) & set(status.get("audiences") or ()))
        user = status.get("user") or {}
        if not status.get("authenticated") or not meant or not user.get("username"):
            return Verdict()
        return Verdict(str(user["username"]), frozenset(user.get("groups") or ()))

    async def try_itself(self) -> None:
        """See `Asks.try_itself`: the router's own token is one that Kubernetes certainly knows."""
        try:
            own = self._access.headers()
        except OSError as error:
            raise _unsaid(error) from error
        await self.review(own.get("Authorization", "").removeprefix("Bearer "), ())

    async def close(self) -> None:
        """See `Asks.close`."""
        if self._session is not None:
            await self._session.close()

    async def _post(self, document: dict[str, Any]) -> dict[str, Any]:
        try:
            if self._session is None:
                connector = aiohttp.TCPConnector(ssl=self._access.tls(), limit=16)
                self._session = aiohttp.ClientSession(connector=connector, timeout=ASK)
            headers = {**self._access.headers(), "content-type": "application/json"}
            async with self._session.post(
                self._access.server + PATH, data=orjson.dumps(document), headers=headers
            ) as answer:
                body = await answer.read()
                if answer.status == _CREATED:
                    found: dict[str, Any] = orjson.loads(body)
                    return found
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _unsaid(error) from error
        if answer.status == _FORBIDDEN:
            account = f"{self._access.namespace}/{ROUTER}"
            raise CannotAskError(
                f"ServiceAccount {account} may not create tokenreviews: add {self._access.namespace} to the chart's "
                "value tokenReview.namespaces, or bind it to a ClusterRole with that right"
            )
        text = body[:_MOST].decode("utf-8", "replace")
        raise CannotAskError(f"Kubernetes does not say whose a token is: HTTP {answer.status} {text}")


def _unsaid(error: Exception) -> CannotAskError:
    return CannotAskError(f"Kubernetes does not say whose a token is: {str(error) or type(error).__name__}")
