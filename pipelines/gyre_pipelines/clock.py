"""The time of day, in one place."""

import time
from datetime import UTC, datetime


def now() -> datetime:
    """This instant."""
    return datetime.fromtimestamp(time.time(), UTC)
