"""Time as an argument: controllers are told `now`, tests say what it is. Nothing here reads it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from gyre_crds.base import seconds

Clock = Callable[[], datetime]
"""The current instant, aware, in UTC."""
_CENTURY = 36_525 * 86_400.0


def rfc3339(instant: datetime) -> str:
    """An instant as Kubernetes writes it, in whole seconds: `2026-11-20T10:00:00Z`."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_time(text: str) -> datetime:
    """The instant in an RFC 3339 text.

    Raises:
        ValueError: the text is no RFC 3339 instant.
    """
    instant = datetime.fromisoformat(text)
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def span(duration: str) -> timedelta:
    """The time that a text such as `1h30m` tells, at most a century: before and after it there are dates."""
    return timedelta(seconds=min(seconds(duration), _CENTURY))
