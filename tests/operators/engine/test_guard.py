"""Calls to systems that may be away: breakers, time limits, slots, tokens, the object store."""

import asyncio
from pathlib import Path

import pytest

from gyre_operators.engine.guard import Guard, UnavailableError
from gyre_operators.engine.login import Token
from gyre_operators.engine.objects import Objects
from gyre_operators.settings import StoreSettings


class Flaky:
    """A system that answers as it is told, and counts."""

    def __init__(self) -> None:
        self.calls = 0
        self.error: Exception | None = None
        self.takes = 0.0

    async def __call__(self) -> str:
        """Answer, late or not at all."""
        self.calls += 1
        await asyncio.sleep(self.takes)
        if self.error is not None:
            raise self.error
        return "well"


@pytest.mark.looptime
async def test_a_breaker_opens_after_failures_in_a_row_and_tries_again_after_its_pause() -> None:
    """While open it costs no call; afterwards one success closes it."""
    system = Flaky()
    guard = Guard("MLflow", threshold=3, pause=15, clock=asyncio.get_running_loop().time)
    system.error = ConnectionRefusedError("connection refused")
    for _ in range(10):
        with pytest.raises(UnavailableError, match="MLflow is away: connection refused"):
            await guard(system)
    assert system.calls == 3
    system.error = None
    await asyncio.sleep(16)

    assert await guard(system) == "well"
    assert system.calls == 4


@pytest.mark.looptime
async def test_a_call_that_takes_too_long_counts_as_away() -> None:
    """The time limit is the guard's, not the caller's."""
    system = Flaky()
    system.takes = 60
    with pytest.raises(UnavailableError, match="no answer within 2 s"):
        await Guard("store", timeout=2)(system)


async def test_a_mistake_of_the_caller_is_not_taken_for_an_outage() -> None:
    """A ValueError passes through and does not open the breaker."""
    system = Flaky()
    guard = Guard("store", threshold=1)
    system.error = ValueError("too large")
    for _ in range(3):
        with pytest.raises(ValueError, match="too large"):
            await guard(system)

    assert system.calls == 3


@pytest.mark.looptime
async def test_at_most_so_many_calls_run_at_once() -> None:
    """Ten callers, two slots of a second each: five seconds."""
    system = Flaky()
    system.takes = 1
    guard = Guard("store", limit=2)
    began = asyncio.get_running_loop().time()
    await asyncio.gather(*(guard(system) for _ in range(10)))

    assert asyncio.get_running_loop().time() - began == pytest.approx(5)


@pytest.mark.looptime
async def test_a_rotated_token_is_used_within_a_minute() -> None:
    """And is not read again for each request."""
    tokens = iter(["old\n", "new\n"])
    token = Token(lambda: next(tokens), clock=asyncio.get_running_loop().time)

    assert [await token.fresh() for _ in range(3)] == ["old"] * 3
    await asyncio.sleep(61)
    assert await token.fresh() == "new"


async def test_objects_are_created_once_read_listed_and_removed(tmp_path: Path) -> None:
    """On a directory as on S3: create-only writes, None for what is not there."""
    objects = Objects(StoreSettings(uri=f"file://{tmp_path}"))
    base = objects.base("team-a")

    assert await objects.create(f"{base}/x/1.json", b"one") is True
    assert await objects.create(f"{base}/x/1.json", b"two") is False
    assert await objects.read(f"{base}/x/1.json") == b"one"
    assert await objects.read(f"{base}/x/2.json") is None
    assert await objects.under(f"{base}/x/") == [f"{base}/x/1.json"]
    await objects.delete(f"{base}/x/1.json")
    await objects.delete(f"{base}/x/1.json")
    assert await objects.under(base) == []
