"""Requests and answers of the small HTTP server."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field


@dataclass(slots=True)
class Request:
    """One request, whole."""

    method: str
    path: str
    """Without the query."""
    headers: dict[str, str]
    """By lower-case name; a repeated header keeps its first value."""
    body: bytes


@dataclass(slots=True)
class Answer:
    """One answer."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


Handler = Callable[[Request], Awaitable[Answer]]
