"""Deadlines that share one timer."""

import asyncio
from collections.abc import Callable

from gyre_serving.router.deadlines import Deadlines


class Clock(asyncio.SelectorEventLoop):
    """A loop whose time and timers are moved by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.timers: list[tuple[float, Callable[[], object]]] = []

    def time(self) -> float:
        """By hand."""
        return self.now

    def call_at(self, when: float, callback: Callable[..., object], *_: object, **__: object) -> asyncio.TimerHandle:
        """Remember."""
        self.timers.append((when, callback))
        return asyncio.TimerHandle(when, callback, (), self)

    def move(self, to: float) -> None:
        """Let time pass, and what is due run."""
        self.now = to
        due = [one for one in self.timers if one[0] <= to]
        self.timers = [one for one in self.timers if one[0] > to]
        for _, callback in due:
            callback()
        self.run_until_complete(asyncio.sleep(0))


class Request:
    """Remembers when it expired."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.told: list[float] = []

    def expired(self) -> None:
        """Remember."""
        self.told.append(self._clock.now)


def test_each_is_told_once_when_its_own_time_is_up_and_one_timer_serves_all() -> None:
    """Three requests a second apart: each hears of its own deadline, and never more than one timer is set."""
    clock = Clock()
    deadlines = Deadlines(5.0, clock)
    requests = []
    for second in range(3):
        clock.now = 100.0 + second
        requests.append(Request(clock))
        deadlines.add(requests[-1], clock.now)
        assert len(clock.timers) == 1
    for second in range(3):
        clock.move(105.0 + second)
        assert len(clock.timers) <= 1
    clock.move(200.0)
    clock.close()
    assert [one.told for one in requests] == [[105.0], [106.0], [107.0]]


def test_what_ended_in_time_is_not_told_and_the_next_is_still_heard() -> None:
    """The oldest ends before its deadline; the timer that was set for it is set again for the next one."""
    clock = Clock()
    deadlines = Deadlines(5.0, clock)
    ended, late = Request(clock), Request(clock)
    deadlines.add(ended, 100.0)
    deadlines.add(late, 103.0)
    deadlines.drop(ended)
    clock.move(105.0)
    assert (ended.told, late.told) == ([], [])
    clock.move(108.0)
    clock.close()
    assert (ended.told, late.told) == ([], [108.0])


def test_after_a_quiet_time_the_timer_is_set_again() -> None:
    """All ended, the timer rang in vain and was not renewed: the next request gets its deadline all the same."""
    clock = Clock()
    deadlines = Deadlines(5.0, clock)
    first, second = Request(clock), Request(clock)
    deadlines.add(first, 100.0)
    deadlines.drop(first)
    clock.move(105.0)
    assert clock.timers == []
    clock.now = 120.0
    deadlines.add(second, 120.0)
    clock.move(125.0)
    clock.close()
    assert second.told == [125.0]
