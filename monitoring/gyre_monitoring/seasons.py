"""Which earlier windows are of the same season as a window, the closest season first. Hours and days are UTC's."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

_SATURDAY = 5


class Season(NamedTuple):
    """Windows with an equal key are of one season."""

    words: str
    key: Callable[[datetime], tuple[int, ...]]


def _hour(at: datetime) -> int:
    return at.astimezone(UTC).hour


def _day(at: datetime) -> int:
    return at.astimezone(UTC).weekday()


def _weekend(at: datetime) -> int:
    return int(_day(at) >= _SATURDAY)


_HOURS = Season("this hour of the day", lambda at: (_hour(at),))
_BY_MATCH: dict[frozenset[str], tuple[Season, ...]] = {
    frozenset(): (_HOURS,),
    frozenset({"HourOfDay"}): (_HOURS,),
    frozenset({"DayOfWeek"}): (
        Season("this day of the week", lambda at: (_day(at),)),
        Season("this part of the week", lambda at: (_weekend(at),)),
    ),
    frozenset({"HourOfDay", "DayOfWeek"}): (
        Season("this hour and day of the week", lambda at: (_hour(at), _day(at))),
        Season("this hour and part of the week", lambda at: (_hour(at), _weekend(at))),
        _HOURS,
    ),
}


def seasons(match: Sequence[str]) -> tuple[Season, ...]:
    """The seasons of a monitor, the closest first; where one is too short for a baseline, the next is taken.

    The parts of the week are Monday to Friday, and Saturday with Sunday.
    """
    return _BY_MATCH[frozenset(match)]
