"""A small client of the API server: what a cluster needs before kubectl is worth its start-up."""

from __future__ import annotations

import http.client
import json
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tests.localcluster.errors import ClusterError

if TYPE_CHECKING:
    from pathlib import Path

_TIMEOUT = 20.0  # seconds
_FIRST_ERROR = 400


class ApiError(ClusterError):
    """The API server refused a request."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"The API server answered {status}: {message}")
        self.status = status


@dataclass(frozen=True)
class Api:
    """Requests as the administrator of one cluster."""

    url: str
    pki: Path

    def request(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> Any:
        """Send one request and return the decoded answer.

        Raises:
            ApiError: the server refused.
            OSError: there is no server.
        """
        context = ssl.create_default_context(cafile=str(self.pki / "ca.crt"))
        context.load_cert_chain(str(self.pki / "admin.crt"), str(self.pki / "admin.key"))
        parts = urlsplit(self.url)
        connection = http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=_TIMEOUT, context=context)
        try:
            connection.request(
                method,
                path,
                None if body is None else json.dumps(body),
                {"Content-Type": content_type, "Accept": "application/json"},
            )
            answer = connection.getresponse()
            text = answer.read().decode()
            kind = answer.getheader("Content-Type", "")
        finally:
            connection.close()
        value = json.loads(text) if kind.startswith("application/json") else text
        if answer.status >= _FIRST_ERROR:
            message = value.get("message", text) if isinstance(value, dict) else text
            raise ApiError(answer.status, message)
        return value

    def apply(self, path: str, body: dict[str, Any]) -> None:
        """Apply one object on the server's side; ``path`` is its collection."""
        name = body["metadata"]["name"]
        self.request(
            "PATCH",
            f"{path}/{name}?fieldManager=gyre-localcluster&force=true",
            body,
            "application/apply-patch+yaml",
        )

    def answers(self, path: str) -> bool:
        """Whether a GET of ``path`` succeeds just now."""
        try:
            self.request("GET", path)
        except (OSError, http.client.HTTPException, ClusterError):
            return False
        return True
