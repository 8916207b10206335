"""A real S3 server that is away for a while, or whose disk of two MiB is full."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from gyre_serving.router import app
from gyre_serving.router.payloads import log as part_log
from tests.serving.support import disk
from tests.serving.support.s3 import rows, served
from tests.serving.support.triton import free_port

PAYLOADS, LABELS = "s3://gyre/full/payloads/m", "s3://gyre/full/feedback/m"
RULE = {"payloads": {"prefix": PAYLOADS, "feedbackPrefix": LABELS, "flushSeconds": 0.1}}


async def _until(condition: Any) -> None:
    for _ in range(400):
        if await asyncio.to_thread(condition):
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it never came")


async def test_full_s3_costs_no_request_and_what_fits_into_memory_comes_later(  # noqa: PLR0917  fixtures
    start: Any, models: Any, kit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    """Requests and labels go on, the log says why nothing is written, drops are counted, and no half part lies there.

    With room again, every row and label that was taken is written, each once.
    """
    monkeypatch.setattr(part_log, "RETRY_SECONDS", 0.2)
    monkeypatch.setattr(part_log, "MEMORY_BYTES", 20_000)
    with disk.small(tmp_path / "disk", 2048) as place, served(place / "s3", tmp_path / "meta") as s3:
        for name, value in s3.items():
            monkeypatch.setenv(name, value)
        router = await start(kit.table(kit.route(await models()), **RULE))
        _, _, headers = await router.infer(kit.rows([1, 1, 1]))
        await _until(lambda: len(rows(PAYLOADS, s3)) == 1)

        ballast = place / "ballast"
        disk.fill(ballast)
        answers = [await router.infer(kit.rows(*[[1, 1, 1]] * 4)) for _ in range(60)]
        assert {status for status, _, _ in answers} == {200}
        label = {"id": headers["x-gyre-feedback-id"], "label": 1}
        assert (await router.infer(label, path="/v1/feedback"))[0] == 200
        logs = router.router.recorder.logs("m")
        await _until(lambda: logs.payloads.stats.failures > 1 and logs.labels.stats.failures > 1)
        assert "wait for the store, which answers 507 Insufficient Storage" in caplog.text
        assert len(rows(PAYLOADS, s3)) == 1
        assert not rows(LABELS, s3)
        stats = logs.payloads.stats
        assert stats.dropped > 0
        assert logs.payloads.waiting() <= 20_000

        ballast.unlink()
        await _until(lambda: not logs.payloads.waiting() and not logs.labels.waiting())
        await router.stop()
        found = [(row["gyre_request_id"], row["gyre_row"]) for row in rows(PAYLOADS, s3)]
        assert len(found) == 1 + 4 * (stats.accepted - 1)
        assert len(set(found)) == len(found)
        assert len(rows(LABELS, s3)) == 1


async def test_s3_that_goes_away_costs_no_request_and_no_row(
    start: Any, models: Any, kit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While nobody listens, requests and labels go on; when the server is back, each is written once."""
    monkeypatch.setattr(part_log, "RETRY_SECONDS", 0.2)
    place, port = (tmp_path / "s3", tmp_path / "meta"), free_port()
    with served(*place, port) as s3:
        for name, value in s3.items():
            monkeypatch.setenv(name, value)
        router = await start(kit.table(kit.route(await models()), **RULE))
        _, _, headers = await router.infer(kit.rows([1, 1, 1]))
        await _until(lambda: len(rows(PAYLOADS, s3)) == 1)
    for _ in range(5):
        assert (await router.infer(kit.rows([1, 1, 1])))[0] == 200
    label = {"id": headers["x-gyre-feedback-id"], "label": 1}
    assert (await router.infer(label, path="/v1/feedback"))[0] == 200
    logs = router.router.recorder.logs("m")
    await _until(lambda: logs.payloads.stats.failures > 0 and logs.labels.stats.failures > 0)
    with served(*place, port):
        await _until(lambda: len(rows(PAYLOADS, s3)) == 6 and len(rows(LABELS, s3)) == 1)
        await router.stop()
        assert len({row["gyre_request_id"] for row in rows(PAYLOADS, s3)}) == 6


async def test_router_that_ends_waits_for_a_store_that_comes_back(
    start: Any, models: Any, kit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is held when a router ends is offered again while there is time, and not once to a store that restarts."""
    place, port = (tmp_path / "s3", tmp_path / "meta"), free_port()
    rule = {"payloads": RULE["payloads"] | {"flushSeconds": 600}}
    with served(*place, port) as s3:
        for name, value in s3.items():
            monkeypatch.setenv(name, value)
        router = await start(kit.table(kit.route(await models()), **rule))
        assert (await router.infer(kit.rows([1, 1, 1])))[0] == 200
    ending = asyncio.create_task(router.stop())
    logs = router.router.recorder.logs("m")
    await _until(lambda: logs.payloads.stats.failures > 0)
    with served(*place, port):
        await ending
        assert len(rows(PAYLOADS, s3)) == 1


async def test_what_a_router_has_no_time_to_write_is_told(  # noqa: PLR0917  fixtures
    start: Any, models: Any, kit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    """Rows that are still being encoded when the time is over are lost, and the log says so."""
    monkeypatch.setattr(app, "STORE_SECONDS", 0.1)
    rule = {"prefix": f"file://{tmp_path}/log", "feedbackPrefix": f"file://{tmp_path}/labels", "flushSeconds": 600}
    router = await start(kit.table(kit.route(await models()), payloads=rule))
    assert (await router.infer(kit.rows([1, 1, 1])))[0] == 200
    may_go = threading.Event()
    monkeypatch.setattr(router.router.recorder.logs("m").payloads, "_encoded", lambda _items: may_go.wait(30) and [])
    await router.stop()
    may_go.set()
    assert "bytes of logs were not written in 0.1 s; they are lost" in caplog.text
