"""Kubernetes does not say whose a token is: what the router does meanwhile, without a cluster."""

import asyncio
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

from gyre_crds.contracts.routing import ReviewRule
from gyre_serving.router.auth.claims import Claims
from gyre_serving.router.auth.kubernetes import CannotAskError, Verdict
from gyre_serving.router.auth.reviews import FRESH_SECONDS, STALE_SECONDS, Reviews
from gyre_serving.router.sources.kubernetes import Access

RULE = ReviewRule(audiences=["m"], users=["web"])


async def test_missing_token_of_its_own_ends_no_router(start: Any, models: Any, kit: Any, tmp_path: Path) -> None:
    """Without its own token for a moment the router says so and goes on routing."""
    access = Access("https://127.0.0.1:1", "team-a", tmp_path / "token", None)
    router = await start(None, access=access)
    assert router.offer(kit.route(await models()), auth={"review": RULE.dump(), "predict": False})
    for _ in range(200):
        said = (await router.get_control("/v1/state")).get("reviews")
        if said:
            break
        await asyncio.sleep(0.02)
    assert "No such file" in said
    assert not router.task.done()
    assert (await router.infer(kit.rows([60, 1, 1])))[0] == 200


class Hanging:
    """Answers the first question, and no other until it is given up."""

    def __init__(self) -> None:
        self.asked = 0

    async def review(self, token: str, audiences: Collection[str]) -> Verdict:
        """See `Asks.review`."""
        assert (token, audiences) == ("t", ("m",))
        self.asked += 1
        if self.asked == 1:
            return Verdict("web")
        await asyncio.sleep(0.3)
        raise CannotAskError("timed out")

    async def try_itself(self) -> None:
        """See `Asks.try_itself`."""

    async def close(self) -> None:
        """See `Asks.close`."""


async def test_known_callers_wait_once_for_a_server_that_hangs() -> None:
    """The first request behind a verdict's end waits for the question; while nothing is said, the others do not."""
    now = 1000.0
    reviews = Reviews(Hanging(), asyncio.get_running_loop(), lambda: now)
    claims = Claims(frozenset({"m"}), time.time() + 3600)

    async def ask() -> tuple[Verdict, float]:
        began = time.monotonic()
        said = reviews.verdict(b"t", RULE, claims, "a")
        verdict = said if isinstance(said, Verdict) else await asyncio.shield(said)
        return verdict, time.monotonic() - began

    try:
        assert (await ask())[0] == Verdict("web")
        now += FRESH_SECONDS + 1
        verdict, seconds = await ask()
        assert verdict == Verdict("web")
        assert seconds >= 0.3
        for _ in range(3):
            now += 5
            verdict, seconds = await ask()
            assert verdict == Verdict("web")
            assert seconds < 0.2
        assert reviews.counts["stale"] == 4
        now += STALE_SECONDS
        assert not isinstance(reviews.verdict(b"t", RULE, claims, "a"), Verdict)
    finally:
        await reviews.close()
