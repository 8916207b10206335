"""Windows at multiples of their length, so that every look of a monitor has its place in time. Pure."""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from gyre_crds.v1alpha1.drift import DriftReport
from gyre_operators.engine.clock import parse_time


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


def looked_until(report: DriftReport) -> datetime:
    """The end of a report's window, at the latest when the report was made: nobody has looked at what comes later."""
    end, made = parse_time(report.spec.window.end), report.metadata.creation_timestamp
    return end if made is None else min(end, parse_time(made))


def is_closed(report: DriftReport) -> bool:
    """Whether the window was over when the report was made. One by hand may name any, and speaks then for no other."""
    return looked_until(report) == parse_time(report.spec.window.end)


def _at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
