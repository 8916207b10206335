"""A store directory whose disk is full, and more labels than it takes."""

import asyncio
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from gyre_serving.router.payloads import log as part_log
from tests.serving.support import disk


def _rule(root: Path) -> dict[str, Any]:
    return {
        "payloads": {
            "prefix": f"file://{root}/payloads/m",
            "feedbackPrefix": f"file://{root}/feedback/m",
            "flushSeconds": 0.1,
        }
    }


def _rows(root: Path) -> list[dict[str, Any]]:
    """All rows; a part that a reader cannot read raises."""
    return [row for path in root.rglob("*.parquet") for row in pq.read_table(path).to_pylist()]


async def _until(condition: Any, seconds: float = 15) -> None:
    for _ in range(int(seconds / 0.05)):
        if condition():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it never came")


async def test_full_disk_costs_no_request_and_no_row(
    start: Any, models: Any, kit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While no byte fits, requests are answered and no half part lies there; with room again every row is written."""
    monkeypatch.setattr(part_log, "RETRY_SECONDS", 0.1)
    with disk.small(tmp_path / "store", 256) as store:
        router = await start(kit.table(kit.route(await models()), **_rule(store)))
        assert (await router.infer(kit.rows([1, 1, 1])))[0] == 200
        await _until(lambda: len(_rows(store / "payloads")) == 1)
        ballast = store / "ballast"
        disk.fill(ballast)
        for _ in range(5):
            assert (await router.infer(kit.rows([1, 1, 1])))[0] == 200
        stats = router.router.recorder.payload_stats["m"]
        await _until(lambda: stats.failures > 1)
        assert len(_rows(store / "payloads")) == 1
        ballast.unlink()
        await _until(lambda: len(_rows(store / "payloads")) == 6)
        assert (stats.accepted, stats.written, stats.dropped) == (6, 6, 0)
        left = [path.name for path in (store / "payloads").rglob("*") if path.is_file()]
        assert all(name.endswith(".parquet") for name in left)
        await router.stop()


async def test_a_storm_of_labels_is_bounded_told_and_costs_no_prediction(
    start: Any, models: Any, kit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond its memory a label is answered 503; sent again it is the first one still, and each is stored once."""
    monkeypatch.setattr(part_log, "MEMORY_BYTES", 60_000)
    router = await start(kit.table(kit.route(await models()), **_rule(tmp_path)))
    _, _, headers = await router.infer(kit.rows([1, 1, 1]), headers={"x-request-id": "storm"})
    issued = headers["x-gyre-feedback-id"]
    labels = [{"id": f"{issued}#{row}", "label": row} for row in range(4000)]
    answers: dict[str, str] = {}
    codes: set[int] = set()

    async def send(items: list[dict[str, Any]]) -> None:
        for at in range(0, len(items), 100):
            status, said, _ = await router.infer(items[at : at + 100], path="/v1/feedback")
            codes.add(status)
            answers.update({result["id"]: result["status"] for result in said["results"]})

    storm = [asyncio.create_task(send(labels[first::8])) for first in range(8)]
    predicted = [(await router.infer(kit.rows([1, 1, 1])))[0] for _ in range(20)]
    await asyncio.gather(*storm)
    assert set(predicted) == {200}
    assert codes == {200, 503}
    assert router.router.recorder.logs("m").labels.waiting() <= 60_000
    for _ in range(200):
        again = [label for label in labels if answers[str(label["id"])] == "dropped"]
        if not again:
            break
        await send(again)
        await asyncio.sleep(0.05)
    assert set(answers.values()) == {"accepted"}
    await router.stop()
    found = _rows(tmp_path / "feedback")
    assert sorted(row["gyre_row"] for row in found) == list(range(4000))
    assert all(row["gyre_first"] for row in found)
