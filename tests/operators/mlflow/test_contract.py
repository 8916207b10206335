"""The registry's contract, on a real MLflow and on the one in memory that other tests use."""

import uuid

import pytest

from gyre_operators.registry_client.mlflow import Mlflow
from gyre_operators.registry_client.types import DIGEST, ID, OBJECT, Registration
from tests.operators.mlflow.memory import MemoryRegistry

Registry = Mlflow | MemoryRegistry


@pytest.fixture
def name() -> str:
    """A registered model of this test alone."""
    return f"team.model-{uuid.uuid4().hex[:8]}"


def registration(name: str, key: str = "key-1") -> Registration:
    """A version to register."""
    return Registration(name, f"s3://gyre/team/sha256/{key}", {ID: key, DIGEST: f"sha256:{key}"}, run_id="0" * 32)


async def test_nothing_is_there_at_first(registry: Registry, name: str) -> None:
    """Asking for what does not exist answers with nothing, never with an error."""
    assert await registry.versions(name) == []
    assert await registry.find(name, "key-1") == []
    assert await registry.aliases(name) == {}
    assert await registry.version(name, "1") is None


async def test_registering_twice_gives_one_version(registry: Registry, name: str) -> None:
    """The same key is the same version; another key is the next number."""
    first = await registry.register(registration(name))
    again = await registry.register(registration(name))
    other = await registry.register(registration(name, "key-2"))
    assert (first.number, again.number, other.number) == ("1", "1", "2")
    found = await registry.versions(name)
    assert [(each.number, each.source, each.run_id) for each in found] == [
        ("1", "s3://gyre/team/sha256/key-1", "0" * 32),
        ("2", "s3://gyre/team/sha256/key-2", "0" * 32),
    ]


async def test_a_number_is_never_used_twice(registry: Registry, name: str) -> None:
    """A deleted version comes back under a new number, and deleting what is gone is fine."""
    await registry.register(registration(name))
    await registry.register(registration(name, "key-2"))
    await registry.delete(name, "1")
    await registry.delete(name, "1")
    again = await registry.register(registration(name))
    assert again.number == "3"


async def test_aliases_move_and_go(registry: Registry, name: str) -> None:
    """An alias is on one version at a time; removing one that is not there is fine."""
    await registry.register(registration(name))
    await registry.register(registration(name, "key-2"))
    await registry.set_alias(name, "champion", "1")
    await registry.set_alias(name, "challenger", "2")
    await registry.set_alias(name, "champion", "2")
    assert await registry.aliases(name) == {"champion": "2", "challenger": "2"}
    first, second = await registry.version(name, "1"), await registry.version(name, "2")
    assert first is not None
    assert second is not None
    assert (first.aliases, second.aliases) == ((), ("challenger", "champion"))
    await registry.delete_alias(name, "challenger")
    await registry.delete_alias(name, "challenger")
    assert await registry.aliases(name) == {"champion": "2"}


async def test_tags_are_set_and_go(registry: Registry, name: str) -> None:
    """A tag is replaced, keeps a long sentence, and can be removed twice."""
    await registry.register(registration(name))
    await registry.set_tag(name, "1", OBJECT, "model-ab")
    await registry.set_tag(name, "1", OBJECT, "x" * 5000)
    found = await registry.version(name, "1")
    assert found is not None
    assert found.tags == {ID: "key-1", DIGEST: "sha256:key-1", OBJECT: "x" * 5000}
    await registry.delete_tag(name, "1", OBJECT)
    await registry.delete_tag(name, "1", OBJECT)
    found = await registry.version(name, "1")
    assert found is not None
    assert OBJECT not in found.tags
