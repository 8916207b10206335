"""A hundred kills of the operator while drift is being turned into retrainings."""

import asyncio
import random
from pathlib import Path

import pytest

from tests.integration.engine.harness import until
from tests.integration.engine.proxy import Proxy
from tests.integration.faults.axe import Axe
from tests.integration.faults.kubelet import Kubelet
from tests.integration.faults.losses import Losses
from tests.integration.faults.nursery import ForkedOperator
from tests.integration.faults.s3 import S3Server
from tests.integration.faults.story import PATIENCE, first_version
from tests.integration.loop.street import Street
from tests.operators.mlflow.server import MlflowServer

pytestmark = pytest.mark.cluster

_KILLS = 100
_SEED = 20261121
_QUIET = 2.0
"""Seconds beyond a whole decision's after which no write is left to be killed at."""


async def test_hundred_kills_make_one_training_of_each_report(
    street: Street, proxy: Proxy, mlflow: MlflowServer, s3: S3Server, tmp_path: Path
) -> None:
    """Killed -9 a hundred times between a DriftReport and its retraining: one TrainingJob, one decision.

    Varied over five reports in a row, each of which proves a loss that pays. For the first and the second,
    the operator dies before and after each of its writes in turn (the report's status, the Model's with
    the intent, the TrainingJob, and on to the attempt's Job), the report coming while it is down and while
    it is up. For the others it dies by the clock, once in each slice of the measured time from its start
    to the decision's end, drawn with a fixed seed: the slices in order, shuffled, and in order again with
    other draws.
    """
    operator = ForkedOperator(
        tmp_path,
        proxy.url,
        street.cluster.namespace,
        environment=s3.environment,
        store={"uri": "s3://gyre", "endpoint": s3.endpoint},
        mlflow={"url": mlflow.url},
    )
    kubelet, dice, losses = Kubelet(street, s3), random.Random(_SEED), Losses(street)  # noqa: S311  no secret
    async with operator, kubelet.at_work():
        await operator.start()
        losses.version = await first_version(street, kubelet)
        await losses.report("alarm")
        await until(lambda: losses.is_answered("alarm"), PATIENCE, "the alarm's answer")
        await operator.kill()
        took = await _survived(operator, losses, "undisturbed", trainings=1)
        axe, operator.kills = Axe(operator, proxy), 0

        await losses.report("written-down")
        await _around_writes(operator, axe, losses, "written-down", took)
        await _survived(operator, losses, "written-down", trainings=2)

        await operator.start()
        coming = asyncio.create_task(losses.report("written-up"))
        await _around_writes(operator, axe, losses, "written-up", took)
        await coming
        await _survived(operator, losses, "written-up", trainings=3)
        assert operator.kills >= 20, "a decision has more writes than were found"

        for number, name in enumerate(("clock-a", "clock-b", "clock-c")):
            lives = (_KILLS - operator.kills) // (3 - number)
            moments = [took * (slice_ + dice.random()) / lives for slice_ in range(lives)]
            if name == "clock-b":
                dice.shuffle(moments)
            await losses.report(name)
            for moment in moments:
                await operator.start()
                await asyncio.sleep(moment)
                await operator.kill()
                await losses.watch(name)
            await _survived(operator, losses, name, trainings=4 + number)
        assert operator.kills >= _KILLS


async def _survived(operator: ForkedOperator, losses: Losses, name: str, *, trainings: int) -> float:
    """The next operator lives until all is done, and is then put away; the seconds that it took."""
    if name == "undisturbed":
        await losses.report(name)
    await operator.start()
    took = await until(lambda: losses.is_answered(name), PATIENCE, f"what comes of {name}")
    await losses.check(name, trainings)
    await _put_away(operator)
    await losses.clear(name)
    return took


async def _around_writes(operator: ForkedOperator, axe: Axe, losses: Losses, name: str, took: float) -> None:
    """Each life ends at its first write, until one finds none."""

    async def look() -> bool:
        await losses.watch(name)
        return False

    await axe.every_write(look, took + _QUIET, lambda: losses.is_answered(name))
    await _put_away(operator)


async def _put_away(operator: ForkedOperator) -> None:
    """End an operator that is at rest, uncounted."""
    kills = operator.kills
    await operator.kill()
    operator.kills = kills
