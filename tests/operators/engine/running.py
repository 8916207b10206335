"""An engine that runs over an API server in memory, and what a test asks of it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from gyre_crds.v1alpha1 import TrainingJob
from gyre_operators.engine.controller import Controller
from gyre_operators.engine.kinds import EVENT, JOB, gyre
from gyre_operators.engine.metrics import Metrics
from gyre_operators.engine.plan import Key
from gyre_operators.engine.runtime import Runtime
from gyre_operators.settings import Settings
from tests.operators.engine.example import OnceController
from tests.operators.engine.fakes import FakeApi

KIND = gyre(TrainingJob)
KEY = Key("default", "first")


class Running:
    """A running engine and what a test asks of it."""

    def __init__(self, api: FakeApi, runtime: Runtime, metrics: Metrics) -> None:
        self.api = api
        self.runtime = runtime
        self.metrics = metrics

    def subject(self) -> dict[str, Any]:
        """The TrainingJob on the server."""
        return self.api.objects[KIND.plural, KEY]

    def ready(self) -> dict[str, Any]:
        """Its Ready condition."""
        conditions = self.subject().get("status", {}).get("conditions", [])
        return next((c for c in conditions if c["type"] == "Ready"), {})

    def events(self) -> list[str]:
        """The reasons of all Events, in order."""
        return [b["reason"] for (plural, _), b in self.api.objects.items() if plural == EVENT.plural]

    def jobs(self) -> list[str]:
        """The names of all Jobs."""
        return [key.name for plural, key in self.api.objects if plural == JOB.plural]

    def count(self, name: str, **labels: str) -> float:
        """A metric's value."""
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


@asynccontextmanager
async def running(
    api: FakeApi,
    controller: Controller[Any] | None = None,
    *,
    identity: str = "one",
    leader_election: bool = False,
    freeze: bool = False,
) -> AsyncIterator[Running]:
    """Run the engine; Gyre's own kinds are listed twice a minute instead of watched by kopf."""
    loop = asyncio.get_running_loop()
    metrics = Metrics()
    client: Any = api
    runtime = Runtime(
        settings=Settings(leader_election=leader_election, namespace="gyre-system", freeze=freeze),
        client=client,
        metrics=metrics,
        clock=lambda: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=loop.time()),
        controllers=[controller or OnceController()],
        kinds=[TrainingJob],
        identity=identity,
        sweep=30.0,
    )
    await runtime.start()
    try:
        yield Running(api, runtime, metrics)
    finally:
        await runtime.stop()


def refuse(verb: str, error: Exception, *, plural: str) -> Callable[[str, str, str], Exception | None]:
    """A server's answer to one verb on one resource."""
    return lambda asked, kind, _name: error if (asked, kind) == (verb, plural) else None


def nothing(_verb: str, _plural: str, _name: str) -> None:
    """No refusal any more."""
    return
