"""Adoption: what a person registers in MLflow becomes a ModelVersion, once; what is gone is tagged."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from gyre_crds.v1alpha1.version import ModelVersion
from gyre_operators.engine.controller import Services
from gyre_operators.engine.kinds import gyre
from gyre_operators.engine.objects import Objects
from gyre_operators.engine.plan import Key, ref
from gyre_operators.engine.testing import World
from gyre_operators.registry_client.types import DELETED_AT, ID, INSTALLATION, OBJECT, Registration
from gyre_operators.settings import Settings, StoreSettings
from gyre_operators.version.adopter import AdoptionController
from tests.operators.mlflow.memory import MemoryRegistry
from tests.operators.version.cluster import NAMESPACE, REGISTERED, model, version

KEY = Key(NAMESPACE, "census")


class Setting:
    """The adoption controller, a registry in memory, and a clock."""

    def __init__(self, root: Path, http: aiohttp.ClientSession, *objects: dict[str, Any], freeze: bool = False) -> None:
        self.now = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
        self.registry = MemoryRegistry()
        settings = Settings(namespace="gyre-system", store=StoreSettings(uri=f"file://{root}"), freeze=freeze)
        controller = AdoptionController(
            Services(
                settings=settings,
                clock=lambda: self.now,
                api=None,  # type: ignore[arg-type]  # it reads nothing beyond its watches
                http=http,
                objects=Objects(settings.store),
                metrics=CollectorRegistry(),
            )
        )
        controller._mlflow = controller._polls._mlflow = self.registry  # type: ignore[assignment]
        self.world = World(controller, *objects)

    async def by_hand(self) -> None:
        """A person registers a version."""
        made = await self.registry.register(Registration(REGISTERED, "s3://elsewhere", {ID: "x"}))
        await self.registry.delete_tag(REGISTERED, made.number, ID)

    async def settle(self, after: float = 60) -> list[str]:
        """Let time pass and reconcile to rest; the versions that exist."""
        self.now += timedelta(seconds=after)
        await self.world.settle(KEY, self.now)
        return [body["metadata"]["name"] for body in self.world.all(gyre(ModelVersion))]


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """A client session that is never used."""
    async with aiohttp.ClientSession() as session:
        yield session


async def test_hand_registered_version_is_adopted_once(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    """It appears with the next poll, and deleting it after adoption does not bring it back."""
    setting = Setting(tmp_path, http, model())
    assert await setting.settle() == []
    await setting.by_hand()
    assert await setting.settle(30) == []
    assert await setting.settle(31) == ["census-mlflow-1"]
    assert await setting.settle(61) == ["census-mlflow-1"]
    await setting.registry.set_tag(REGISTERED, "1", OBJECT, "census-mlflow-1")
    body = setting.world.all(gyre(ModelVersion))[0]
    setting.world.remove(ref(body))
    assert await setting.settle(61) == []


@pytest.mark.parametrize("spec", [{"adopt": False}, {"paused": True}], ids=["adopt is off", "the Model is paused"])
async def test_left_alone(spec: dict[str, Any], tmp_path: Path, http: aiohttp.ClientSession) -> None:
    """Nothing is adopted where the Model says no."""
    home = model()
    home["spec"] |= spec
    setting = Setting(tmp_path, http, home)
    await setting.by_hand()
    assert await setting.settle() == []


async def test_freeze(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    """Nothing is adopted while the platform is frozen."""
    setting = Setting(tmp_path, http, model(), freeze=True)
    await setting.by_hand()
    assert await setting.settle() == []


async def test_what_is_gone_is_tagged(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    """An entry of ours without its ModelVersion is tagged with the time; one with it is not."""
    setting = Setting(tmp_path, http, model(), version())
    for key, name in (("a", "census-abababababab"), ("b", "census-gone")):
        tags = {ID: key, OBJECT: name, INSTALLATION: "gyre"}
        await setting.registry.register(Registration(REGISTERED, "s3://gyre/x", tags))
    await setting.settle()
    tags_of = {number: each.tags for number, each in setting.registry.models[REGISTERED].items()}
    assert DELETED_AT not in tags_of["1"]
    assert tags_of["2"][DELETED_AT] == "2026-11-20T10:01:00Z"


async def test_away(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    """MLflow being away changes nothing, and the next poll comes a minute later."""
    setting = Setting(tmp_path, http, model())
    await setting.by_hand()
    setting.registry.away = True
    assert await setting.settle() == []
    plan = await setting.world.plan(KEY, setting.now)
    assert plan is not None
    assert plan.requeue == timedelta(seconds=60)
    setting.registry.away = False
    assert await setting.settle() == ["census-mlflow-1"]


async def test_version_that_does_not_parse_is_not_taken_for_gone(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    """Its entry in MLflow gets no mark of a deleted one: it got it, and nobody took it away again."""
    setting = Setting(tmp_path, http, model(), version())
    tags = {ID: "x", INSTALLATION: "gyre", OBJECT: version()["metadata"]["name"]}
    await setting.registry.register(Registration(REGISTERED, "s3://gyre/1", tags))
    await setting.settle()
    setting.world.put(version(digest="sha256:none"))
    await setting.settle()
    assert DELETED_AT not in setting.registry.models[REGISTERED]["1"].tags
