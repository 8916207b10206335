"""Objects, a world with several controllers, and stand-ins for what lies outside of Kubernetes."""

import asyncio
import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

from prometheus_client import CollectorRegistry

from gyre_crds.base import API_VERSION
from gyre_crds.contracts.routing import BackendState, Comparison, Counter, RouterCounters, RouterState, RoutingTable
from gyre_operators.engine.controller import Controller, Services
from gyre_operators.engine.guard import UnavailableError
from gyre_operators.engine.kinds import Kind, gyre
from gyre_operators.engine.plan import Key, Manifest
from gyre_operators.engine.testing import World
from gyre_operators.engine.watch import by_itself, own
from gyre_operators.inference.observed import Fault, Router
from gyre_operators.settings import Settings

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
NAMESPACE = "default"
STORE = "s3://gyre/default"


def key(name: str) -> Key:
    """The key of an object in the tests' namespace."""
    return Key(NAMESPACE, name)


def after(seconds: float) -> datetime:
    """So long after NOW."""
    return NOW + timedelta(seconds=seconds)


def text(instant: datetime) -> str:
    """An instant as Kubernetes writes it."""
    return instant.strftime("%Y-%m-%dT%H:%M:%SZ")


def body(
    kind: str, name: str, spec: Mapping[str, Any], status: Mapping[str, Any] | None = None, **meta: Any
) -> dict[str, Any]:
    """Any of Gyre's objects."""
    made: dict[str, Any] = {
        "apiVersion": API_VERSION,
        "kind": kind,
        "metadata": {"name": name, "namespace": NAMESPACE, "creationTimestamp": text(NOW - timedelta(days=1)), **meta},
        "spec": dict(spec),
    }
    if status is not None:
        made["status"] = dict(status)
    return made


def digest_of(name: str) -> str:
    """A digest, the same for the same name."""
    return f"sha256:{hashlib.sha256(name.encode()).hexdigest()}"


READY = [{"type": "Ready", "status": "True", "reason": "Ready"}]


def condition(kind: str, status: str, reason: str, message: str = "") -> dict[str, Any]:
    """One condition."""
    return {"type": kind, "status": status, "reason": reason, "message": message}


def stalled(reason: str, message: str) -> list[dict[str, Any]]:
    """The conditions of an object that failed."""
    return [condition("Ready", "False", reason, message), condition("Stalled", "True", reason, message)]


def version(
    name: str, *, model: Any = "census", age: int = 0, status: Mapping[str, Any] | None = None, **spec: Any
) -> dict[str, Any]:
    """A ModelVersion that passed its gates, trained `age` hours before NOW."""
    trained = text(NOW - timedelta(hours=age))
    return body(
        "ModelVersion",
        name,
        {
            "model": model,
            "source": {"uri": f"{STORE}/sha256/{name}"},
            "digest": digest_of(name),
            "lineage": {"trainedAt": trained},
            **spec,
        },
        {"conditions": READY} if status is None else status,
        creationTimestamp=trained,
    )


def model(
    spec: Mapping[str, Any] | None = None,
    status: Mapping[str, Any] | None = None,
    *,
    annotations: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The Model `census`, proven by the service of the same name."""
    return body(
        "Model",
        "census",
        {
            "contract": {"key": "id", "label": {"column": "employed"}},
            "training": {
                "template": {"image": "trainer:1", "command": ["python", "train.py"]},
                "triggers": [{"type": "Manual"}, {"type": "Drift"}],
            },
            "promotion": {"provenBy": "census"},
            **(spec or {}),
        },
        status,
        uid="uid-model",
        annotations=dict(annotations or {}),
    )


def service(spec: Mapping[str, Any] | None = None, status: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The InferenceService `census`."""
    return body("InferenceService", "census", {"model": {"name": "census"}, **(spec or {})}, status, uid="uid-service")


def monitor(spec: Mapping[str, Any] | None = None, status: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The DriftMonitor `census`, a window a minute."""
    return body(
        "DriftMonitor",
        "census",
        {"target": {"inferenceService": "census"}, "window": {"every": "1m"}, **(spec or {})},
        status,
        uid="uid-monitor",
    )


def report(
    name: str,
    verdict: str = "Healthy",
    *,
    end: datetime = NOW,
    performance: Mapping[str, Any] | None = None,
    by: str = "monitor",
    made: datetime | None = None,
    **spec: Any,
) -> dict[str, Any]:
    """A DriftReport on the minute that ends at `end`, made right after it unless said otherwise."""
    about = {"monitor": "census"} if by == "monitor" else {"inferenceService": "census"}
    owners = [
        {"apiVersion": API_VERSION, "kind": "DriftMonitor", "name": "census", "uid": "uid-monitor", "controller": True}
    ]
    return body(
        "DriftReport",
        name,
        {
            **about,
            "version": "v1",
            "window": {"start": text(end - timedelta(minutes=1)), "end": text(end), "rows": 1000},
            "verdict": verdict,
            "level": "None" if verdict in ("Healthy", "InsufficientData") else "P1",
            "reason": f"{verdict} was found.",
            "mayAct": True,
            **({"performance": dict(performance)} if performance else {}),
            **spec,
        },
        ownerReferences=owners if by == "monitor" else [],
        creationTimestamp=text(made or end + timedelta(seconds=2)),
    )


def loss(gap: float, labels: int, *, half: float = 0.01, since: datetime | None = None) -> dict[str, Any]:
    """A realized loss of accuracy against a reference of 0.8."""
    found: dict[str, Any] = {
        "metric": "accuracy",
        "reference": 0.8,
        "realized": round(0.8 - gap, 6),
        "lower": round(gap - half, 6),
        "upper": round(gap + half, 6),
        "labels": labels,
    }
    return found | ({"since": text(since)} if since else {})


class FakeApi:
    """Reads that go to the server itself."""

    def __init__(self) -> None:
        self.world: World | None = None

    async def get(self, kind: Kind, wanted: Key) -> Manifest | None:
        """What the world holds."""
        return self.world.get(kind, wanted) if self.world is not None else None

    async def heads(self, kind: Kind, namespace: str) -> tuple[Manifest, ...]:
        """What the world holds."""
        held = self.world.all(kind) if self.world is not None else []
        return tuple({"metadata": body["metadata"]} for body in held if body["metadata"]["namespace"] == namespace)


class Documents:
    """The object store."""

    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}
        self.away = False

    def base(self, namespace: str) -> str:
        """Root of a namespace."""
        return f"s3://gyre/{namespace}"

    async def read(self, uri: str) -> bytes | None:
        """What was put there."""
        if self.away:
            raise UnavailableError("object store", "connection refused")
        return self.held.get(uri)

    async def under(self, uri: str, *, limit: int = 1000) -> list[str]:
        """What lies below."""
        if self.away:
            raise UnavailableError("object store", "connection refused")
        return sorted(name for name in self.held if name.startswith(uri))[:limit]

    async def delete(self, uri: str) -> None:
        """Remove it."""
        self.held.pop(uri, None)


def services(
    settings: Settings | None = None, documents: Documents | None = None, api: FakeApi | None = None
) -> Services:
    """What controllers are built from, without any network."""
    made = SimpleNamespace(
        settings=settings or Settings(),
        clock=lambda: NOW,
        api=api or FakeApi(),
        http=None,
        objects=documents or Documents(),
        metrics=CollectorRegistry(),
    )
    return cast("Services", made)


class Fleet:
    """Routers and pods as the inference controller hears of them."""

    def __init__(self, *, count: int = 1) -> None:
        self.names = [f"router-{number}" for number in range(count)]
        self.epochs = dict.fromkeys(self.names, "e1")
        self.table: RoutingTable | None = None
        self.counts: dict[str, dict[str, Counter]] = {name: {} for name in self.names}
        self.pairs: dict[str, dict[tuple[str, str], dict[str, int]]] = {name: {} for name in self.names}
        self.in_flight: dict[str, int] = {}
        self.healthy: set[str] | None = None
        """Revisions with backends; None means all."""
        self.silent: set[str] = set()
        self.callers: dict[str, int] = {}
        self.tls: str | None = ""
        self.reviews: str | None = ""
        """Tokens known by service."""
        self.said: dict[str, Fault] = {}
        self.asked_counters = 0

    def answered(
        self,
        revision: str,
        requests: int,
        errors: int = 0,
        *,
        router: str = "router-0",
        directed: bool = False,
        keys: tuple[int, int] = (0, 0),
    ) -> None:
        """So many more requests of a revision through one router, `directed` ones past the split.

        `keys` are the sticky keys that they brought, and how many of these failed.
        """
        before = self.counts[router].get(revision, Counter())
        self.counts[router][revision] = Counter(
            requests=before.requests + requests,
            errors=before.errors + errors,
            directed=before.directed + directed * requests,
            directed_errors=before.directed_errors + directed * errors,
            keys=before.keys + keys[0],
            failed_keys=before.failed_keys + keys[1],
        )

    def compared(self, primary: str, shadow: str, *, router: str = "router-0", **more: int) -> None:
        """So many more copies of a pair by what became of them, through one router."""
        pair = self.pairs[router].setdefault((primary, shadow), {})
        for name, count in more.items():
            pair[name] = pair.get(name, 0) + count

    def restart(self, router: str) -> None:
        """A new epoch, counting from nothing."""
        self.epochs[router] += "+"
        self.counts[router] = {}
        self.pairs[router] = {}

    async def routers(self, _pods: Iterable[Any], *, counters: bool) -> tuple[Router, ...]:
        """See `Asked.routers`; the pods' list is not looked at."""
        await asyncio.sleep(0)
        self.asked_counters += counters
        return tuple(self._router(name, asked=counters) for name in self.names)

    async def readiness(self, pod: Any) -> Fault | None:
        """See `Asked.readiness`."""
        await asyncio.sleep(0)
        return self.said.get(pod.metadata.name)

    def _router(self, name: str, *, asked: bool) -> Router:
        if not asked or name in self.silent or self.table is None:
            return Router(pod=name)
        states = {
            route.name: [
                BackendState(
                    revision=revision,
                    endpoints=1,
                    healthy=int(self.healthy is None or revision in self.healthy),
                    in_flight=self.in_flight.get(revision, 0),
                )
                # A revision that left the table stands there until it is drained.
                for revision in sorted({one.revision for one in route.revisions} | set(self.in_flight))
            ]
            for route in self.table.services
        }
        epoch, generation = self.epochs[name], self.table.generation
        pairs = [Comparison(primary=a, shadow=b, **counts) for (a, b), counts in self.pairs[name].items()]
        return Router(
            pod=name,
            state=RouterState(
                pod=name,
                epoch=epoch,
                generation=generation,
                services=states,
                callers=dict(self.callers),
                tls=self.tls,
                reviews=self.reviews,
            ),
            counters=RouterCounters(
                pod=name,
                epoch=epoch,
                generation=generation,
                services={"census": dict(self.counts[name])},
                comparisons={"census": pairs},
            ),
        )


class Town(World):
    """A world in which several controllers work, one turn at a time."""

    def __init__(self, *controllers: Controller[Any]) -> None:
        super().__init__(controllers[0])
        self.controllers = {controller.name: controller for controller in controllers}
        for controller in controllers[1:]:
            opened = [self.stores.open(watch) for watch in controller.children]
            if controller.kind is not None:
                opened.append(self.stores.open(own(controller.kind, by_itself)))
            self._stores.extend(store for store in opened if store not in self._stores)

    async def turn(self, name: str, wanted: Key, now: datetime) -> int:
        """Let one controller settle one key."""
        self.controller = self.controllers[name]
        return await self.settle(wanted, now)

    async def once(self, name: str, wanted: Key, now: datetime) -> bool:
        """One reconcile of one controller."""
        self.controller = self.controllers[name]
        return await self.round(wanted, now)

    def object(self, resource: Any, name: str) -> dict[str, Any]:
        """One of Gyre's objects; it must be there."""
        found = self.get(gyre(resource), key(name))
        if found is None:
            raise AssertionError(f"there is no {resource.KIND} {name}")
        return found
