"""What the API server answers when it does not do what it was asked."""

import contextlib
from http import HTTPStatus
from typing import Any

import orjson


class ApiError(Exception):
    """An answer of 400 or above, as Kubernetes' Status puts it."""

    def __init__(self, code: int, reason: str, message: str, retry_after: float = 0.0) -> None:
        super().__init__(f"{code} {reason}: {message}")
        self.code = code
        self.reason = reason
        """Kubernetes' word: NotFound, AlreadyExists, Conflict, Forbidden, Invalid, Expired, ..."""
        self.message = message
        self.retry_after = retry_after
        """Seconds the server asked to wait; 0 when it did not."""

    @property
    def refused(self) -> bool:
        """The server understood and says no; the same request fails again until something changes.

        Quota, admission policy, Pod Security, schema and missing rights are told apart by reason
        and message.
        """
        return self.code in (
            HTTPStatus.BAD_REQUEST,
            HTTPStatus.FORBIDDEN,
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            HTTPStatus.UNPROCESSABLE_ENTITY,
        )

    @property
    def gone(self) -> bool:
        """The resource version is older than what the server remembers."""
        return self.code == HTTPStatus.GONE or self.reason == "Expired"


def error_from(code: int, body: bytes, retry_after: str | None = None) -> ApiError:
    """The error in an answer, also when a proxy answered with something that is no Status."""
    status: dict[str, Any] = {}
    with contextlib.suppress(orjson.JSONDecodeError):
        decoded = orjson.loads(body)
        status = decoded if isinstance(decoded, dict) else {}
    seconds = 0.0
    with contextlib.suppress(ValueError):
        seconds = float(retry_after or (status.get("details") or {}).get("retryAfterSeconds") or 0)
    message = status.get("message") or body[:200].decode(errors="replace") or "no message"
    try:
        phrase = HTTPStatus(code).phrase.replace(" ", "")
    except ValueError:
        phrase = "Error"
    return ApiError(code, status.get("reason") or phrase, message, seconds)
