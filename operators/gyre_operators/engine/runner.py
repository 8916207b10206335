"""Runs one controller: changes wake keys, workers observe, plan and execute them."""

import asyncio
import logging
import random
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from gyre_operators.engine.client import Client
from gyre_operators.engine.clock import Clock
from gyre_operators.engine.controller import Controller
from gyre_operators.engine.errors import ApiError
from gyre_operators.engine.executor import Executor
from gyre_operators.engine.guard import UnavailableError
from gyre_operators.engine.kinds import gyre
from gyre_operators.engine.lease import Leadership
from gyre_operators.engine.metrics import Metrics
from gyre_operators.engine.plan import Key, Plan
from gyre_operators.engine.progress import Convergence
from gyre_operators.engine.project import entry_of
from gyre_operators.engine.queue import Priority, QueueClosedError, WorkQueue
from gyre_operators.engine.recorder import Recorder
from gyre_operators.engine.store import Entry, Store, Stores
from gyre_operators.engine.voice import Voice
from gyre_operators.engine.watch import Parents, by_itself, own
from gyre_operators.engine.writer import FencedError, RefusedError, Writer

if TYPE_CHECKING:
    from gyre_operators.engine.report import Refusal

log = logging.getLogger(__name__)

_LONGEST = 120.0
"""Seconds after which a reconcile is given up; adapters have shorter limits of their own."""


class Runner:
    """The queue, the workers and the executor of one controller."""

    def __init__(
        self,
        controller: Controller[Any],
        *,
        client: Client,
        stores: Stores,
        metrics: Metrics,
        recorder: Recorder,
        leadership: Leadership,
        clock: Clock,
        freeze: bool = False,
        resync: float = 600.0,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.controller = controller
        self.queue = WorkQueue(metrics.queue(controller.name), cap=120.0, jitter=jitter)
        metrics.unfinished(controller.name, lambda: self.queue.processing)
        metrics.max_workers.labels(controller.name).set(controller.workers)
        self._client = client
        self._stores = stores
        self._metrics = metrics
        self._timer = metrics.reconcile_time.labels(controller.name)
        self._leadership = leadership
        self._clock = clock
        self._freeze = freeze
        self._resync = resync
        self._jitter = jitter
        self._executor = Executor(Writer(client, stores, controller, metrics, leadership.held))
        self._voice = Voice(controller, self._executor, recorder, clock)
        self._refusals: dict[Key, Refusal] = {}
        self._known: set[Key] = set()
        self._convergence = Convergence(metrics, controller)
        self._own: Store[Any] | None = None
        self._inputs: list[Store[Any]] = []
        self._subscribe()

    # Waking.

    def _subscribe(self) -> None:
        kind = self.controller.kind
        if kind is not None:
            self._own = self._stores.open(own(kind, by_itself))
            self._inputs.append(self._own)
            self._own.subscribe(partial(self._convergence.changed, self._own))
            self._own.subscribe(partial(self._wake, self._own, by_itself))
        for watch in self.controller.children:
            store = self._stores.open(watch)
            self._inputs.append(store)
            store.subscribe(partial(self._wake, store, watch.parents))

    def _wake(
        self,
        store: Store[Any],
        parents: Parents,
        old: Entry[Any] | None,
        new: Entry[Any] | None,
    ) -> None:
        if store is self._own and new is not None and new.key == self._executor.settled:
            return
        keys = {key for entry in (old, new) if entry is not None for key in parents(entry, self._stores)}
        if store.synced and not (store is self._own and _is_asked(old, new)):
            self._known |= keys
            for key in keys:
                self.queue.add_soon(key, self.controller.hold)
        else:
            self.wake(keys, Priority.CHANGE if store.synced else Priority.ROUTINE)

    def wake(self, keys: Iterable[Key], priority: Priority = Priority.ROUTINE) -> None:
        """Have those keys looked at."""
        for key in keys:
            self._known.add(key)
            self.queue.add(key, priority)

    def wake_all(self) -> None:
        """Have every known key looked at: after taking over, or when doubt is cheaper than loss."""
        self.wake(sorted(self._known))

    # Working.

    async def synced(self) -> None:
        """Until every store that this controller reads is filled."""
        for store in self._inputs:
            await store.filled()

    async def work(self) -> None:
        """One worker: reconcile keys until the queue closes."""
        await self.synced()
        active = self._metrics.active_workers.labels(self.controller.name)
        while True:
            # Waiting before taking, a standby holds no key and can end at once.
            await self._leadership.wait()
            try:
                key = await self.queue.get()
            except QueueClosedError:
                return
            try:
                with active.track_inprogress():
                    await self._attempt(key)
            finally:
                self.queue.done(key)

    async def resync(self) -> NoReturn:
        """Look at every key now and then, spread out, in case anything was missed."""
        while True:
            await asyncio.sleep(self._resync * (0.75 + 0.5 * self._jitter()))
            for key in sorted(self._known):
                self.queue.add_after(key, self._jitter() * self._resync / 2)

    async def _attempt(self, key: Key) -> None:
        """One reconcile; whatever happens, the key comes back as it should."""
        name = self.controller.name
        result = "error"
        with self._timer.time():
            try:
                async with asyncio.timeout(_LONGEST):
                    result = await self._reconcile(key)
            except FencedError:
                # The worker waits for leadership before it touches the key again.
                self.queue.add(key)
                result = "requeue"
            except ApiError as error:
                await self._after_answer(key, error)
            except (UnavailableError, RefusedError) as error:
                self._failed(key, str(error))
            except TimeoutError:
                self._failed(key, f"not done within {_LONGEST:g} s")
            except Exception as error:  # noqa: BLE001 -- one bad key must not end the process
                self._metrics.panics.labels(name).inc()
                self._failed(key, repr(error), error)
        self._metrics.reconciles.labels(name, result).inc()

    async def _after_answer(self, key: Key, error: ApiError) -> None:
        if error.reason != "Conflict":
            self._failed(key, str(error))
            return
        # Our copy was older than the server's. The watch will bring the newer one, but not
        # necessarily soon.
        self._metrics.reconcile_errors.labels(self.controller.name).inc()
        self.queue.retry(key)
        if self._own is not None and self.controller.kind is not None:
            try:
                live = await self._client.get(gyre(self.controller.kind), key)
            except (ApiError, UnavailableError):
                return
            if live is not None:
                self._own.upsert(entry_of(self._own.source, live))

    def _failed(self, key: Key, sentence: str, error: BaseException | None = None) -> None:
        self._metrics.reconcile_errors.labels(self.controller.name).inc()
        first = self.queue.failures(key) == 0
        delay = self.queue.retry(key)
        # Only the first failure of a row is news; the metric counts the rest.
        log.log(
            logging.WARNING if first else logging.DEBUG,
            "reconcile failed",
            extra={**self._voice.about(key), "why": sentence[:1000], "again_in": round(delay, 3)},
            exc_info=error if first else None,
        )

    # One reconcile.

    async def _reconcile(self, key: Key) -> str:
        subject = self._own.entry(key) if self._own is not None else None
        if self._own is not None and (subject is None or _left_alone(subject)):
            if subject is None:
                # What the controller keeps of a gone object, its series among them, goes with it.
                await self.controller.observe(key, self._stores)
            self._forget(key, gone=subject is None)
            return "success"
        if subject is not None and subject.value is None:
            self._metrics.terminal_errors.labels(self.controller.name).inc()
            await self._voice.invalid(subject)
            self.queue.forget(key)
            return "success"
        seen = await self.controller.observe(key, self._stores)
        if seen is None:
            self._forget(key, gone=self._own is None)
            return "success"
        plan = self.controller.plan(seen, self._clock())
        changed = await self._execute(key, plan, subject)
        return self._requeue(key, plan, changed=changed)

    async def _execute(self, key: Key, plan: Plan, subject: Entry[Any] | None) -> bool:
        refused_before = self._refusals.get(key)
        if refused_before and subject is not None:
            plan = self._voice.still_refused(plan, subject, refused_before)
        try:
            changed = await self._executor.carry_out(plan, subject, withheld=self._freeze or _paused(subject))
        except RefusedError as error:
            self._refusals[key] = error.said
            if subject is not None:
                # The round may have written the status already, before the child was refused.
                current = (self._own.entry(key) if self._own is not None else None) or subject
                await self._voice.refused(plan, current, error.said)
            raise
        if self._refusals.pop(key, None):
            self.queue.add(key)
        if not changed or self._executor.is_last(plan):
            self._convergence.rested(key)
        if changed and subject is not None:
            for event in plan.events:
                self._voice.announce(subject, event)
        return changed

    def _requeue(self, key: Key, plan: Plan, *, changed: bool) -> str:
        if plan.effects and changed:
            # Look at what the effects did. The backoff keeps an effect that never shows in the
            # observation from spinning.
            self.queue.retry(key)
            return "requeue"
        self.queue.forget(key)
        if plan.requeue is not None:
            self.queue.add_after(key, plan.requeue.total_seconds())
            return "requeue_after"
        return "success"

    def _forget(self, key: Key, *, gone: bool) -> None:
        self.queue.forget(key)
        self._refusals.pop(key, None)
        self._executor.forget(key)
        self._convergence.forget(key)
        if gone:
            self._known.discard(key)


def _is_asked(old: Entry[Any] | None, new: Entry[Any] | None) -> bool:
    """Somebody made, changed or deleted the object itself, and waits for the first reaction."""
    if old is None or new is None:
        return True
    return old.generation != new.generation or old.deleting != new.deleting


def _left_alone(subject: Entry[Any]) -> bool:
    """Being deleted with nothing of ours to clean up: planning would make its children anew."""
    return subject.deleting and not any(f.startswith("gyre.dev/") for f in subject.finalizers)


def _paused(subject: Entry[Any] | None) -> bool:
    if subject is None or subject.deleting:
        return False  # Cleaning up is the way out, also for what is paused.
    spec = getattr(subject.value, "spec", None)
    return bool(getattr(spec, "paused", False))
