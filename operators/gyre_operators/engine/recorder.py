"""Events for `kubectl describe`: once per transition, counted when repeated, never in the way."""

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from gyre_operators.engine.client import Client
from gyre_operators.engine.clock import Clock, rfc3339
from gyre_operators.engine.differ import digest
from gyre_operators.engine.errors import ApiError
from gyre_operators.engine.guard import UnavailableError
from gyre_operators.engine.kinds import EVENT
from gyre_operators.engine.metrics import Metrics
from gyre_operators.engine.plan import Event, Key, Ref

log = logging.getLogger(__name__)

_WAITING = 1000
_REMEMBERED = 5000
_LONGEST = 1024


@dataclass(frozen=True, slots=True)
class _Post:
    about: Ref
    event: Event
    controller: str


class TokenBucket:
    """At most `burst` at once and `rate` per second in the long run."""

    def __init__(self, rate: float, burst: int, clock: Callable[[], float]) -> None:
        self._rate, self._burst, self._clock = rate, float(burst), clock
        self._tokens, self._at = float(burst), clock()

    def wait(self) -> float:
        """Take one; the seconds to wait before using it."""
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate) - 1
        self._at = now
        return max(0.0, -self._tokens / self._rate)


class Recorder:
    """Posts events behind the reconcile's back.

    The same sentence about the same object is posted once in `quiet` seconds; later it counts up
    on the same Event. When the API server is away or too many come, the oldest are dropped and
    counted: an event is news, the truth stands in the status.
    """

    def __init__(self, client: Client, metrics: Metrics, clock: Clock, *, quiet: float = 600.0) -> None:
        loop = asyncio.get_running_loop()
        self._client = client
        self._metrics = metrics
        self._clock = clock
        self._loop_time = loop.time
        self._quiet = quiet
        self._bucket = TokenBucket(10.0, 50, loop.time)
        self._waiting: deque[_Post] = deque()
        self._said: OrderedDict[str, float] = OrderedDict()
        self._wake = asyncio.Event()

    def record(self, about: Ref, event: Event, controller: str) -> bool:
        """Queue one event; False when it was said a moment ago."""
        name = _name(about, event)
        now = self._loop_time()
        said = self._said.get(name)
        if said is not None and now - said < self._quiet:
            return False
        self._said[name] = now
        self._said.move_to_end(name)
        while len(self._said) > _REMEMBERED:
            self._said.popitem(last=False)
        self._waiting.append(_Post(about, event, controller))
        if len(self._waiting) > _WAITING:
            self._waiting.popleft()
            self._metrics.events_dropped.labels("overflow").inc()
        self._wake.set()
        return True

    async def run(self) -> NoReturn:
        """Post until cancelled."""
        while True:
            await self.flush()
            self._wake.clear()
            await self._wake.wait()

    async def flush(self) -> None:
        """Post what waits."""
        while self._waiting:
            post = self._waiting.popleft()
            await asyncio.sleep(self._bucket.wait())
            try:
                await self._post(post)
            except (ApiError, UnavailableError) as error:
                self._metrics.events_dropped.labels("refused").inc()
                log.debug("event not posted", extra={"why": str(error)})
            except Exception:
                log.exception("event not posted")

    async def _post(self, post: _Post) -> None:
        manager = f"gyre-{post.controller}"
        key = Key(post.about.namespace or "default", _name(post.about, post.event))
        try:
            await self._client.create(EVENT, self._manifest(post, key), manager)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
            live = await self._client.get(EVENT, key)
            if live is not None:
                again = {"count": live.get("count", 1) + 1, "lastTimestamp": self._now()}
                await self._client.merge(EVENT, key, again, manager)

    def _manifest(self, post: _Post, key: Key) -> dict[str, Any]:
        about, event, now = post.about, post.event, self._now()
        source = f"gyre-{post.controller}"
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": key.name, "namespace": key.namespace},
            "involvedObject": {
                "apiVersion": about.api_version,
                "kind": about.kind,
                "namespace": about.namespace,
                "name": about.name,
                "uid": about.uid,
            },
            "type": event.type,
            "reason": event.reason,
            "message": event.message[:_LONGEST],
            "source": {"component": source},
            "reportingComponent": source,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }

    def _now(self) -> str:
        return rfc3339(self._clock())


def _name(about: Ref, event: Event) -> str:
    """One name per sentence and object, so that a restarted operator counts on, not anew."""
    mark = digest([about.uid, about.kind, about.name, event.type, event.reason, event.message])
    return f"{about.name}.{mark}"
