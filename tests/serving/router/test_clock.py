"""A router whose wall clock jumps by an hour, forth or back: what is measured is measured on another clock."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import aiohttp
import pyarrow.parquet as pq
import pytest

from tests.serving.support.clock import Clock

HOUR = 3600


async def _ask(session: aiohttp.ClientSession, url: str, document: Any) -> tuple[int, Any, Any]:
    async with session.post(url, data=json.dumps(document)) as answer:
        return answer.status, json.loads(await answer.read()), answer.headers


def _rows(root: Path) -> list[dict[str, Any]]:
    return [row for path in root.rglob("*.parquet") for row in pq.read_table(path).to_pylist()]


async def _written(root: Path, many: int) -> list[dict[str, Any]]:
    last = time.monotonic() + 60
    while len(found := await asyncio.to_thread(_rows, root)) < many:
        assert time.monotonic() < last, f"{len(found)} rows were written of {many}: {found}"
        await asyncio.sleep(0.1)
    return found


@pytest.mark.parametrize("step", [pytest.param(HOUR, id="forth"), pytest.param(-HOUR, id="back")])
async def test_jump_of_an_hour_changes_no_duration(
    launch: Any, models: Any, kit: Any, tmp_path: Path, step: int
) -> None:
    """Deadline, cache, ejection and the age of a part go by elapsed time; rows and labels tell the wall clock's.

    A request that is under way is answered, a kept answer is as old as it is, a pod that failed is left alone
    for a second and no hour, and parts come on time.
    """
    clock = Clock(tmp_path)
    asked, failing = await models(delay=0.6), await models()
    rule = {"prefix": f"file://{tmp_path}/log", "feedbackPrefix": f"file://{tmp_path}/labels", "flushSeconds": 1}
    revisions = kit.route(asked, "r1"), kit.route(failing, "r2", 0)
    table = kit.table(*revisions, payloads=rule, cache={"ttlSeconds": 60}, limits={"timeoutSeconds": 2})
    router = launch(table, **clock.environment)
    url, other = f"{router.url}/v2/models/m/infer", f"{router.url}/v2/models/m/versions/v-r2/infer"
    async with aiohttp.ClientSession() as session:
        first = await _ask(session, url, kit.rows([60, 1, 1]))
        failing.kill()
        assert (await _ask(session, other, kit.rows([1, 1, 1])))[0] == 502
        ejected = time.monotonic()
        under_way = asyncio.create_task(_ask(session, url, kit.rows([61, 1, 1])))
        while sum(head["method"] == "POST" for head in asked.heads) < 2:  # noqa: ASYNC110  the model sets no event
            await asyncio.sleep(0.01)
        clock.step(step)
        assert (await _ask(session, other, kit.rows([1, 1, 1])))[0] == 503 or time.monotonic() > ejected + 1
        assert (await under_way)[0] == 200

        status, _, headers = await _ask(session, url, kit.rows([60, 1, 1]))
        assert (status, headers["x-gyre-cache"]) == (200, "hit")
        assert int(headers["age"]) < 30
        assert (await _ask(session, url, kit.rows([62, 1, 1])))[0] == 200
        await failing.start()
        for _ in range(100):
            status, _, _ = await _ask(session, other, kit.rows([1, 1, 1]))
            if status == 200:
                break
            await asyncio.sleep(0.05)
        assert status == 200
        label = {"id": first[2]["x-gyre-feedback-id"], "label": 1}
        assert (await _ask(session, f"{router.url}/v1/feedback", label))[0] == 200

        stepped = time.time() + step
        rows = await _written(tmp_path / "log", 5)
        (labelled,) = await _written(tmp_path / "labels", 1)
    ages = sorted(round((row["gyre_time"].timestamp() - stepped) / HOUR) for row in rows)
    assert ages == sorted([-step // HOUR] * 2 + [0] * 3)
    assert round((labelled["gyre_label_time"].timestamp() - stepped) / HOUR) == 0
