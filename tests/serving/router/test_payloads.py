"""The payload log and the labels that come back, read with pyarrow as monitoring reads them."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gyre_serving.router.payloads import log as part_log
from gyre_serving.router.payloads.records import Label


def _rule(root: Path, **more: Any) -> dict[str, Any]:
    rule = {"prefix": f"file://{root}/payloads/m", "feedbackPrefix": f"file://{root}/feedback/m", "flushSeconds": 0.2}
    return {"payloads": {**rule, **more}}


def _parts(root: Path) -> list[pa.Table]:
    return [pq.read_table(path) for path in sorted(root.rglob("*.parquet"))]


def _read(root: Path) -> pa.Table:
    parts = _parts(root)
    return pa.concat_tables(parts) if parts else pa.table({})


async def _written(root: Path, rows: int) -> pa.Table:
    for _ in range(100):
        found = _read(root)
        if found.num_rows >= rows:
            return found
        await asyncio.sleep(0.05)
    raise AssertionError(f"{_read(root).num_rows} of {rows} rows were written")


async def test_one_row_a_prediction(start: Any, models: Any, kit: Any, tmp_path: Path) -> None:
    """Each row of a request is a row of the part: features by column, key, prediction, score, and what decided."""
    router = await start(kit.table(kit.route(await models()), **_rule(tmp_path, labelSample=0)))
    document = kit.rows([60, 1, 2.5], [None, 0, 1], parameters={"keys": ["k1", 7]})
    await router.infer(document, headers={"x-request-id": "q1"})
    rows = (await _written(tmp_path / "payloads", 2)).to_pylist()
    time = rows[0].pop("gyre_time")
    assert time.tzinfo is not None
    assert rows[1].pop("gyre_time") == time
    common = {
        "gyre_request_id": "q1", "gyre_revision": "r1", "gyre_version": "v-r1", "gyre_propensity": 1.0,
        "gyre_label_sample": False,
    }  # fmt: skip
    first = {"age": 60.0, "sex": 1.0, "income": 2.5, "gyre_row": 0, "gyre_key": "k1", "prediction": 1, "score": 0.9}
    second = {"age": None, "sex": 0.0, "income": 1.0, "gyre_row": 1, "gyre_key": "7", "prediction": 1, "score": 0.9}
    assert rows == [first | common, second | common]


async def test_part_names_carry_their_times(start: Any, models: Any, kit: Any, tmp_path: Path) -> None:
    """A part lies under its hour and its name begins with its first and last millisecond."""
    router = await start(kit.table(kit.route(await models()), **_rule(tmp_path)))
    await router.infer(kit.rows([60, 1, 2.5]))
    row = (await _written(tmp_path / "payloads", 1)).to_pylist()[0]
    (path,) = (tmp_path / "payloads" / "m").rglob("*.parquet")
    milliseconds = int(row["gyre_time"].timestamp() * 1000)
    assert path.name.startswith(f"{milliseconds}-{milliseconds}-")
    assert path.parent.name == row["gyre_time"].strftime("%Y-%m-%d-%H")


async def test_one_tensor_a_column(start: Any, models: Any, kit: Any, tmp_path: Path) -> None:
    """Inputs of one value a row are columns of their own names and types."""
    signature = {
        "inputs": [
            {"name": "age", "datatype": "FP32", "shape": [-1, 1]},
            {"name": "job", "datatype": "BYTES", "shape": [-1, 1]},
            {"name": "children", "datatype": "INT32", "shape": [-1, 1]},
        ],
        "outputs": kit.signature["outputs"],
        "prediction": kit.signature["prediction"],
    }
    router = await start(kit.table(kit.route(await models()) | {"signature": signature}, **_rule(tmp_path)))
    tensors = [("age", "FP32", [60.5, None]), ("job", "BYTES", ["cook", "null"]), ("children", "INT32", [2, 0])]
    inputs = [{"name": name, "datatype": kind, "shape": [2, 1], "data": data} for name, kind, data in tensors]
    status, _, _ = await router.infer({"inputs": inputs})
    assert status == 200
    rows = (await _written(tmp_path / "payloads", 2)).to_pylist()
    assert [(row["age"], row["job"], row["children"]) for row in rows] == [(60.5, "cook", 2), (None, "null", 0)]


async def test_v1_and_v2_log_alike(start: Any, models: Any, kit: Any, tmp_path: Path) -> None:
    """A V1 request is logged with the same columns."""
    router = await start(kit.table(kit.route(await models()), **_rule(tmp_path)))
    await router.infer({"instances": [[1, 2, 3]]}, path="/v1/models/m:predict")
    row = (await _written(tmp_path / "payloads", 1)).to_pylist()[0]
    assert (row["age"], row["sex"], row["income"], row["prediction"]) == (1.0, 2.0, 3.0, 0)


async def test_redacted_columns_are_not_there(start: Any, models: Any, kit: Any, tmp_path: Path) -> None:
    """A redacted column is in no part."""
    router = await start(kit.table(kit.route(await models()), **_rule(tmp_path, redact=["income", "gyre_key"])))
    await router.infer(kit.rows([60, 1, 2.5], parameters={"keys": ["secret"]}))
    names = (await _written(tmp_path / "payloads", 1)).column_names
    assert "income" not in names
    assert "gyre_key" not in names
    assert "age" in names


async def test_sample_is_by_request_id(start: Any, models: Any, kit: Any, tmp_path: Path) -> None:
    """With a share of 0.3 about that share of ids is logged, and the same ids again."""
    router = await start(kit.table(kit.route(await models()), **_rule(tmp_path, sample=0.3)))
    for _ in range(2):
        for index in range(300):
            await router.infer(kit.rows([1, 1, 1]), headers={"x-request-id": f"id-{index}"})
    await router.stop()
    ids = _read(tmp_path / "payloads").column("gyre_request_id").to_pylist()
    assert 50 < len(set(ids)) < 130
    assert all(ids.count(one) == 2 for one in set(ids))


async def test_label_sample_is_by_request_id_and_row(start: Any, models: Any, kit: Any, tmp_path: Path) -> None:
    """About the wanted share of rows is marked for labelling; the same rows again, whatever part they stand in."""
    router = await start(kit.table(kit.route(await models()), **_rule(tmp_path, labelSample=0.2)))
    many = kit.rows(*([1, 1, 1] for _ in range(20)))
    for _ in range(2):
        for index in range(30):
            await router.infer(many, headers={"x-request-id": f"id-{index}"})
    await router.stop()
    rows = _read(tmp_path / "payloads").select(["gyre_request_id", "gyre_row", "gyre_label_sample"]).to_pylist()
    marks = [(row["gyre_request_id"], row["gyre_row"]) for row in rows if row["gyre_label_sample"]]
    assert 80 < len(set(marks)) < 165
    assert all(marks.count(one) == 2 for one in set(marks))


async def test_readers_never_see_half_a_part(start: Any, models: Any, kit: Any, tmp_path: Path) -> None:
    """While parts are written as fast as they come, every file that a reader finds is whole; nothing is lost."""
    router = await start(kit.table(kit.route(await models()), **_rule(tmp_path, flushSeconds=0.01)))
    sent = 0
    for _ in range(30):
        await asyncio.gather(*(router.infer(kit.rows([1, 1, 1], [2, 2, 2])) for _ in range(10)))
        sent += 20
        _read(tmp_path)
    assert (await _written(tmp_path / "payloads", sent)).num_rows == sent


async def test_end_of_the_router_writes_what_it_holds(start: Any, models: Any, kit: Any, tmp_path: Path) -> None:
    """Draining writes the rows and labels that were waiting for their age."""
    router = await start(kit.table(kit.route(await models()), **_rule(tmp_path, flushSeconds=600)))
    _, _, headers = await router.infer(kit.rows([1, 1, 1]))
    await router.infer({"id": headers["x-gyre-feedback-id"], "label": 1}, path="/v1/feedback")
    await router.stop()
    assert _read(tmp_path / "payloads").num_rows == 1
    assert _read(tmp_path / "feedback").num_rows == 1


async def test_store_away_costs_no_request_and_no_row(
    start: Any, models: Any, kit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the store refuses, requests go on; once it is back, every row is written."""
    monkeypatch.setattr(part_log, "RETRY_SECONDS", 0.1)
    router = await start(kit.table(kit.route(await models()), **_rule(tmp_path)))
    payloads = tmp_path / "payloads" / "m"
    payloads.rmdir()
    payloads.write_text("a file where the directory was: every PUT fails")
    for _ in range(5):
        assert (await router.infer(kit.rows([1, 1, 1])))[0] == 200
    await asyncio.sleep(0.8)
    assert router.router.recorder.payload_stats["m"].failures > 0
    payloads.unlink()
    assert (await _written(tmp_path / "payloads", 5)).num_rows == 5


async def test_memory_is_bounded_and_drops_are_counted(
    start: Any, models: Any, kit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What does not fit into the log's memory is dropped and counted; the requests are answered."""
    monkeypatch.setattr(part_log, "MEMORY_BYTES", 10_000)
    router = await start(kit.table(kit.route(await models()), **_rule(tmp_path, flushSeconds=600)))
    for _ in range(30):
        assert (await router.infer(kit.rows([1, 1, 1])))[0] == 200
    stats = router.router.recorder.payload_stats["m"]
    assert stats.dropped > 5
    assert stats.accepted + stats.dropped == 30
    await router.stop()
    assert _read(tmp_path / "payloads").num_rows == stats.accepted


async def test_one_odd_record_does_not_spoil_its_part(start: Any, models: Any, kit: Any, tmp_path: Path) -> None:
    """With validation off, a value that fits no column is left out and counted; its neighbours are written."""
    router = await start(kit.table(kit.route(await models()), validation="Off", **_rule(tmp_path, flushSeconds=0.5)))
    good, odd = kit.rows([1, 1, 1]), kit.rows([1, 1, 1])
    odd["inputs"][0]["data"] = [[1, "x", 1]]
    for document in (good, odd, good):
        assert (await router.infer(document))[0] == 200
    await router.stop()
    assert _read(tmp_path / "payloads").num_rows == 2
    assert router.router.recorder.payload_stats["m"].unreadable == 1


async def test_two_signatures_are_two_parts(start: Any, models: Any, kit: Any, tmp_path: Path) -> None:
    """Revisions with different columns never share a part."""
    other = json.loads(json.dumps(kit.signature))
    other["inputs"][0]["columns"] = ["age", "sex", "height"]
    model = await models()
    one, two = kit.route(model, "r1", 50), kit.route(model, "r2", 50) | {"signature": other}
    router = await start(kit.table(one, two, **_rule(tmp_path, flushSeconds=600)))
    for _ in range(40):
        await router.infer(kit.rows([1, 1, 1]))
    await router.stop()
    parts = _parts(tmp_path / "payloads")
    assert sorted("height" in part.column_names for part in parts) == [False, True]
    assert {value for part in parts for value in part.column("gyre_propensity").to_pylist()} == {0.5}


async def test_revision_without_a_signature_costs_no_other_rows(
    start: Any, models: Any, kit: Any, tmp_path: Path
) -> None:
    """What nothing says the columns of is counted as unreadable; the other revision's rows are written."""
    model = await models()
    one, two = kit.route(model, "r1", 50), kit.route(model, "r2", 50) | {"signature": None}
    router = await start(kit.table(one, two, **_rule(tmp_path, flushSeconds=600)))
    for revision in ("r1", "r2", "r1"):
        status, _, _ = await router.infer(kit.rows([1, 1, 1]), path=f"/v2/models/m/versions/v-{revision}/infer")
        assert status == 200
    await router.stop()
    assert _read(tmp_path / "payloads").column("gyre_revision").to_pylist() == ["r1", "r1"]
    stats = router.router.recorder.payload_stats["m"]
    assert (stats.written, stats.unreadable, stats.dropped) == (2, 1, 0)


async def test_labels_are_stored_and_the_first_wins(start: Any, models: Any, kit: Any, tmp_path: Path) -> None:
    """A label is stored by request id and row; a second one is stored too, but marked and said to not count."""
    router = await start(kit.table(kit.route(await models()), **_rule(tmp_path)))
    _, _, headers = await router.infer(kit.rows([1, 1, 1], [2, 2, 2]), headers={"x-request-id": "q1"})
    issued = headers["x-gyre-feedback-id"]
    items = [
        {"id": f"{issued}#0", "label": 1, "time": "2026-01-31T12:00:00Z"},
        {"id": f"{issued}#1", "label": False},
        {"id": issued, "label": 0},
    ]
    status, answer, _ = await router.infer(items, path="/v1/feedback")
    assert status == 200
    assert [result["status"] for result in answer["results"]] == ["accepted", "accepted", "repeated"]
    rows = sorted(
        (await _written(tmp_path / "feedback", 3)).to_pylist(), key=lambda row: (row["gyre_row"], -row["label"])
    )
    assert [(row["gyre_request_id"], row["gyre_row"], row["label"], row["gyre_first"]) for row in rows] == [
        ("q1", 0, 1.0, True),
        ("q1", 0, 0.0, False),
        ("q1", 1, 0.0, True),
    ]
    assert rows[0]["gyre_label_time"].isoformat() == "2026-01-31T12:00:00+00:00"


async def test_text_labels_are_stored(start: Any, models: Any, kit: Any, tmp_path: Path) -> None:
    """Labels may be words."""
    router = await start(kit.table(kit.route(await models()), **_rule(tmp_path)))
    _, _, headers = await router.infer(kit.rows([1, 1, 1]))
    await router.infer({"id": headers["x-gyre-feedback-id"], "label": "spam"}, path="/v1/feedback")
    assert (await _written(tmp_path / "feedback", 1)).column("label").to_pylist() == ["spam"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param({"id": "q1"}, "id: this router's namespace did not issue it", id="plain-request-id"),
        pytest.param({"id": None}, "id: this router's namespace did not issue it", id="no-id"),
        pytest.param({"label": None}, "label: give a number", id="no-label"),
        pytest.param({"label": [1]}, "label: give a number", id="list-label"),
        pytest.param({"label": "x" * 2000}, "label: give a number", id="long-label"),
        pytest.param({"time": "yesterday"}, "time: give RFC 3339", id="bad-time"),
        pytest.param({"time": "2026-01-31T12:00:00"}, "time: give RFC 3339 with a zone", id="no-zone"),
    ],
)
async def test_bad_feedback(
    start: Any, models: Any, kit: Any, tmp_path: Path, *, change: dict[str, Any], words: str
) -> None:
    """A label that cannot count is refused with the field and the cure, and nothing is stored."""
    router = await start(kit.table(kit.route(await models()), **_rule(tmp_path)))
    _, _, headers = await router.infer(kit.rows([1, 1, 1]))
    item = {"id": headers["x-gyre-feedback-id"], "label": 1} | change
    status, answer, _ = await router.infer(item, path="/v1/feedback")
    assert status == 400
    assert words in answer["results"][0]["reason"]
    await router.stop()
    assert _read(tmp_path / "feedback").num_rows == 0


async def test_forged_ids_are_refused(start: Any, models: Any, kit: Any, tmp_path: Path) -> None:
    """Any one character of an issued id changed, in any part, makes it count for nothing."""
    router = await start(kit.table(kit.route(await models()), **_rule(tmp_path)))
    _, _, headers = await router.infer(kit.rows([1, 1, 1]), headers={"x-request-id": "abcdef"})
    issued = headers["x-gyre-feedback-id"]
    forged = [issued[:i] + ("0" if issued[i] != "0" else "1") + issued[i + 1 :] for i in range(len(issued))]
    status, answer, _ = await router.infer([{"id": one, "label": 1} for one in forged], path="/v1/feedback")
    assert status == 400
    assert {result["status"] for result in answer["results"]} == {"refused"}
    status, _, _ = await router.infer({"id": issued, "label": 1}, path="/v1/feedback")
    assert status == 200


async def test_other_router_of_the_namespace_takes_the_label(start: Any, models: Any, kit: Any, tmp_path: Path) -> None:
    """Two routers with one key know each other's ids; one with another key does not."""
    text = kit.table(kit.route(await models()), **_rule(tmp_path))
    first, second, stranger = await start(text), await start(text), await start(text, feedback_key="another")
    _, _, headers = await first.infer(kit.rows([1, 1, 1]))
    item = {"id": headers["x-gyre-feedback-id"], "label": 1}
    assert (await stranger.infer(item, path="/v1/feedback"))[0] == 400
    assert (await second.infer(item, path="/v1/feedback"))[0] == 200


def test_labels_are_small() -> None:
    """A label's size counts its text, so that a storm of long ones is bounded too."""
    short, long = (Label(request_id="q", row=0, label=text, time_us=0, first=True) for text in ("a", "a" * 1000))
    assert long.size() - short.size() == 999
