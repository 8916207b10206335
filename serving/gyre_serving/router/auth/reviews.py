"""What Kubernetes said of tokens: remembered by their hash for a while, asked for once, and not too often."""

import asyncio
import time
from collections import Counter as Tally
from collections import OrderedDict
from collections.abc import Callable
from hashlib import sha256
from typing import NamedTuple

from cachetools import LRUCache

from gyre_crds.contracts.routing import ReviewRule
from gyre_serving.router.auth.claims import Claims
from gyre_serving.router.auth.kubernetes import Asks, CannotAskError, Verdict
from gyre_serving.router.message import Refusal

FRESH_SECONDS = 60.0
"""How long a verdict holds: a token that Kubernetes revoked is refused this much later at most."""
RENEW_SECONDS = 30.0
"""A verdict in use that is older is asked for anew while it still holds."""
STALE_SECONDS = 600.0
"""How long the last verdict holds while Kubernetes does not answer."""
JUNK_SECONDS = 10.0
"""How long a token that is nobody's is not asked about again."""
PAUSE_SECONDS = 1.0
"""After Kubernetes did not answer, nothing is asked for so long."""
LOOK_SECONDS, RETRY_SECONDS = 1.0, 5.0
"""How soon a service that begins to ask is noticed, and how often Kubernetes is tried while it gives no verdicts."""
KNOWN, JUNK = 4096, 4096
"""Verdicts remembered: bad ones apart, so that they push out no good one."""
AT_ONCE = 64
"""Questions under way; beyond it callers are told to come back."""
PEER_RATE, PEER_BURST = 1.0, 10
"""Tokens of one address that were nobody's, a second and at once, beyond which it gets no question asked."""
ALL_RATE, ALL_BURST = 20.0, 100
"""The same of all addresses together."""
_PEERS = 4096
RESULTS = ("known", "unknown", "unanswered", "stale", "rationed")
"""Tokens that are somebody's or nobody's; no answer; the last one taken instead; no question asked."""

Key = tuple[bytes, tuple[str, ...]]


class Known(NamedTuple):
    """A verdict, and when it was given (monotonic seconds)."""

    verdict: Verdict
    since: float


class Debts:
    """Who brought tokens of nobody: each costs a second divided by the rate, and a burst of them is owed at most."""

    def __init__(self, rate: float, burst: int, most: int) -> None:
        self._cost, self._limit, self._most = 1 / rate, burst / rate, most
        self._until: OrderedDict[str, float] = OrderedDict()

    def wait(self, who: str, now: float) -> float:
        """Seconds until another question may be asked; 0 when it may."""
        return max(self._until.get(who, now) - now + self._cost - self._limit, 0.0)

    def owe(self, who: str, now: float) -> None:
        """One more."""
        self._until[who] = max(self._until.get(who, now), now) + self._cost
        self._until.move_to_end(who)
        if len(self._until) > self._most:
            self._until.popitem(last=False)


class Reviews:
    """The memory of one router process, for all its services."""

    def __init__(
        self, asks: Asks, loop: asyncio.AbstractEventLoop, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._asks = asks
        self._loop = loop
        self._clock = clock
        self._known: LRUCache[Key, Known] = LRUCache(KNOWN)
        self._junk: LRUCache[Key, float] = LRUCache(JUNK)
        self._asked: dict[Key, asyncio.Future[Verdict]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._debts = Debts(PEER_RATE, PEER_BURST, _PEERS), Debts(ALL_RATE, ALL_BURST, 1)
        self._silent_until = 0.0
        self.problem: str | None = None
        """Why Kubernetes gives no verdicts; empty when it does, None before it was asked."""
        self.counts: Tally[str] = Tally(dict.fromkeys(RESULTS, 0))

    def remembered(self, token: bytes, rule: ReviewRule) -> Verdict | None:
        """The verdict, if it still holds; nothing is asked."""
        key, now = _key(token, rule), self._clock()
        if self._junk.get(key, 0.0) > now:
            return Verdict()
        found = self._known.get(key)
        return found.verdict if found is not None and now - found.since < FRESH_SECONDS else None

    def verdict(self, token: bytes, rule: ReviewRule, claims: Claims, peer: str) -> "Verdict | asyncio.Future[Verdict]":
        """The verdict, or what will hold it: one question for all who bring the token at once.

        The future fails with a `Refusal`: 503 while Kubernetes does not answer and nothing it said holds.

        Raises:
            Refusal: 429 for who brought many tokens of nobody, 503 beyond `AT_ONCE`.
        """
        key, now = _key(token, rule), self._clock()
        if self._junk.get(key, 0.0) > now:
            return Verdict()
        found = self._known.get(key)
        if found is not None:
            age = now - found.since
            # Who is known does not wait for a server that did not answer the last time.
            if age < (STALE_SECONDS if self.problem else FRESH_SECONDS):
                if age > RENEW_SECONDS and self._may_renew(key, now):
                    self._ask(key, token, claims, peer)
                self.counts["stale"] += age >= FRESH_SECONDS
                return found.verdict
        asked = self._asked.get(key)
        if asked is not None:
            return asked
        if now < self._silent_until:
            return self._last(key, claims)
        if found is None:  # a token that was somebody's is no junk, whoever else brings some from this address
            self._ration(peer, now)
        if len(self._asked) >= AT_ONCE:
            self.counts["rationed"] += 1
            raise Refusal(503, "too many new tokens at once: come back", retry_after=1)
        return self._ask(key, token, claims, peer)

    async def watch(self, wanted: Callable[[], bool]) -> None:
        """While a service asks for it, find out whether Kubernetes would answer, so that an operator can say so."""
        while True:
            if wanted():
                try:
                    await self._asks.try_itself()
                    self.problem = ""
                except CannotAskError as error:
                    self.problem = str(error)
            else:
                self.problem = None
            await asyncio.sleep(
                LOOK_SECONDS if self.problem is None else RETRY_SECONDS if self.problem else FRESH_SECONDS
            )

    async def close(self) -> None:
        """Ask no more."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._asks.close()

    def _may_renew(self, key: Key, now: float) -> bool:
        return key not in self._asked and len(self._asked) < AT_ONCE and now >= self._silent_until

    def _ration(self, peer: str, now: float) -> None:
        one, all_ = self._debts
        wait = max(one.wait(peer, now), all_.wait("", now))
        if wait > 0:
            self.counts["rationed"] += 1
            raise Refusal(
                429,
                "too many tokens that Kubernetes does not know came lately: come back later",
                retry_after=int(wait) + 1,
            )

    def _ask(self, key: Key, token: bytes, claims: Claims, peer: str) -> "asyncio.Future[Verdict]":
        future = self._asked[key] = self._loop.create_future()
        future.add_done_callback(_seen)
        task = self._loop.create_task(self._settle(key, token, claims, peer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return future

    async def _settle(self, key: Key, token: bytes, claims: Claims, peer: str) -> None:
        future = self._asked[key]
        try:
            verdict = await self._asks.review(token.decode("latin-1"), key[1])
        except CannotAskError as error:
            self.problem = str(error)
            self._silent_until = self._clock() + PAUSE_SECONDS
            self.counts["unanswered"] += 1
            self._fall_back(future, key, claims)
        else:
            self.problem = ""
            self._remember(key, verdict, peer)
            future.set_result(verdict)
        finally:
            del self._asked[key]
            future.cancel()

    def _fall_back(self, future: "asyncio.Future[Verdict]", key: Key, claims: Claims) -> None:
        try:
            future.set_result(self._last(key, claims))
        except Refusal as refusal:
            future.set_exception(refusal)

    def _remember(self, key: Key, verdict: Verdict, peer: str) -> None:
        now = self._clock()
        self.counts["known" if verdict.user else "unknown"] += 1
        if verdict.user:
            self._known[key] = Known(verdict, now)
            return
        self._known.pop(key, None)
        self._junk[key] = now + JUNK_SECONDS
        for debts, who in zip(self._debts, (peer, ""), strict=True):
            debts.owe(who, now)

    def _last(self, key: Key, claims: Claims) -> Verdict:
        """What was said last, where Kubernetes does not answer.

        Raises:
            Refusal: 503 where nothing was, or too long ago.
        """
        found = self._known.get(key)
        if found is not None and self._clock() - found.since < STALE_SECONDS and time.time() < claims.expires:
            self.counts["stale"] += 1
            return found.verdict
        raise Refusal(503, f"nobody can be let in by a token: {self.problem}", retry_after=2)


def _key(token: bytes, rule: ReviewRule) -> Key:
    return sha256(token).digest(), tuple(rule.audiences)


def _seen(future: "asyncio.Future[Verdict]") -> None:
    """A question whose askers went away has failed for nobody."""
    if not future.cancelled():
        future.exception()
