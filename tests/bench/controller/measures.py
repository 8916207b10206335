"""The rows: lives, rest, burst, restart. Each measures Gyre and its peer on the same control plane."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from gyre_operators.engine.kinds import JOB, POD, Kind
from tests.bench.controller import objects, program
from tests.bench.controller.kinds import NAIVE
from tests.bench.controller.program import Usage
from tests.bench.controller.site import TRAINING_JOB, Site, Write, until

PACE = 0.05
"""Seconds between two objects of the row of lives: a job's changes are then not drowned in others'."""
GYRE, PEER, CLIENT = "gyre-operator", "naive-operator", "bench"


@dataclass(frozen=True)
class Life:
    """The mean cost of one job's life."""

    cpu: float
    """Milliseconds."""
    writes: float
    kinds: str
    """Which writes, for one job."""


async def gyre_life(site: Site, folder: Path, namespace: str, jobs: int, rest: float) -> tuple[Life, int, float]:
    """Gyre's lives, then rest: the life, writes at rest, and CPU milliseconds a second at rest."""
    async with program.gyre(site, folder, namespace) as operator:
        await program.ready(operator)
        used = Usage(operator.pid)
        await used.settled()

        async def one(number: int) -> None:
            body = await site.ask("POST", TRAINING_JOB.path(namespace), objects.training_job(f"job-{number}"))
            objects.publish(folder / "store", body, number)

        life = await _lives(site, used, (TRAINING_JOB, namespace), jobs, one)
        before = used.cpu()
        await asyncio.sleep(rest)
        writes = [write for write in site.writes() if write.agent == GYRE]
        return life, len(writes), (used.cpu() - before) / rest * 1000


async def naive_life(site: Site, folder: Path, namespace: str, jobs: int) -> Life:
    """The peer's lives."""
    async with program.naive(site, folder, namespace) as used:
        await used.settled()

        async def one(number: int) -> None:
            await site.ask("POST", NAIVE.path(namespace), objects.naive(f"job-{number}"))

        return await _lives(site, used, (NAIVE, namespace), jobs, one)


async def _lives(
    site: Site, used: Usage, what: tuple[Kind, str], jobs: int, one: Callable[[int], Awaitable[None]]
) -> Life:
    kind, namespace = what
    site.writes()
    before = used.cpu()
    for number in range(jobs):
        await one(number)
        await asyncio.sleep(PACE)

    async def ended() -> bool:
        return all(_state(body) == "Succeeded" for body in await site.items(kind, namespace))

    await until(ended, 120 + jobs, f"{jobs} {kind.plural} succeeded", every=1)
    after = await used.settled()
    writes = [write for write in site.writes() if write.agent in (GYRE, PEER) or write.agent.startswith("kopf")]
    counted = Counter(f"{write.verb} {write.what}" for write in writes)
    kinds = ", ".join(f"{what} {count / jobs:.2g}" for what, count in counted.most_common())
    return Life((after - before) / jobs * 1000, len(writes) / jobs, kinds)


def _state(body: Any) -> str:
    state = (body.get("status") or {}).get("state", "")
    if state == "Failed":
        raise RuntimeError(f"{body['metadata']['name']} failed: {body['status']}")
    return str(state)


# A burst.


async def bare_burst(site: Site, namespace: str, jobs: int) -> float:
    """Jobs/s of a client that creates the very Jobs that Gyre makes."""
    bodies = [objects.bare(f"job-{number}") for number in range(jobs)]
    return await _burst(site, JOB, namespace, bodies, CLIENT)


async def gyre_burst(site: Site, folder: Path, namespace: str, jobs: int) -> float:
    """TrainingJobs/s from the first object to the last child."""
    async with program.gyre(site, folder, namespace) as operator:
        await program.ready(operator)
        await Usage(operator.pid).settled()
        bodies = [objects.training_job(f"job-{number}", lasts="2h") for number in range(jobs)]
        return await _burst(site, TRAINING_JOB, namespace, bodies, GYRE)


async def naive_burst(site: Site, folder: Path, namespace: str, jobs: int) -> float:
    """The peer's objects/s from the first object to the last child."""
    async with program.naive(site, folder, namespace) as used:
        await used.settled()
        bodies = [objects.naive(f"job-{number}", lasts="2h") for number in range(jobs)]
        return await _burst(site, NAIVE, namespace, bodies, PEER)


async def _burst(site: Site, kind: Kind, namespace: str, bodies: list[Any], maker: str) -> float:
    site.writes()
    await site.create(kind, namespace, bodies)
    await _as_many(site, JOB, namespace, len(bodies))
    writes = [write for write in site.writes() if write.namespace == namespace and write.verb == "create"]
    began = min(_times(writes, CLIENT, kind))
    last = max(_times(writes, maker, JOB))
    # What follows must not run beside this burst's pods being made.
    await _as_many(site, POD, namespace, len(bodies))
    return len(bodies) / (last - began)


def _times(writes: Iterable[Write], agent: str, kind: Kind) -> list[float]:
    return [write.at for write in writes if write.agent == agent and write.what == kind.plural]


async def _as_many(site: Site, kind: Kind, namespace: str, wanted: int) -> None:
    async def there() -> bool:
        return await site.count(kind, namespace) >= wanted

    await until(there, 120 + wanted, f"{wanted} {kind.plural} in {namespace}", every=0.5)


# A restart.


@asynccontextmanager
async def _quiet(site: Site) -> AsyncIterator[None]:
    """Without scheduler and Job controller, which would act on what is only laid out."""
    programs = ("kube-scheduler", "kube-controller-manager")
    for name in programs:
        site.plane.stop_program(name)
    try:
        yield
    finally:
        for name in reversed(programs):
            site.plane.start_program(name)


async def restart(site: Site, folder: Path, seed: str, namespace: str, jobs: int) -> tuple[float, float, int]:
    """Start over `jobs` finished TrainingJobs with two pods each: CPU seconds and peak MB until settled, writes.

    `seed` is the namespace of the row of lives: its first job is what all of them look like.
    """
    async with _quiet(site):
        job = await site.ask("GET", TRAINING_JOB.path(seed, "job-0"))
        child = await site.ask("GET", JOB.path(seed, "job-0-a1"))
        pod = next(each for each in await site.items(POD, seed) if each["metadata"]["name"].startswith("job-0-a1-"))
        seeds = objects.Seeds(job, child, pod)
        await site.many([partial(_lay_out, site, namespace, seeds, number) for number in range(jobs)])
        site.writes()
        async with program.gyre(site, folder, namespace) as operator:
            await program.ready(operator)
            used = Usage(operator.pid)
            cpu = await used.settled()
            return cpu, used.peak(), sum(write.agent == GYRE for write in site.writes())


async def _lay_out(site: Site, namespace: str, seeds: objects.Seeds, number: int) -> None:
    """One finished TrainingJob with its Job and two pods."""
    name = f"job-{number}"

    async def put(kind: Kind, body: dict[str, Any], status: dict[str, Any]) -> Any:
        made = await site.ask("POST", kind.path(namespace), body)
        await site.ask("PATCH", kind.path(namespace, body["metadata"]["name"], "status"), {"status": status})
        return made

    job = await site.ask("POST", TRAINING_JOB.path(namespace), objects.training_job(name))
    child = await put(JOB, seeds.child_of(job), seeds.child["status"])
    status = seeds.status_with(child)
    await site.ask("PATCH", TRAINING_JOB.path(namespace, name, "status"), {"status": status})
    for index in range(2):
        await put(POD, seeds.pod_of(job, child, index), seeds.pod["status"])
