"""Instants as text."""

from datetime import UTC, datetime

from gyre_monitoring.errors import InputError


def moment(text: str) -> datetime:
    """An RFC 3339 instant.

    Raises:
        InputError: it is none.
    """
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise InputError(f"window: {text!r} is no RFC 3339 time, write 2026-01-31T06:00:00Z") from None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
