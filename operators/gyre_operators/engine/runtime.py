"""Puts the engine together: streams, controllers, leadership, health, and an orderly end."""

import asyncio
import contextlib
import logging
from collections.abc import Coroutine, Sequence
from typing import Any

from gyre_crds.base import Resource
from gyre_operators.engine.client import Client
from gyre_operators.engine.clock import Clock
from gyre_operators.engine.controller import Controller
from gyre_operators.engine.health import Contact, Health, blind, ended, frozen, measure_lag
from gyre_operators.engine.kinds import gyre
from gyre_operators.engine.lease import Elector, Leadership
from gyre_operators.engine.metrics import Metrics
from gyre_operators.engine.recorder import Recorder
from gyre_operators.engine.reflector import Reflector
from gyre_operators.engine.runner import Runner
from gyre_operators.engine.store import Store, Stores
from gyre_operators.engine.sweep import Sweeper
from gyre_operators.engine.watch import Watch, by_itself, own
from gyre_operators.settings import Settings

log = logging.getLogger(__name__)

_SILENCE = 300.0
_BLIND = 180.0
_DRAIN = 20.0
_GOODBYE = 3.0


class Runtime:
    """The engine of one process. Build it on the loop that runs it."""

    def __init__(
        self,
        *,
        settings: Settings,
        client: Client,
        metrics: Metrics,
        clock: Clock,
        controllers: Sequence[Controller[Any]],
        kinds: Sequence[type[Resource]],
        identity: str,
        sweep: float = 60.0,
    ) -> None:
        """`kinds` are Gyre's own; `identity` tells replicas apart; `sweep` is in seconds."""
        self.stores = Stores()
        self.leadership = Leadership()
        self.health = Health(metrics.registry)
        self.health.ready["start"] = lambda: "waits for the API server to know Gyre's kinds"
        self._metrics = metrics
        self._settings = settings
        self._recorder = Recorder(client, metrics, clock)
        self._elector = Elector(
            client,
            self.leadership,
            metrics,
            clock,
            namespace=settings.namespace,
            name=f"{settings.installation}-operator",
            identity=identity,
        )
        self._client = client
        self.own_stores: list[Store[Any]] = [self.stores.open(own(kind, by_itself)) for kind in kinds]
        self.runners = [self._runner(controller, clock) for controller in controllers]
        self._contacts: list[Sweeper | Reflector] = self._streams(controllers, sweep)
        self._forever: list[asyncio.Task[None]] = []
        self._workers: list[asyncio.Task[None]] = []
        self._report_gauges()

    def _runner(self, controller: Controller[Any], clock: Clock) -> Runner:
        return Runner(
            controller,
            client=self._client,
            stores=self.stores,
            metrics=self._metrics,
            recorder=self._recorder,
            leadership=self.leadership,
            clock=clock,
            freeze=self._settings.freeze,
        )

    def _streams(self, controllers: Sequence[Controller[Any]], every: float) -> list[Sweeper | Reflector]:
        found: list[Sweeper | Reflector] = [
            Sweeper(self._client, store, self._metrics, namespace=namespace, every=every)
            for store in self.own_stores
            for namespace in self._settings.namespaces or ("",)
        ]
        owned = {store.source for store in self.own_stores}
        children = {
            watch.source: watch
            for controller in controllers
            for watch in controller.children
            if watch.source not in owned
        }
        for watch in children.values():
            found.extend(self._reflectors(watch))
        return found

    def _reflectors(self, watch: Watch[Any]) -> list[Reflector]:
        scopes = self._settings.namespaces if watch.kind.namespaced else ()
        return [
            Reflector(
                self._client,
                self.stores.open(watch),
                self._metrics,
                namespace=namespace,
                optional=watch.optional,
            )
            for namespace in scopes or ("",)
        ]

    def _report_gauges(self) -> None:
        self._metrics.observe(
            "gyre_cache_objects",
            "Objects held in memory",
            lambda: [(store.source.kind.plural, float(len(store))) for store in self.stores],
        )
        self._metrics.observe(
            "gyre_watch_last_event_age_seconds",
            "Seconds since the API server was last heard of a kind, bookmarks included",
            self._ages,
        )

    def _ages(self) -> list[tuple[str, float]]:
        now = asyncio.get_running_loop().time()
        oldest: dict[str, float] = {}
        for contact in self._contacts:
            age = now - contact.contact
            oldest[contact.name] = max(age, oldest.get(contact.name, 0.0))
        return list(oldest.items())

    async def start(self) -> None:
        """Fill the stores, take part in the election, work whenever leading."""
        for contact in self._contacts:
            self._spawn(contact.run(), f"{type(contact).__name__} {contact.name}")
        self._spawn(self._recorder.run(), "event recorder")
        self._spawn(measure_lag(self._metrics), "loop lag")
        self.leadership.on_takeover(self._wake_all)
        if self._settings.leader_election:
            self._spawn(self._elector.run(), "leader election")
        else:
            self.leadership.keep(float("inf"))
        for runner in self.runners:
            self._spawn(runner.resync(), f"resync {runner.controller.name}")
            for number in range(runner.controller.workers):
                worker = asyncio.create_task(runner.work(), name=f"{runner.controller.name} worker {number}")
                self._workers.append(worker)
        contacts: list[Contact] = list(self._contacts)
        del self.health.ready["start"]
        self.health.live["streams"] = frozen(contacts, _SILENCE)
        self.health.live["tasks"] = ended([*self._forever, *self._workers])
        self.health.ready["stores"] = self._unsynced
        self.health.ready["lease"] = lambda: self._elector.trouble
        self.health.ready["contact"] = blind(contacts, _BLIND)

    async def stop(self) -> None:
        """Finish what is at work, hand the Lease over, end."""
        drained = await asyncio.gather(*(r.queue.close(drain=_DRAIN) for r in self.runners))
        if not all(drained):
            log.warning("stopped with work at hand", extra={"after_seconds": _DRAIN})
        await _cancel([*self._workers])
        await self._elector.release()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GOODBYE):
                await self._recorder.flush()
        await _cancel(self._forever)
        await self.health.close()

    def _wake_all(self) -> None:
        """After each takeover look at everything: the one before may have stopped half-way."""
        for runner in self.runners:
            runner.wake_all()

    def _unsynced(self) -> str:
        waiting = sorted({s.source.kind.plural for s in self.stores if not s.synced})
        return f"not listed yet: {', '.join(waiting)}" if waiting else ""

    def _spawn(self, work: Coroutine[Any, Any, Any], name: str) -> None:
        self._forever.append(asyncio.create_task(work, name=name))


def kinds_of(controllers: Sequence[type[Controller[Any]]]) -> list[type[Resource]]:
    """Gyre's kinds that these controllers reconcile or look at, each once."""
    found: dict[str, type[Resource]] = {}
    for controller in controllers:
        if controller.kind is not None:
            found[gyre(controller.kind).plural] = controller.kind
        for watch in controller.children:
            if issubclass(watch.type, Resource):
                found[watch.kind.plural] = watch.type
    return list(found.values())


async def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
