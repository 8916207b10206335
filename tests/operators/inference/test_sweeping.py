"""Old payload parts go, once an hour, and nothing else does."""

from datetime import timedelta

from gyre_operators.inference.controller import InferenceController
from gyre_operators.inference.sweeping import expired
from tests.operators.builders import NOW, Documents, Fleet, Town, key, model, service, services, version

PAYLOADS = "s3://gyre/default/payloads/census"
FEEDBACK = "s3://gyre/default/feedback/census"


def town(documents: Documents, spec: dict[str, object]) -> Town:
    """A service in a town of its own."""
    controller = InferenceController(services(documents=documents))
    controller.asked = Fleet()
    made = Town(controller)
    for body in (model(status={"champion": {"name": "v1"}}), version("v1"), service(spec)):
        made.put(body)
    return made


async def test_parts_beyond_retention_go_and_younger_ones_stay() -> None:
    """Retention counts in hours' folders; payloads and feedback go alike; other services' parts stay."""
    documents = Documents()
    old, young = (NOW - timedelta(days=8)).strftime("%Y-%m-%d-%H"), NOW.strftime("%Y-%m-%d-%H")
    kept = [f"{PAYLOADS}/{young}/a.parquet", f"{PAYLOADS}2/{old}/a.parquet", f"{PAYLOADS}/notes/a.txt"]
    for uri in [*kept, f"{PAYLOADS}/{old}/a.parquet", f"{FEEDBACK}/{old}/a.parquet"]:
        documents.held[uri] = b""
    made = town(documents, {"payloads": {"retention": "7d"}})
    await made.once("inference", key("census"), NOW)
    assert sorted(documents.held) == sorted(kept)


async def test_sweeping_happens_once_an_hour_and_only_where_something_is_logged() -> None:
    """At rest the store is left alone until the next hour."""
    made = town(Documents(), {"payloads": {}})
    await made.once("inference", key("census"), NOW)
    for seconds, sweeps in ((0, 0), (1800, 0), (3600, 1)):
        plan = await made.plan(key("census"), NOW + timedelta(seconds=seconds))
        assert plan is not None
        assert len(plan.effects) == sweeps
    unlogged = await town(Documents(), {}).plan(key("census"), NOW)
    assert unlogged is not None
    assert unlogged.effects == ()


async def test_store_that_is_away_holds_nothing_up() -> None:
    """The round goes on, and the next hour sweeps."""
    documents = Documents()
    documents.away = True
    made = town(documents, {"payloads": {}})
    assert await made.once("inference", key("census"), NOW)


def test_only_folders_of_hours_are_ours() -> None:
    """A file that people put beside the parts is not a part."""
    found = expired([f"{PAYLOADS}/2020-01-01-00/x", f"{PAYLOADS}/0/x"], f"{PAYLOADS}/", "2026-01-01-00")
    assert found == [f"{PAYLOADS}/2020-01-01-00/x"]
