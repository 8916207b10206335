"""The work queue has client-go's semantics."""

import asyncio

import pytest
from prometheus_client import CollectorRegistry

from gyre_operators.engine.metrics import Metrics
from gyre_operators.engine.plan import Key
from gyre_operators.engine.queue import Priority, QueueClosedError, WorkQueue

pytestmark = pytest.mark.looptime

A, B, C = Key("ns", "a"), Key("ns", "b"), Key("ns", "c")


def queue(**options: float) -> WorkQueue:
    """A queue without jitter."""
    metrics = Metrics(CollectorRegistry()).queue("test")
    return WorkQueue(metrics, jitter=lambda: 1.0, **options)


async def soon(work: WorkQueue) -> Key | None:
    """The next key within a millisecond, or None."""
    try:
        async with asyncio.timeout(0.001):
            return await work.get()
    except TimeoutError:
        return None


async def test_a_waiting_key_is_held_once() -> None:
    """However often a key is added while it waits, it is handed out once."""
    work = queue()
    for key in (A, A, B, A):
        work.add(key)

    assert [await soon(work), await soon(work), await soon(work)] == [A, B, None]


async def test_a_key_at_work_is_not_handed_out_again_before_done() -> None:
    """Two workers never hold one key, and a change during the work is not lost."""
    work = queue()
    work.add(A)
    assert await soon(work) == A
    work.add(A)
    work.add(A)

    assert await soon(work) is None
    work.done(A)
    assert await soon(work) == A
    work.done(A)
    assert await soon(work) is None


async def test_a_change_goes_before_routine() -> None:
    """Priorities order the keys, and a routine look that becomes a change moves ahead."""
    work = queue()
    work.add(A, Priority.ROUTINE)
    work.add(B, Priority.ROUTINE)
    work.add(C, Priority.CHANGE)
    work.add(B, Priority.CHANGE)

    assert [await soon(work) for _ in range(4)] == [C, B, A, None]


async def test_delays_are_kept_and_the_earlier_one_wins() -> None:
    """A key that is due at two times comes once, at the earlier one."""
    work = queue()
    loop = asyncio.get_running_loop()
    began = loop.time()
    work.add_after(A, 60)
    work.add_after(A, 5)
    work.add_after(B, 30)

    first, at_first = await work.get(), loop.time() - began
    second, at_second = await work.get(), loop.time() - began
    work.done(A)
    work.done(B)

    assert (first, round(at_first)) == (A, 5)
    assert (second, round(at_second)) == (B, 30)
    await asyncio.sleep(60)
    assert await soon(work) is None


async def test_changes_within_a_hold_cost_one_look() -> None:
    """The first change sets the time, later ones add nothing to it: nobody waits longer than one hold."""
    work = queue()
    work.add_soon(A, 0.05)
    await asyncio.sleep(0.03)
    work.add_soon(A, 0.05)
    assert await soon(work) is None
    await asyncio.sleep(0.02)

    assert await soon(work) == A
    work.done(A)
    await asyncio.sleep(1)
    assert await soon(work) is None


async def test_a_look_that_cannot_wait_takes_what_was_held_along() -> None:
    """A change of the object itself is not delayed by a hold, and makes the held look needless."""
    work = queue()
    work.add_soon(A, 0.05)
    work.add(A)

    assert await soon(work) == A
    work.done(A)
    await asyncio.sleep(1)
    assert await soon(work) is None


async def test_a_change_of_what_waits_out_of_habit_goes_before_the_habit() -> None:
    """During a resync, a pod's end waited behind every other key's routine look."""
    work = queue()
    for key in (A, B, C):
        work.add(key, Priority.ROUTINE)
    work.add_soon(C, 0.05)

    assert [await soon(work) for _ in range(4)] == [C, A, B, None]


async def test_a_change_during_the_work_is_held_and_not_lost() -> None:
    """What changes while a key is at work is looked at once more, a hold later."""
    work = queue()
    work.add(A)
    assert await soon(work) == A
    work.add_soon(A, 0.05)
    work.add_soon(A, 0.05)
    work.done(A)

    assert await soon(work) is None
    await asyncio.sleep(0.05)
    assert await soon(work) == A
    work.done(A)
    await asyncio.sleep(1)
    assert await soon(work) is None


async def test_a_hold_leaves_the_time_of_a_later_look_alone() -> None:
    """A look that was asked for by time comes at its time, whatever changed before."""
    work = queue()
    loop = asyncio.get_running_loop()
    began = loop.time()
    work.add_after(A, 10)
    work.add_soon(A, 0.05)
    assert await work.get() == A
    assert round(loop.time() - began, 2) == 0.05
    work.done(A)

    assert await work.get() == A
    assert round(loop.time() - began) == 10


async def test_backoff_doubles_up_to_its_cap_and_starts_anew_after_success() -> None:
    """Failures in a row double the delay; forget resets it; the cap holds for ever."""
    work = queue(base=1.0, cap=10.0)

    assert [work.retry(A) for _ in range(6)] == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    assert work.retry(B) == 1.0
    work.forget(A)
    assert work.retry(A) == 1.0
    for _ in range(2000):
        work.retry(C)
    assert work.retry(C) == 10.0


async def test_jitter_keeps_the_delay_between_half_and_whole() -> None:
    """Many failing keys do not come back in the same instant."""
    low = WorkQueue(Metrics(CollectorRegistry()).queue("low"), base=4.0, jitter=lambda: 0.0)

    assert low.retry(A) == 2.0
    assert queue(base=4.0).retry(A) == 4.0


async def test_close_waits_for_what_is_at_work_and_hands_out_nothing_more() -> None:
    """Draining ends when the last worker is done, and waiting workers are told."""
    work = queue()
    work.add(A)
    work.add(B)
    assert await soon(work) == A
    waiting = asyncio.create_task(work.close(drain=10))
    await asyncio.sleep(1)
    assert not waiting.done()
    work.done(A)

    assert await waiting is True
    with pytest.raises(QueueClosedError):
        await work.get()


async def test_close_gives_up_after_its_drain_time() -> None:
    """A worker that never ends cannot keep the process from ending."""
    work = queue()
    work.add(A)
    await work.get()

    assert await work.close(drain=3) is False


async def test_a_worker_that_is_cancelled_when_its_turn_comes_leaves_the_key_to_another() -> None:
    """Cancelled before, with or after its key: the other worker gets what was added."""
    for cancel_first in (True, False):
        work = queue()
        first, second = asyncio.create_task(work.get()), asyncio.create_task(work.get())
        await asyncio.sleep(0)
        if cancel_first:
            first.cancel()
        work.add(A)
        first.cancel()

        assert await asyncio.wait_for(second, 0.001) == A
        assert first.cancelled()


async def test_many_workers_share_the_keys_without_overlap() -> None:
    """A hundred keys, added again and again to eight workers: none overlaps, none is lost."""
    work = queue()
    at_work: set[Key] = set()
    seen: dict[Key, int] = {}
    keys = [Key("ns", str(number)) for number in range(100)]

    async def worker() -> None:
        while True:
            key = await work.get()
            assert key not in at_work
            at_work.add(key)
            await asyncio.sleep(0.01)
            at_work.remove(key)
            seen[key] = seen.get(key, 0) + 1
            work.done(key)

    workers = [asyncio.create_task(worker()) for _ in range(8)]
    for _ in range(10):
        for key in keys:
            work.add(key)
        await asyncio.sleep(0.05)
    await asyncio.sleep(10)

    assert set(seen) == set(keys)
    assert all(2 <= count <= 10 for count in seen.values())
    assert not any(task.done() for task in workers)
    for task in workers:
        task.cancel()
