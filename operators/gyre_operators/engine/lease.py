"""Which replica works: a Lease in the operator's namespace, with self-fencing."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, NoReturn

from gyre_operators.engine.client import Client
from gyre_operators.engine.clock import Clock
from gyre_operators.engine.errors import ApiError
from gyre_operators.engine.guard import UnavailableError
from gyre_operators.engine.kinds import LEASE
from gyre_operators.engine.metrics import Metrics
from gyre_operators.engine.plan import Key

log = logging.getLogger(__name__)

_MANAGER = "gyre-lease"


class Leadership:
    """Whether this process may write. `held` is what workers wait for and writes check."""

    def __init__(self) -> None:
        self._held = asyncio.Event()
        self._until = float("-inf")
        self._takeovers: list[Callable[[], None]] = []

    def on_takeover(self, call: Callable[[], None]) -> None:
        """Have `call` called each time that leading begins."""
        self._takeovers.append(call)

    def held(self) -> bool:
        """Whether leading is certain at this moment; False the instant the deadline passed."""
        return asyncio.get_running_loop().time() < self._until

    async def wait(self) -> None:
        """Until leading."""
        while not self.held():
            self._held.clear()
            await self._held.wait()

    def keep(self, until: float) -> None:
        """Lead until that loop time."""
        new = not self.held()
        self._until = until
        self._held.set()
        if new:
            for call in self._takeovers:
                call()

    def lose(self) -> None:
        """Lead no longer."""
        self._until = float("-inf")


class Elector:
    """Takes and renews one Lease.

    Another's Lease is taken when it did not change for its own duration, measured on our own
    clock from when we saw it change: clocks of two nodes are never compared. Leading ends `renew`
    seconds after the last successful renewal was begun, before anybody else may take over.
    """

    def __init__(
        self,
        client: Client,
        leadership: Leadership,
        metrics: Metrics,
        clock: Clock,
        *,
        namespace: str,
        name: str,
        identity: str,
        duration: float = 15.0,
        renew: float = 10.0,
        retry: float = 2.0,
    ) -> None:
        """`duration`: how long others wait; `renew`: how long we dare; `retry`: the pace."""
        if not retry < renew < duration:
            raise ValueError("a lease needs retry < renew < duration, or two could lead at once")
        self._client = client
        self._leadership = leadership
        self._gauge = metrics.leader.labels(name)
        self._clock = clock
        self._key = Key(namespace, name)
        self._identity = identity
        self._duration, self._renew, self._retry = duration, renew, retry
        self._seen: tuple[Any, float] = (None, 0.0)
        self.trouble = ""
        """Why the Lease could not be asked for the last time; "" when it could."""

    async def run(self) -> NoReturn:
        """Take and renew until cancelled; then `release`."""
        while True:
            before = self._leadership.held()
            began = asyncio.get_running_loop().time()
            won = await self._try()
            if won:
                self._leadership.keep(began + self._renew)
            after = self._leadership.held()
            self._gauge.set(after)
            if before != after:
                log.info(
                    "leading" if after else "standing by",
                    extra={"lease": self._key.name, "identity": self._identity},
                )
            await asyncio.sleep(self._retry)

    async def release(self) -> None:
        """Give the Lease away at once, so that a standby need not wait for it to expire."""
        held = self._leadership.held()
        self._leadership.lose()
        self._gauge.set(0)
        if not held:
            return
        try:
            async with asyncio.timeout(self._retry):
                live = await self._client.get(LEASE, self._key)
                if live is not None and live["spec"].get("holderIdentity") == self._identity:
                    spec = {**live["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}
                    await self._client.replace(LEASE, {**live, "spec": spec}, _MANAGER)
        except (ApiError, UnavailableError, TimeoutError) as error:
            log.warning("lease not released; it expires by itself", extra={"why": str(error)})

    async def _try(self) -> bool:
        try:
            async with asyncio.timeout(self._renew / 2):
                won = await self._take_or_renew()
        except (ApiError, UnavailableError, TimeoutError) as error:
            if isinstance(error, ApiError) and error.reason in ("Conflict", "AlreadyExists"):
                return False  # Another was faster, which is what the Lease is for.
            sentence = str(error) or "no answer in time"
            if not self.trouble:
                log.warning("lease neither taken nor renewed", extra={"why": sentence})
            self.trouble = sentence
            return False
        self.trouble = ""
        return won

    async def _take_or_renew(self) -> bool:
        live = await self._client.get(LEASE, self._key)
        if live is None:
            await self._client.create(LEASE, self._lease({}, {}), _MANAGER)
            return True
        spec = live.get("spec") or {}
        if spec.get("holderIdentity") not in ("", None, self._identity) and not self._expired(spec):
            # Somebody else has it for certain, so whatever we believed of ourselves is over.
            self._leadership.lose()
            return False
        # The version in the body makes two takers at the same moment one winner and one 409.
        await self._client.replace(LEASE, self._lease(live["metadata"], spec), _MANAGER)
        return True

    def _expired(self, spec: dict[str, Any]) -> bool:
        now = asyncio.get_running_loop().time()
        mark = (spec.get("holderIdentity"), spec.get("renewTime"))
        if self._seen[0] != mark:
            self._seen = (mark, now)
        return now - self._seen[1] > float(spec.get("leaseDurationSeconds") or self._duration)

    def _lease(self, meta: dict[str, Any], spec: dict[str, Any]) -> dict[str, Any]:
        now = self._clock().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        ours = spec.get("holderIdentity") == self._identity
        return {
            "apiVersion": LEASE.api_version,
            "kind": LEASE.kind,
            "metadata": meta or {"name": self._key.name, "namespace": self._key.namespace},
            "spec": {
                "holderIdentity": self._identity,
                "leaseDurationSeconds": int(self._duration),
                "acquireTime": spec.get("acquireTime") if ours else now,
                "renewTime": now,
                "leaseTransitions": spec.get("leaseTransitions", 0) + (not ours and bool(spec)),
            },
        }
