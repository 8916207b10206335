"""A part of the next status with what has to happen for it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from gyre_crds.reasons import Common, Training
from gyre_operators.engine.clock import parse_time
from gyre_operators.engine.plan import Effect, Manifest

T = TypeVar("T")

SURROUNDINGS = frozenset(
    {
        Common.STORE_UNREACHABLE,
        Common.REGISTRY_UNREACHABLE,
        Training.DISRUPTED,
        Training.INTERNAL,
        Training.STORE_DENIED,
    }
)
"""Reasons of a task that another run may not meet again."""
_LONGEST = timedelta(hours=6)


@dataclass(frozen=True, slots=True)
class Part(Generic[T]):
    """One part of the status."""

    value: T
    create: tuple[Manifest, ...] = ()
    effects: tuple[Effect, ...] = ()
    requeue: timedelta | None = None


def wait_for_rerun(run: int, at: str | None, now: datetime, *, first: timedelta) -> timedelta:
    """How long until a task's next run: doubles with each run from `first`, at most six hours; zero when due."""
    if at is None:
        return timedelta()
    doublings = min(max(run - 1, 0), 16)
    wait = min(first * float(2**doublings), _LONGEST)
    return max(parse_time(at) + wait - now, timedelta())
