"""Calibration on earlier windows: autocorrelation, season, and no ratchet."""

from collections.abc import Callable, Sequence
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest

from gyre_crds.contracts.task import Report
from gyre_monitoring import report
from gyre_monitoring.history import ENOUGH, Past, _wanted, chosen, quiet, run_start
from tests.monitoring.support.looks import HOUR, START, look, monitor, normal_profile, normals

Window = Callable[[int], pa.Table]
DAY = timedelta(days=1)
PROFILE, CONTRACT = normal_profile(3)


def lives(
    window: Window, count: int, *, rate: float = 0.01, step: timedelta = HOUR, match: Sequence[str] = ()
) -> list[Report]:
    """A monitor's reports on consecutive hours (or steps of another length), each seeing all earlier ones."""
    reports: list[Report] = []
    consecutive = 0
    for hour in range(count):
        start = START + hour * step
        digest = reports[0].spec.reference_digest if reports else None
        past = chosen(reports, start, digest) if digest else []
        evidence, finding = look(
            window(hour), profile=PROFILE, contract=CONTRACT,
            spec=monitor(features=[], false_alarm_rate=rate, match=list(match)), past=past,
            consecutive=consecutive, start=start,
        )  # fmt: skip
        reports.append(report.report(evidence, finding, "m"))
        consecutive = consecutive + 1 if finding.verdict in {"CovariateShift", "PredictionShift"} else 0
    return reports


def alarms(reports: Sequence[Report]) -> float:
    """Share of reports that alarm."""
    return float(np.mean([one.spec.verdict != "Healthy" for one in reports]))


def autoregressive(seed: int) -> Window:
    """Windows of 500 rows of three AR(1) series with rho 0.9: stationary, and far from independent."""
    generator = np.random.default_rng(seed)

    def window(_: int) -> pa.Table:
        noise = generator.normal(size=(3, 700)) * np.sqrt(1 - 0.81)
        series = np.zeros_like(noise)
        for step in range(1, 700):
            series[:, step] = 0.9 * series[:, step - 1] + noise[:, step]
        return pa.table({f"x{k}": series[k, 200:] for k in range(3)})

    return window


def test_autocorrelated_rows_calm_down_after_calibration() -> None:
    """AR(1) rows alarm by theory; after 60 windows of history at most 6 % of 120 more do."""
    reports = lives(autoregressive(1), 180)
    assert alarms(reports[:20]) > 0.3
    assert alarms(reports[60:]) <= 0.06


def test_a_daily_season_calms_down_after_calibration() -> None:
    """A mean that swings by 0.8 deviations over the day is normal after it was seen often enough."""
    generator = np.random.default_rng(2)

    def window(hour: int) -> pa.Table:
        return normals(3, 500, int(generator.integers(1 << 30)), shift=0.8 * np.sin(2 * np.pi * hour / 24))

    reports = lives(window, 24 * 7)
    assert alarms(reports[:24]) > 0.5
    assert alarms(reports[24 * 3 :]) <= 0.06


def weekly(seed: int, spoiled: int = -1) -> Window:
    """Daily windows with another population at weekends (START is a Thursday); on the spoiled day it comes early."""
    generator = np.random.default_rng(seed)

    def window(day: int) -> pa.Table:
        weekend = (START + day * DAY).weekday() >= 5
        return normals(3, 500, int(generator.integers(1 << 30)), shift=0.8 * (weekend or day == spoiled))

    return window


def test_a_weekly_season_calms_down_and_still_sees_a_weekend_on_a_workday() -> None:
    """With match DayOfWeek the last five of 25 weeks alarm at most 6 %, but for one workday with weekend's people.

    Without match that day passes: weekends have taught the monitor that such windows are normal.
    """
    days = 7 * 25
    last_monday = next(day for day in range(days - 1, 0, -1) if (START + day * DAY).weekday() == 0)
    found = {}
    for match in ((), ("DayOfWeek",)):
        reports = lives(weekly(4, spoiled=last_monday), days, step=DAY, match=match)
        found[match] = reports[last_monday].spec.verdict
        calm = [one for day, one in enumerate(reports) if day != last_monday]
        assert alarms(calm[7 * 20 :]) <= 0.06
    assert found == {(): "Healthy", ("DayOfWeek",): "CovariateShift"}
    assert "windows of this day of the week" in reports[-1].spec.power


def test_a_season_that_is_too_short_gives_way_to_a_wider_one() -> None:
    """Nine weeks hold 20 workdays but no 20 Mondays: the part of the week is the baseline."""
    reports = lives(weekly(5), 7 * 9, step=DAY, match=("DayOfWeek",))
    friday = max(day for day in range(7 * 9) if (START + day * DAY).weekday() == 4)
    assert "windows of this part of the week" in reports[friday].spec.power


def test_older_windows_of_the_same_season_are_read() -> None:
    """Of 1,000 hourly reports the latest 300 are read, and of older ones those of this hour and day."""
    starts = [START + k * HOUR for k in range(1000)]
    uris = [f"file:///store/reports/m/{one:%Y-%m-%dT%H%M%SZ}/report.json" for one in starts]
    before = START + 1000 * HOUR
    found = _wanted(uris, before, ["HourOfDay", "DayOfWeek"])
    assert found[-300:] == uris[-300:]
    older = [starts[uris.index(uri)] for uri in found[:-300]]
    assert older == sorted(older)
    assert [one for one in starts[:700] if (one.hour, one.weekday()) == (before.hour, before.weekday())]
    assert {one.hour for one in older} == {before.hour}
    assert len(_wanted(uris, before, ["DayOfWeek"])) <= 300 + 2 * 60


def test_a_lasting_shift_keeps_alarming_through_twenty_windows() -> None:
    """The windows of a shift under way do not become its own excuse: no ratchet, neither way."""
    generator = np.random.default_rng(3)

    def window(hour: int) -> pa.Table:
        return normals(3, 1000, int(generator.integers(1 << 30)), shift=0.0 if hour < 30 else 0.6)

    reports = lives(window, 30 + ENOUGH)
    assert alarms(reports[:30]) <= 0.04
    assert alarms(reports[30:]) == 1.0


def test_declared_and_achievable_are_printed() -> None:
    """Twenty windows vouch for one alarm in 21, so a declared 1 % is provisional; a declared 10 % is not."""
    calm = lambda hour: normals(3, 600, 1000 + hour)  # noqa: E731
    strict, loose = lives(calm, ENOUGH + 2)[-1], lives(calm, ENOUGH + 2, rate=0.1)[-1]
    assert strict.spec.provisional
    assert strict.power["achievable"] == pytest.approx(1 / (ENOUGH + 2), rel=0.05)
    assert "declared 0.01" in strict.spec.power
    assert not loose.spec.provisional


def test_history_against_another_reference_does_not_count() -> None:
    """A new version starts its own history: numbers against another profile say nothing."""
    reports = lives(lambda hour: normals(3, 600, hour), 3)
    assert chosen(reports, START + 5 * HOUR, "sha256:" + "0" * 64) == []
    assert len(chosen(reports, START + 2 * HOUR, str(reports[0].spec.reference_digest))) == 2


def test_a_shift_that_proved_harmful_does_not_blind_the_monitor() -> None:
    """Shifted windows of a run in which labels proved a loss leave the baseline, all of them; others stay."""
    verdicts = ["Healthy"] * 3 + ["CovariateShift", "PerformanceLoss"] + ["Healthy", "CovariateShift", "SchemaBreak",
                "Healthy", "CovariateShift"]  # fmt: skip
    past = [
        Past(
            START + k * HOUR,
            START + (k + 1) * HOUR,
            verdict,
            500,
            moved=verdict in {"CovariateShift", "PerformanceLoss"},
        )
        for k, verdict in enumerate(verdicts)
    ]
    assert [one.verdict for one in quiet(past)] == ["Healthy"] * 4 + ["CovariateShift", "Healthy"]


def test_run_of_moved_windows() -> None:
    """The present run starts with the first moved window after the last still one."""
    past = [
        Past(START + k * HOUR, START + (k + 1) * HOUR, "CovariateShift" if moved else "Healthy", 500, moved=moved)
        for k, moved in enumerate([True, False, True, True])
    ]
    assert run_start(past, START + 4 * HOUR) == START + 2 * HOUR
    assert run_start(past[:2], START + 2 * HOUR) == START + timedelta(hours=2)
