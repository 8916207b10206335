"""Cron lines in time zones. Pure."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from gyre_crds.v1alpha1.common import Schedule

_FIELDS = 5


class ScheduleError(Exception):
    """The line or the zone cannot be read; the text names which, and the cure."""


def last_before(schedule: Schedule, now: datetime) -> datetime | None:
    """The latest scheduled time at or before `now`, in UTC; None when there never was one.

    Raises:
        ScheduleError: the schedule cannot be read.
    """
    # The walk back leaves out its own start, and lines have no seconds.
    return _first(schedule, now + timedelta(seconds=1), reverse=True)


def next_after(schedule: Schedule, now: datetime) -> datetime | None:
    """The next scheduled time after `now`, in UTC; None when there is none.

    Raises:
        ScheduleError: the schedule cannot be read.
    """
    return _first(schedule, now, reverse=False)


def _first(schedule: Schedule, start: datetime, *, reverse: bool) -> datetime | None:
    if len(schedule.cron.split()) != _FIELDS:
        raise ScheduleError(f"cron: {schedule.cron!r} has not five fields; write e.g. '0 3 * * 1'")
    try:
        zone = ZoneInfo(schedule.time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        message = f"timeZone: {schedule.time_zone!r} is no time zone; write an IANA name, e.g. 'Europe/Berlin'"
        raise ScheduleError(message) from error
    try:
        found = next(CronSim(schedule.cron, start.astimezone(zone), reverse=reverse), None)
    except CronSimError as error:
        message = f"cron: {schedule.cron!r} cannot be read ({error}); write five fields, e.g. '0 3 * * 1'"
        raise ScheduleError(message) from error
    return found.astimezone(UTC) if found is not None else None
