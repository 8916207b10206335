"""A Model that trains by the calendar."""

from datetime import timedelta
from typing import Any

import pytest

from tests.operators.builders import (
    NOW,
    after,
    key,
    model,
    service,
    text,
    version,
)
from tests.operators.model.conftest import CHAMPION, Scene, serves


def scheduled(cron: str, zone: str = "UTC", **decision: Any) -> dict[str, Any]:
    """A Model that trains by the clock."""
    trigger = {"type": "Schedule", "schedule": {"cron": cron, "timeZone": zone}}
    template = {"image": "i", "command": ["c"]}
    return {"training": {"template": template, "triggers": [trigger], "decision": decision}}


async def test_schedule_trains_once_for_each_time_in_its_zone(scene: Scene) -> None:
    """13:30 in Berlin is 12:30 UTC in winter; times that were missed count once, and never before the answer."""
    status = {**CHAMPION, "lastSchedule": text(NOW)}
    scene.put(model(scheduled("30 13 * * *", "Europe/Berlin", cooldown="1m"), status))
    scene.put(service(status=serves("v1")), version("v1", age=9))
    await scene.rest(after(29 * 60))
    assert scene.jobs() == []
    plan = await scene.town.plan(key("census"), after(29 * 60))
    assert plan is not None
    assert plan.requeue == timedelta(minutes=1)
    await scene.rest(after(30 * 60))
    assert len(scene.jobs()) == 1
    scene.finish(scene.jobs()[0])
    await scene.rest(after(3 * 86400))
    assert len(scene.jobs()) == 2


@pytest.mark.parametrize(
    ("cron", "zone", "sentence"),
    [
        pytest.param("61 * * * *", "UTC", "cannot be read (Bad minute)", id="a minute that does not exist"),
        pytest.param("* * * * * *", "UTC", "has not five fields", id="six fields"),
        pytest.param("0 3 * * *", "Europe/Berln", "no time zone", id="a zone that does not exist"),
    ],
)
async def test_malformed_schedule_is_one_sentence_on_ready(scene: Scene, cron: str, zone: str, sentence: str) -> None:
    """Field and cure are named; the champion serves on."""
    scene.put(model(scheduled(cron, zone), CHAMPION), service(status=serves("v1")), version("v1", age=9))
    await scene.rest()
    assert scene.condition["reason"] == "InvalidSchedule"
    assert scene.condition["message"].startswith("spec.training.triggers[0].schedule.")
    assert sentence in scene.condition["message"]
    assert scene.status["champion"]["name"] == "v1"


async def test_schedule_never_passes_the_budget(scene: Scene) -> None:
    """A schedule skips the benefit rule, not the budget."""
    budget: dict[str, Any] = {"budget": {"runs": 1, "per": "30d"}, "cooldown": "1m"}
    status = {**CHAMPION, "lastSchedule": text(NOW), "trainedAt": [text(NOW)]}
    scene.put(model(scheduled("0 * * * *", **budget), status), service(status=serves("v1")), version("v1", age=9))
    await scene.rest(after(3601))
    assert scene.jobs() == []
    assert scene.newest()["reason"] == "BudgetSpent"


DRIFT: dict[str, Any] = {
    "training": {
        "template": {"image": "i", "command": ["c"]},
        "triggers": [{"type": "Drift"}],
        "decision": {"costPerRun": 1, "benefitPerPoint": 2, "minLabels": 500},
    }
}
