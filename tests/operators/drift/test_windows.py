"""Which windows a monitor looks at."""

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gyre_operators.drift.windows import newest_closed, next_close
from tests.operators.builders import (
    NOW,
    after,
    monitor,
    service,
    text,
)
from tests.operators.drift.conftest import LATE, SERVES, Scene


@pytest.mark.parametrize(
    ("now", "end"),
    [
        pytest.param(after(0), after(-60), id="a window that just ended is still being written"),
        pytest.param(after(34), after(-60), id="one second too early"),
        pytest.param(after(35), after(0), id="all rows are written"),
        pytest.param(after(86400 + 100), after(86400 + 60), id="after a day away only the newest counts"),
    ],
)
def test_newest_closed_window(now: datetime, end: datetime) -> None:
    """Windows end at multiples of their length; the newest whose rows are written counts."""
    assert newest_closed(60, now, 35).end == end
    assert next_close(60, now, 35) > now


@given(st.integers(1, 86400 * 30), st.floats(0, 4e9), st.floats(0, 600))
def test_windows_lie_at_multiples_and_touch(every: int, instant: float, late: float) -> None:
    """Whatever the length and the hour: one length long, closed, and the next follows at once."""
    now = datetime.fromtimestamp(instant, tz=NOW.tzinfo)
    span = newest_closed(every, now, late)
    assert span.end.timestamp() % every == 0
    assert (span.end - span.start).total_seconds() == every
    assert span.end.timestamp() <= instant - late + 1e-3
    assert next_close(every, now, late).timestamp() - late - span.end.timestamp() == pytest.approx(every, abs=1e-3)


async def test_only_the_newest_missed_window_is_looked_at(scene: Scene) -> None:
    """The operator was away for an hour: one look, not sixty."""
    await scene.rest(after(LATE))
    scene.finds("Healthy")
    await scene.rest(after(LATE + 5))
    assert scene.condition["message"].endswith("was Healthy (level None): Healthy was found")
    await scene.rest(after(3600 + LATE))
    assert len(scene.jobs()) == 2
    assert scene.order().window_end == text(after(3600))
    scene.finds("Healthy")
    await scene.rest(after(3600 + LATE + 5))
    # Whoever wonders about a bad hour learns that nobody looked at it.
    assert f"; nobody looked at {text(NOW)} to {text(after(3540))}" in scene.condition["message"]


async def test_windows_before_the_version_served_are_not_looked_at(scene: Scene) -> None:
    """A window that ended before the target served holds none of its rows."""
    fresh = {**SERVES, "stable": {**SERVES["stable"], "since": text(after(10))}}
    scene.town.put(service(status=fresh))
    await scene.rest(after(LATE))
    assert scene.jobs() == []
    assert scene.condition["reason"] == "WaitingForWindow"


async def test_paused_monitor_does_not_look(scene: Scene) -> None:
    """spec.paused: no job, and it says so."""
    scene.town.put(monitor({"paused": True}))
    await scene.rest(after(LATE))
    assert scene.jobs() == []
    assert scene.status["state"] == "Paused"
