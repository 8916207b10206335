"""What people and crashes do to a version's entry in MLflow, and what is said and done about it."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from gyre_operators.registry_client.types import ID, RegisteredVersion
from tests.operators.version.cluster import KEY, REGISTERED, VERIFIED, Cluster, model, version
from tests.operators.version.conftest import Make
from tests.operators.version.test_life import ready

AGAIN = f"Version 2 of {REGISTERED}. Version 1 was deleted in MLflow, so the same bytes were registered again."


def _entries(cluster: Cluster) -> dict[str, RegisteredVersion]:
    return cluster.registry.models[REGISTERED]


def _delete(cluster: Cluster) -> None:
    del _entries(cluster)["1"]


def _delete_and_take_the_number(cluster: Cluster) -> None:
    """The registered model is deleted, and somebody's own model gets its first number."""
    _entries(cluster)["1"] = RegisteredVersion(REGISTERED, "1", "s3://elsewhere/1")


def _remove_the_key(cluster: Cluster) -> None:
    found = _entries(cluster)["1"]
    _entries(cluster)["1"] = replace(found, tags={key: value for key, value in found.tags.items() if key != ID})


def _rename_the_installation(cluster: Cluster) -> None:
    sources = cluster.controller._sources
    cluster.controller._sources = replace(sources, site=replace(sources.site, installation="other"))


def _delete_and_register_the_same(cluster: Cluster) -> None:
    found = _entries(cluster).pop("1")
    cluster.registry.highest[REGISTERED] = 2
    _entries(cluster)["2"] = replace(found, number="2", aliases=())


@dataclass(frozen=True)
class Case:
    """What is done by hand, and what stands afterwards."""

    meddle: Callable[[Cluster], None]
    number: str
    says: str
    told: tuple[str, ...]
    left: tuple[str, ...]


CASES = {
    "an entry that was deleted is registered again, and that is said": Case(_delete, "2", AGAIN, (AGAIN,), ("2",)),
    "a number that belongs to somebody else now is not the version's": Case(
        _delete_and_take_the_number, "2", AGAIN, (AGAIN,), ("1", "2")
    ),
    "an entry whose key was removed is known by its bytes and gets its key back": Case(
        _remove_the_key, "1", f"Version 1 of {REGISTERED}.", (), ("1",)
    ),
    "an entry of the installation's former name gets the key of the new one": Case(
        _rename_the_installation, "1", f"Version 1 of {REGISTERED}.", (), ("1",)
    ),
    "an entry that carries the key under another number is taken": Case(
        _delete_and_register_the_same, "2", AGAIN, (AGAIN,), ("2",)
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_what_people_do_to_an_entry(make: Make, case: Case) -> None:
    """The champion stays Ready; what was lost is put back, with one event and one sentence that stays."""
    cluster = make(model(), version())
    await ready(cluster)
    cluster.promote()
    await cluster.settle()
    cluster.answer_all(verify=VERIFIED)
    await cluster.settle()
    cluster.world.events.clear()
    case.meddle(cluster)
    for _ in range(3):
        await cluster.settle()
        assert cluster.ready()[:2] == ("True", "Ready")
    status = cluster.status()
    assert status["registry"]["version"] == case.number
    assert cluster.condition("Registered")["message"] == case.says
    assert tuple(event.message for event in cluster.world.events) == case.told
    assert tuple(_entries(cluster)) == case.left
    entry = _entries(cluster)[case.number]
    assert (entry.aliases, entry.tags["gyre.dev/model-version"]) == (("champion",), version()["metadata"]["name"])


async def test_deleted_entry_waits_for_mlflow(make: Make) -> None:
    """Deleted while MLflow goes away: the version stays Ready and says that it is registered again once it can be."""
    cluster = make(model(), version())
    await ready(cluster)
    cluster.model_says(challenger={"name": version()["metadata"]["name"]})
    await cluster.settle()
    _delete(cluster)
    cluster.now = cluster.now.replace(hour=11)
    await cluster.world.round(KEY, cluster.now)
    cluster.registry.away = True
    await cluster.settle()
    assert cluster.ready()[:2] == ("True", "Ready")
    cluster.registry.away = False
    await cluster.settle(60)
    assert cluster.condition("Registered")["message"] == AGAIN


async def test_doubles_of_a_killed_registration_are_removed(make: Make) -> None:
    """Two registrations at once, and the one that would have removed the double was killed: the lowest stays.

    The look took the lowest and left the double in MLflow for ever.
    """
    cluster = make(model(), version())
    await cluster.settle()
    cluster.answer_all(verify=VERIFIED)
    for _ in range(2):
        await cluster.world.round(KEY, cluster.now)
    assert "registry" not in cluster.status()
    found = _entries(cluster)["1"]
    _entries(cluster)["2"] = replace(found, number="2")
    await cluster.settle()
    assert tuple(_entries(cluster)) == ("1",)
    assert cluster.status()["registry"]["version"] == "1"
