"""What people are told: our rules in a real Prometheus, our routes in a real Alertmanager, notifications counted."""

import time
from collections.abc import Iterator, Mapping

import pytest

from tests.monitoring.support.paging import Desk, desk, wait

LEVELS = ("P0", "P1", "P2")


def looked(namespace: str, verdict: str, level: str, *, model: str = "m", columns: int = 0) -> dict[str, float]:
    """The operator's series of one monitor after one look."""
    labels = f'namespace="{namespace}",monitor="watch"'
    return {
        f'gyre_drift_verdict{{{labels},verdict="{verdict}"}}': 1,
        f'gyre_drift_verdict{{{labels},verdict="Healthy"}}': 0,
        **{f'gyre_drift_level{{{labels},level="{one}"}}': float(one == level) for one in LEVELS},
        **{f'gyre_drift_score{{{labels},column="c{k}",method="PSI"}}': 9 for k in range(columns)},
        f'gyre_drift_monitor_info{{{labels},model="{model}"}}': 1,
        f'gyre_retraining_in_progress{{namespace="{namespace}",model="{model}"}}': 0,
    }


def trains(namespace: str) -> dict[str, float]:
    """A training of the monitored model runs."""
    return {f'gyre_retraining_in_progress{{namespace="{namespace}",model="m"}}': 1}


def silent(namespace: str) -> dict[str, float]:
    """A monitor with hourly looks whose last one was five hours ago."""
    labels = f'namespace="{namespace}",monitor="watch"'
    return {
        f"gyre_drift_report_timestamp_seconds{{{labels}}}": time.time() - 5 * 3600,
        f"gyre_drift_schedule_interval_seconds{{{labels}}}": 3600,
    }


SCENES: Mapping[str, Mapping[str, float]] = {
    "wide": looked("wide", "CovariateShift", "P1", columns=200),
    "broken": looked("broken", "SchemaBreak", "P0"),
    "lost": looked("lost", "PerformanceLoss", "P0"),
    "losing": looked("losing", "ConceptDrift", "P1"),
    "notice": looked("notice", "EstimatedLoss", "P2"),
    "training": looked("training", "CovariateShift", "P1") | trains("training"),
    "silent": looked("silent", "SchemaBreak", "P0") | silent("silent"),
    "well": looked("well", "Healthy", "None"),
}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """Every scene, a namespace each, until the notifications have come and nothing more is under way."""
    with desk(tmp_path_factory.mktemp("alerts")) as made:
        made.show({name: value for series in SCENES.values() for name, value in series.items()})
        wait(lambda: made.told("page", "silent") and made.told("tickets", "notice") and made.told("digest", "wide"))
        time.sleep(4)  # a second notification would come within two intervals
        yield made


def test_two_hundred_columns_are_one_notification(told: Desk) -> None:
    """One ticket for the monitor, however many columns drifted."""
    assert told.told("tickets", "wide") == [{"GyreDriftShift"}]
    assert told.told("page", "wide") == []


@pytest.mark.parametrize(
    ("namespace", "receiver", "alert"),
    [
        pytest.param("broken", "page", "GyreSchemaBreak", id="a broken schema pages"),
        pytest.param("lost", "page", "GyrePerformanceLoss", id="a loss of P0 pages"),
        pytest.param("losing", "tickets", "GyrePerformanceLoss", id="a loss of P1 is a ticket"),
        pytest.param("notice", "tickets", "GyreDriftNotice", id="a notice of P2 is a ticket"),
    ],
)
def test_priority_chooses_the_receiver(told: Desk, namespace: str, receiver: str, alert: str) -> None:
    """P0 goes to the pager, P1 and P2 to the tracker, and each to one of them only."""
    other = "tickets" if receiver == "page" else "page"
    assert told.told(receiver, namespace) == [{alert}]
    assert told.told(other, namespace) == []


def test_training_silences_the_shift_that_it_cures(told: Desk) -> None:
    """The shift fires in Prometheus, and nobody is told while its model trains; of the training itself neither."""
    assert ("training", "watch", "GyreDriftShift") in told.firing()
    assert told.told("tickets", "training") == []
    assert told.told("page", "training") == []
    assert told.told("nobody", "training") == [{"GyreRetrainingInProgress"}]


def test_silence_is_told_beside_the_verdict_that_stayed(told: Desk) -> None:
    """A monitor that stopped looking after a broken schema: the old verdict does not silence the silence."""
    assert told.told("page", "silent") == [{"GyreSchemaBreak"}]
    assert told.told("tickets", "silent") == [{"GyreDriftSilence"}]


def test_digest_is_one_message_for_all_namespaces(told: Desk) -> None:
    """Each namespace with something to tell is in it, healthy ones are not."""
    messages = [body for to, body in told.notified if to == "digest"]
    assert len(messages) == 1
    named = {alert["labels"]["namespace"] for alert in messages[0]["alerts"]}
    assert named == set(SCENES) - {"well"}


def test_nobody_hears_of_a_healthy_monitor(told: Desk) -> None:
    """No alert fires and nothing is sent."""
    assert not [one for one in told.firing() if one[0] == "well"]
    assert not [receiver for receiver in ("page", "tickets", "digest", "nobody") if told.told(receiver, "well")]


def test_broken_schema_silences_shift_and_loss_of_the_same_monitor_only(told: Desk) -> None:
    """Alerts put to Alertmanager beside the broken one: those of its monitor stay unsaid, another monitor's do not."""
    told.alert("broken", "watch", "GyreDriftShift")
    told.alert("broken", "watch", "GyrePerformanceLoss")
    told.alert("broken", "other", "GyreDriftShift")
    wait(lambda: told.told("tickets", "broken"))
    time.sleep(3)
    assert told.told("tickets", "broken") == [{"GyreDriftShift"}]
    assert {a["labels"]["monitor"] for to, body in told.notified if to == "tickets" for a in body["alerts"]
            if a["labels"]["namespace"] == "broken"} == {"other"}  # fmt: skip
