"""Windows at multiples of their length, so that every look of a monitor has its place in time. Pure."""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple


class Span(NamedTuple):
    """One window: `start` is in it, `end` is not."""

    start: datetime
    end: datetime


def newest_closed(every: float, now: datetime, lateness: float) -> Span:
    """The last window whose rows are all written: it ended `lateness` seconds ago or earlier.

    Windows that were missed while nobody looked are past; looking at them late would only delay the newest.
    """
    edge = int((now.timestamp() - lateness) // every)
    return Span(_at(every * (edge - 1)), _at(every * edge))


def next_close(every: float, now: datetime, lateness: float) -> datetime:
    """When the window under way can be looked at."""
    return newest_closed(every, now, lateness).end + timedelta(seconds=every + lateness)


def _at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
