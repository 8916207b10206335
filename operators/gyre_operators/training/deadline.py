"""The deadline: over all attempts, less the time spent suspended."""

from datetime import datetime, timedelta

from gyre_crds.base import seconds
from gyre_crds.reasons import Training
from gyre_operators.engine.clock import parse_time
from gyre_operators.training.report import pause
from gyre_operators.training.seen import Observed


def limit_of(seen: Observed) -> str:
    """The deadline as it was written."""
    return seen.job.spec.deadline or seen.site.deadline


def time_left(seen: Observed, now: datetime) -> timedelta:
    """Until the deadline; negative when it has passed, the largest value before the first attempt."""
    old = seen.job.status
    if old is None or old.started_at is None:
        return timedelta.max
    paused = timedelta(seconds=old.suspended_seconds) + pause(seen, now)
    return parse_time(old.started_at) + timedelta(seconds=seconds(limit_of(seen))) + paused - now


def waited_for(seen: Observed) -> str:
    """What the job waited for last, if it waited: a deadline rarely explains itself."""
    old = seen.job.status
    if old is None or old.reason in ("", Training.RUNNING, Training.PUBLISHING):
        return ""
    ready = next((condition for condition in old.conditions if condition.type == "Ready"), None)
    return f"; before that, {old.reason}: {ready.message.rstrip('.')}" if ready else ""
