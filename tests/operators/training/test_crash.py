"""The operator may die before and after every write, and the cluster may do what it likes."""

import asyncio
import itertools
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gyre_crds.v1alpha1.training import TrainingJob
from gyre_crds.v1alpha1.version import ModelVersion
from gyre_operators.engine.kinds import JOB, POD, gyre
from gyre_operators.engine.plan import Key, Ref, ref
from tests.operators.crashes import Crash, Killer
from tests.operators.training.cluster import KEY, Cluster

LIMIT = 2


def cluster(root: Path) -> Cluster:
    """A job that retries twice and finishes within an hour."""
    return Cluster(root, None, retry={"limit": LIMIT, "backoff": "10s"}, deadline="1h")  # type: ignore[arg-type]


def last(world: Cluster) -> int | None:
    """The number of the last attempt whose Job exists."""
    names = [body["metadata"]["name"] for body in world.world.all(JOB)]
    return max((int(name.rpartition("-a")[2]) for name in names), default=None)


def ended(world: Cluster, number: int) -> bool:
    """Whether an attempt's pod has ended."""
    pod = world.world.get(POD, Key(KEY.namespace, f"{KEY.name}-a{number}-0"))
    return pod is not None and pod.get("status", {}).get("phase") in ("Succeeded", "Failed")


def _on_last(act: Callable[[Cluster, int], None]) -> Callable[[Cluster], None]:
    def action(world: Cluster) -> None:
        number = last(world)
        if number is not None and not ended(world, number):
            act(world, number)

    return action


def _disrupt(world: Cluster, number: int) -> None:
    world.runs(number)
    condition = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI", "message": "evicted"}
    world.pod(number, phase="Failed", conditions=[condition])
    world.job_failed(number, "PodFailurePolicy")


def _delete(world: Cluster, number: int) -> None:
    world.world.remove(ref(world.job(number)))


def _lose_pod(world: Cluster, number: int) -> None:
    world.world.remove(Ref("v1", "Pod", KEY.namespace, f"{KEY.name}-a{number}-0"))


def _suspend(world: Cluster) -> None:
    suspended = world.world.get(gyre(TrainingJob), KEY)
    assert suspended is not None
    world.spec(suspend=not suspended["spec"].get("suspend", False))


ACTIONS: dict[str, Callable[[Cluster], None]] = {
    "runs": _on_last(lambda world, number: world.runs(number)),
    "fails": _on_last(lambda world, number: world.fails(number, text="boom")),
    "succeeds": _on_last(lambda world, number: world.succeeds(number)),
    "succeeds without a result": _on_last(lambda world, number: world.succeeds(number, published=False)),
    "is disrupted": _on_last(_disrupt),
    "loses its Job": _on_last(_delete),
    "loses its pod": _on_last(_lose_pod),
    "suspend is toggled": _suspend,
    "nothing": lambda _world: None,
}


async def settle(world: Cluster, after: int) -> None:
    """Reconcile to rest with a kill after so many writes, and again from there."""
    try:
        await Killer(world.world, after).settle(KEY, world.now)
    except Crash:
        await Killer(world.world, -1).settle(KEY, world.now)


def check(world: Cluster) -> None:
    """What holds at every rest."""
    status = world.status
    attempts = status.get("attempts", [])
    assert [each["number"] for each in attempts] == list(range(1, len(attempts) + 1))
    assert {each["job"] for each in attempts} >= set(world.jobs())
    assert sum(each["outcome"] == "Running" for each in attempts[:-1]) == 0
    assert sum(each["outcome"] == "Failed" and each["charged"] for each in attempts) <= LIMIT + 1
    versions = world.world.all(gyre(ModelVersion))
    assert len(versions) <= 1
    if status.get("version"):
        assert [body["metadata"]["name"] for body in versions] == [status["version"]]
    if status.get("finishedAt"):
        assert not attempts or attempts[-1]["outcome"] != "Running"


@settings(max_examples=150, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(sorted(ACTIONS)), st.integers(0, 4), st.sampled_from([1, 15, 700, 3600])),
        max_size=12,
    ),
)
def test_any_history_converges(steps: list[tuple[str, int, int]]) -> None:
    """Whatever happens and wherever the operator dies, it comes to rest with nothing lost and nothing double."""

    async def run() -> None:
        with tempfile.TemporaryDirectory() as root:
            world = cluster(Path(root))
            finished: list[str] | None = None
            for action, crash_after, seconds in steps:
                ACTIONS[action](world)
                world.now += timedelta(seconds=seconds)
                await settle(world, crash_after)
                check(world)
                if finished is not None:
                    assert world.status.get("attempts") == finished
                if world.status.get("finishedAt"):
                    finished = world.status["attempts"]

    asyncio.run(run())


@pytest.mark.parametrize("after", range(6), ids=lambda n: f"killed after {n} writes")
async def test_success_with_a_kill(after: int, tmp_path: Path) -> None:
    """A training that succeeds ends in one version and one attempt, wherever the operator is killed."""
    world = cluster(tmp_path)
    events = itertools.cycle([world.runs, world.succeeds])
    killer = Killer(world.world, after)
    for _ in range(4):
        try:
            await killer.settle(KEY, world.now)
        except Crash:
            killer = Killer(world.world, -1)
            await killer.settle(KEY, world.now)
        number = last(world)
        if number is not None and not ended(world, number):
            next(events)()
    assert world.status["state"] == "Succeeded"
    assert len(world.status["attempts"]) == 1
    assert len(world.world.all(gyre(ModelVersion))) == 1
    assert world.jobs() == ["census-a1"]
