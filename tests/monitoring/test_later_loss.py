"""The loss that pays is measured on rows later than those that alarmed."""

from collections.abc import Callable
from datetime import datetime

import numpy as np
import pyarrow as pa

from gyre_monitoring.history import Past
from gyre_monitoring.labels import Labelled, from_table
from tests.monitoring.support import census
from tests.monitoring.support.looks import CONTRACT, HOUR, START, look, window

PEOPLE = census.young(census.people()[1])


def test_loss_is_measured_again_without_the_rows_that_alarmed() -> None:
    """A bad spell that alarmed and ended: the whole cohort still shows a loss, the rows after the alarm show none."""
    table, truth, alarm = _labelled_past()
    first = Past(alarm - HOUR, alarm, "PerformanceLoss", 2000)
    evidence, _ = look(window(census.draw(PEOPLE, 500, 3)), labelled=truth(table), past=[first], start=alarm + HOUR)
    found = evidence.performance
    assert found is not None
    assert found.proven
    assert found.later is not None
    assert (found.later.labels, found.later.after) == (2000, alarm)
    assert found.later.lower < 0 < found.lower


def test_look_that_alarms_has_no_later_loss() -> None:
    """Nothing is later than the first alarm, nor than an alarm that a healthy window has ended."""
    table, truth, alarm = _labelled_past()
    ended = [Past(alarm - HOUR, alarm, "PerformanceLoss", 2000), Past(alarm, alarm + HOUR, "Healthy", 2000)]
    for past in ([], ended):
        current = window(census.draw(PEOPLE, 500, 3))
        evidence, _ = look(current, labelled=truth(table), past=past, start=alarm + HOUR)
        assert evidence.performance is not None
        assert evidence.performance.proven
        assert evidence.performance.later is None


def test_the_alarm_of_another_version_is_not_its_alarm() -> None:
    """A monitor with a reference of its own goes on over versions: only the alarm of the one that serves counts."""
    table, truth, alarm = _labelled_past()
    current = window(census.draw(PEOPLE, 500, 3))
    served = current.append_column("gyre_version", pa.array(["v2"] * current.num_rows))
    for version, later in (("v1", False), ("v2", True)):
        first = Past(alarm - HOUR, alarm, "PerformanceLoss", 2000, version=version)
        evidence, _ = look(served, labelled=truth(table), past=[first], start=alarm + HOUR)
        assert evidence.performance is not None
        assert (evidence.performance.later is not None) == later


def _labelled_past() -> tuple[pa.Table, Callable[[pa.Table], Labelled], datetime]:
    """Rows of two hours, how to label them, and the end of the first: its labels are mostly turned."""
    alarm = START + HOUR
    people = census.draw(PEOPLE, 4000, 1)
    times = [START + HOUR * (row / 2000) for row in range(4000)]
    turned = (np.arange(4000) < 2000) & (np.random.default_rng(0).random(4000) < 0.5)
    truth = pa.table({"id": people["id"], "employed": np.where(turned, 1 - people["y"], people["y"])})
    table = window(people).append_column("gyre_time", pa.array(times, pa.timestamp("us", "UTC")))
    return table, lambda rows: from_table([rows], truth, CONTRACT), alarm
