"""Many rows in one call: cut, asked side by side, put together in order, and every failing row named."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from gyre_serving.router import relay, rows
from gyre_serving.router.message import Refusal
from gyre_serving.router.rows import Answers, Rows

BATCH = "/v2/models/m/batch"


def _many(kit: Any, count: int, **more: Any) -> dict[str, Any]:
    """Rows of which each third is a 1."""
    made: dict[str, Any] = kit.rows(*([60 if row % 3 == 0 else 20, row, 1] for row in range(count)), **more)
    return made


def _labels(count: int) -> list[int]:
    """What the model says of them."""
    return [int(row % 3 == 0) for row in range(count)]


def _rule(**more: Any) -> dict[str, Any]:
    """A service whose model takes eight rows."""
    return {"batch": {"rows": 8, **more}}


async def _counts(router: Any) -> dict[str, Any]:
    """The counters by revision."""
    found: dict[str, Any] = (await router.get_control("/v1/counters"))["services"]["m"]
    return found


async def test_rows_come_back_in_their_order(start: Any, models: Any, kit: Any) -> None:
    """Cut to what the model takes, one answer of the V2 form, each part counted once."""
    model = await models()
    router = await start(kit.table(kit.route(model), **_rule()))
    status, answer, headers = await router.infer(_many(kit, 35, id="mine"), path=BATCH, headers={"x-request-id": "b"})
    assert status == 200
    assert answer["outputs"][0] == {"name": "label", "datatype": "INT64", "shape": [35], "data": _labels(35)}
    assert answer["outputs"][1]["shape"] == [35, 2]
    assert answer["outputs"][1]["data"][:4] == [0.1, 0.9, 0.8, 0.2]
    assert (answer["id"], answer["model_version"], answer["rows"], answer["errors"]) == ("mine", "1", 35, [])
    assert sorted(one["inputs"][0]["shape"][0] for one in model.requests) == [3, 8, 8, 8, 8]
    assert sorted(head["x-request-id"] for head in model.heads) == ["b.0", "b.16", "b.24", "b.32", "b.8"]
    assert (headers["x-request-id"], headers["x-gyre-revision"]) == ("b", "r1")
    counts = (await _counts(router))["r1"]
    assert (counts["requests"], counts["errors"], counts["directed"]) == (5, 0, 0)


async def test_sequences_are_not_cut(start: Any, models: Any, kit: Any) -> None:
    """A model whose answers depend on what was asked before gets no batch; the same rows one by one it answers."""
    model = await models()
    router = await start(kit.table(kit.route(model), sequences=True))
    status, answer, _ = await router.infer(_many(kit, 2), path=BATCH)
    assert (status, answer["error"]) == (
        400,
        "m answers sequences, whose order a batch would lose; ask one by one with /infer",
    )
    assert not model.requests
    assert (await router.infer(_many(kit, 1)))[0] == 200


@pytest.mark.parametrize(
    ("bad", "asked"),
    [
        pytest.param({13: 500}, 3 + 2 * 3, id="one row of eight takes two halves three times"),
        pytest.param({0: 400, 23: 500}, 3 + 2 * 2 * 3, id="rows of two parts"),
        pytest.param(dict.fromkeys(range(8, 16), 500), 3 + 14, id="a whole part"),
    ],
)
async def test_failing_rows_are_named_with_the_models_words(
    start: Any, models: Any, kit: Any, bad: dict[int, int], asked: int
) -> None:
    """The neighbours have their answers, the extra requests are bounded, and each part counts once as evidence."""
    model = await models()
    model._answer = _refusing(model._answer, bad)
    router = await start(kit.table(kit.route(model), **_rule(concurrency=1)))
    status, answer, _ = await router.infer(_many(kit, 24), path=BATCH)
    assert status == 200
    assert answer["errors"] == [
        {"row": row, "status": status, "error": f"row {row} is bad"} for row, status in sorted(bad.items())
    ]
    assert answer["outputs"][0]["data"] == [None if row in bad else label for row, label in enumerate(_labels(24))]
    assert len(model.heads) == asked
    counts = (await _counts(router))["r1"]
    assert counts["requests"] - counts["directed"] == 3
    assert counts["errors"] - counts["directedErrors"] <= 2


def _refusing(answer: Any, bad: dict[int, int]) -> Any:
    """A model that fails on some rows, by the number in their second column."""

    def answered(headers: dict[str, str], body: bytes) -> tuple[int, Any]:
        for row in json.loads(body)["inputs"][0]["data"]:
            if row[1] in bad:
                return bad[row[1]], {"error": f"row {row[1]} is bad"}
        return answer(headers, body)  # type: ignore[no-any-return]

    return answered


async def test_search_for_bad_rows_ends(start: Any, models: Any, kit: Any) -> None:
    """A model that fails on everything is not asked about every row."""
    model = await models(status=500)
    router = await start(kit.table(kit.route(model), batch={"rows": 512}))
    status, answer, _ = await router.infer(_many(kit, 512), path=BATCH)
    assert (status, answer["error"], len(answer["errors"])) == (500, "asked to fail", 512)
    assert len(model.heads) == 1 + 128


async def test_rows_that_do_not_fit_the_signature_are_not_asked(start: Any, models: Any, kit: Any) -> None:
    """They are named without asking the model; what no row could mend is one refusal of the call."""
    model = await models()
    router = await start(kit.table(kit.route(model), **_rule()))
    document = _many(kit, 16)
    document["inputs"][0]["data"][5][2] = "text"
    status, answer, _ = await router.infer(document, path=BATCH)
    assert status == 200
    assert [(error["row"], error["status"]) for error in answer["errors"]] == [(5, 400)]
    assert "takes numbers or null, got strings" in answer["errors"][0]["error"]
    assert sum(one["inputs"][0]["shape"][0] for one in model.requests) == 15
    document["inputs"][0]["datatype"] = "INT64"
    status, answer, _ = await router.infer(document, path=BATCH)
    assert (status, answer["error"]) == (400, "input 'features': datatype FP32 is wanted, got INT64")
    assert (await _counts(router))["r1"]["errors"] == 0


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(("{", 400, "the body is no JSON"), id="no JSON"),
        pytest.param(({}, 400, '"inputs": give a list'), id="no inputs"),
        pytest.param(({"inputs": [{"shape": [1]}]}, 400, "each needs a name"), id="an input without a name"),
        pytest.param(({"inputs": [{"name": "a", "shape": [1]}]}, 400, "give its data as a list"), id="no data"),
        pytest.param(
            ({"inputs": [{"name": "a", "shape": [], "data": [1]}]}, 400, "first size is the rows"), id="no rows"
        ),
        pytest.param(
            ({"inputs": [{"name": "a", "shape": [1] * 33, "data": [1]}]}, 400, "at most 32 sizes"), id="too many sizes"
        ),
        pytest.param(({"inputs": [{"name": "a", "shape": [2, 3], "data": [1]}]}, 400, "does not fit its 1"), id="gaps"),
        pytest.param(({"inputs": [{"name": "a", "shape": [0, 3], "data": []}]}, 400, "takes 1 to 20 rows"), id="empty"),
        pytest.param(({"inputs": [{"name": "a", "shape": [21], "data": [1] * 21}]}, 413, "got 21"), id="too many rows"),
        pytest.param(
            (
                {"inputs": [{"name": n, "shape": [s], "data": [1] * s} for n, s in (("a", 2), ("b", 3))]},
                400,
                "input 'b' has 3 rows",
            ),
            id="inputs of different length",
        ),
        pytest.param(
            (
                {"inputs": [{"name": "a", "shape": [2], "data": [1, 2]}], "parameters": {"keys": ["x"]}},
                400,
                "one key a row, 2 in all",
            ),
            id="too few keys",
        ),
    ],
)
async def test_bad_calls_are_one_sentence(start: Any, models: Any, kit: Any, case: tuple[Any, int, str]) -> None:
    """Nothing is asked, and the sentence names what to change."""
    document, status, sentence = case
    model = await models()
    router = await start(kit.table(kit.route(model, signature=None), **_rule(maxRows=20)))
    body = document if isinstance(document, str) else json.dumps(document)
    async with router.session.post(router.url + BATCH, data=body) as answer:
        assert answer.status == status
        assert sentence in json.loads(await answer.read())["error"]
    assert model.heads == []


async def test_infinity_is_no_missing_value(start: Any, models: Any, kit: Any) -> None:
    """Neither on its way to the model nor back; null stays what misses, and rows without an answer are null."""
    model = await models()
    plain = model._answer

    def answer(headers: dict[str, str], body: bytes) -> tuple[int, Any]:
        status, said = plain(headers, body)
        if said["outputs"][0]["data"][0] == 0:
            return 400, {"error": "refused"}
        said["outputs"][1]["data"][:2] = [float("-inf"), float("nan")]
        return status, said

    model._answer = answer
    router = await start(kit.table(kit.route(model), batch={"rows": 1, "concurrency": 1}))
    document = kit.rows([float("inf"), 1, 1], [60, None, 1], [1, 2, 3])
    async with router.session.post(router.url + BATCH, data=json.dumps(document)) as got:
        text = (await got.read()).replace(b" ", b"")
    assert [row for one in model.requests for row in one["inputs"][0]["data"]] == [
        [float("inf"), 1, 1], pytest.approx([60, float("nan"), 1], nan_ok=True), [1, 2, 3],
    ]  # fmt: skip
    assert b'"data":[-Infinity,NaN,-Infinity,NaN,null,null]' in text
    assert b'"data":[1,1,null]' in text


async def test_part_whose_answer_is_too_large_is_halved(
    start: Any, models: Any, kit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fewer rows have a smaller answer; the server that gave it is not taken for one that is away."""
    model = await models()
    _, whole = model._answer({}, json.dumps(_many(kit, 8)).encode())
    monkeypatch.setattr(relay, "COLLECT_LIMIT", len(json.dumps(whole)) - 1)
    router = await start(kit.table(kit.route(model), **_rule(concurrency=1)))
    status, answer, _ = await router.infer(_many(kit, 40), path=BATCH)
    assert (status, answer["errors"]) == (200, [])
    assert answer["outputs"][0]["data"] == _labels(40)
    assert {one["inputs"][0]["shape"][0] for one in model.requests} == {8, 4}
    monkeypatch.setattr(relay, "COLLECT_LIMIT", 100)
    status, answer, _ = await router.infer(_many(kit, 2), path=BATCH)
    assert (status, len(answer["errors"])) == (413, 2)


async def test_answer_of_a_call_is_bounded(start: Any, models: Any, kit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that would have too many values together are refused before any is kept; fewer rows are answered."""
    monkeypatch.setattr(rows, "MOST_VALUES", 36)
    router = await start(kit.table(kit.route(await models()), **_rule()))
    status, answer, _ = await router.infer(_many(kit, 13), path=BATCH)
    assert (status, answer["outputs"]) == (413, [])
    assert answer["error"] == "13 rows have answers of more than 36 values; ask about fewer"
    status, answer, _ = await router.infer(_many(kit, 12), path=BATCH)
    assert (status, answer["errors"], len(answer["outputs"][1]["data"])) == (200, [], 24)


async def test_one_version_answers_the_whole_call(start: Any, models: Any, kit: Any) -> None:
    """The split decides once; a version in the path is asked as ever, and is no evidence."""
    one, other = await models(version="1"), await models(version="2")
    router = await start(kit.table(kit.route(one, "r1", 50), kit.route(other, "r2", 50), **_rule()))
    for number in range(8):
        await router.infer(_many(kit, 16), path=BATCH, headers={"x-request-id": f"id-{number}"})
    calls = [{head["x-request-id"].split(".")[0] for head in model.heads} for model in (one, other)]
    assert calls[0]
    assert calls[1]
    assert not calls[0] & calls[1]
    await router.infer(_many(kit, 16), path="/v2/models/m/versions/r2/batch")
    assert (await _counts(router))["r2"]["directed"] == 2


async def test_parts_run_side_by_side_and_not_more_than_allowed(start: Any, models: Any, kit: Any) -> None:
    """Bounded concurrency: as many connections as parts at once, and the waiting shows that they overlap."""
    model = await models(delay=0.1)
    router = await start(kit.table(kit.route(model), **_rule(concurrency=3)))
    before = asyncio.get_running_loop().time()
    status, _, _ = await router.infer(_many(kit, 48), path=BATCH)
    assert status == 200
    assert model.connections == 3
    assert asyncio.get_running_loop().time() - before >= 0.2


async def test_server_that_is_gone_is_not_asked_for_ever(start: Any, models: Any, kit: Any) -> None:
    """After three parts that nobody takes the rest is given up; no stand-in answers a part of the rows."""
    gone, spare = await models(), await models()
    rule = _rule(concurrency=1) | {"fallback": {"revisions": ["r2"]}}
    router = await start(kit.table(kit.route(gone), kit.route(spare, "r2", 0), **rule))
    gone.kill()
    status, answer, _ = await router.infer(_many(kit, 80), path=BATCH)
    assert status in (502, 503)
    assert len(answer["errors"]) == 80
    assert answer["errors"][-1]["error"] == "not asked: the model server took none of 3 parts before"
    assert (await _counts(router))["r1"]["requests"] == 3
    assert spare.heads == []


async def test_client_that_leaves_ends_its_batch(start: Any, models: Any, kit: Any) -> None:
    """What has not been asked yet is not asked any more."""
    model = await models(delay=0.2)
    router = await start(kit.table(kit.route(model), **_rule(concurrency=2)))
    body = json.dumps(_many(kit, 80)).encode()
    head = f"POST {BATCH} HTTP/1.1\r\nhost: a\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    await router.leave(head + body, 0.1)
    await asyncio.sleep(0.5)
    assert len(model.heads) == 2
    assert [one["inFlight"] for one in (await router.get_control("/v1/state"))["services"]["m"]] == [0]


def _read(folder: Path) -> list[dict[str, Any]]:
    """Rows of all parts of a log."""
    return [row for part in folder.rglob("*.parquet") for row in pq.read_table(part).to_pylist()]


async def test_rows_are_logged_and_labelled(start: Any, models: Any, kit: Any, tmp_path: Path) -> None:
    """Under the ids of their parts, with their keys; a label finds its row by the part's feedback id."""
    rule = {"prefix": f"file://{tmp_path}/p", "feedbackPrefix": f"file://{tmp_path}/f", "flushSeconds": 600}
    router = await start(kit.table(kit.route(await models()), payloads=rule, **_rule()))
    keys = [f"k{row}" for row in range(12)]
    _, answer, _ = await router.infer(
        _many(kit, 12, parameters={"keys": keys}), path=BATCH, headers={"x-request-id": "b"}
    )
    assert [(part["first"], part["rows"], part["id"]) for part in answer["parts"]] == [(0, 8, "b.0"), (8, 4, "b.8")]
    label = {"id": f"{answer['parts'][1]['feedback_id']}#2", "label": 1}
    assert (await router.infer(label, path="/v1/feedback"))[0] == 200
    await router.stop()
    logged = sorted((row["gyre_request_id"], row["gyre_row"], row["gyre_key"]) for row in _read(tmp_path / "p"))
    assert logged == sorted((f"b.{row // 8 * 8}", row % 8, f"k{row}") for row in range(12))
    assert [(row["gyre_request_id"], row["gyre_row"]) for row in _read(tmp_path / "f")] == [("b.8", 2)]


async def test_path_is_documented(start: Any, models: Any, kit: Any) -> None:
    """OpenAPI has it for each service, with its limits."""
    router = await start(kit.table(kit.route(await models()), **_rule(maxRows=77)))
    operation = (await router.get_control("/openapi.json"))["paths"][BATCH]["post"]
    assert "up to 77 rows" in operation["summary"]
    assert operation["requestBody"]["content"]["application/json"]["example"]["inputs"][0]["name"] == "features"
    async with router.session.get(router.control + "/docs") as answer:
        assert BATCH in await answer.text()


def test_flat_rows_and_nested_rows_are_cut_alike() -> None:
    """Data may be flat or a list of rows; other inputs and parameters go with each part, the id does not."""
    flat = {"name": "a", "datatype": "INT64", "shape": [3, 2], "data": [1, 2, 3, 4, 5, 6]}
    nested = {"name": "b", "datatype": "INT64", "shape": [3, 2], "data": [[1, 2], [3, 4], [5, 6]]}
    whole = Rows(json.dumps({"id": "x", "inputs": [flat, nested], "parameters": {"p": 1}}).encode())
    assert whole.cut(1, 2) == {
        "inputs": [
            flat | {"shape": [2, 2], "data": [3, 4, 5, 6]},
            nested | {"shape": [2, 2], "data": [[3, 4], [5, 6]]},
        ],
        "parameters": {"p": 1},
    }


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        pytest.param(b"garbage", "no V2 document", id="no JSON"),
        pytest.param(b'{"outputs":[]}', "no outputs", id="nothing"),
        pytest.param(b'{"outputs":[{"name":"y","shape":[1],"data":[1]}]}', "gave 1 rows for 2", id="fewer rows"),
        pytest.param(b'{"outputs":[{"name":"y","shape":[2],"data":[[1],2]}]}', "ragged", id="ragged data"),
        pytest.param(b'{"outputs":[{"name":"y","shape":[2,9],"data":[[1],[2]]}]}', "fill its shape", id="short rows"),
        pytest.param(b'{"outputs":[{"name":"z","shape":[2],"data":[1,2]}]}', "another form", id="another output"),
    ],
)
def test_answer_of_another_form_fails_its_part(body: bytes, sentence: str) -> None:
    """It is never laid over the wrong rows."""
    answers = Answers(4)
    answers.add(0, 2, b'{"model_version":"7","outputs":[{"name":"y","datatype":"FP32","shape":[2],"data":[1.5,2]}]}')
    with pytest.raises(Refusal, match=sentence):
        answers.add(2, 2, body)
    assert answers.outputs() == [{"name": "y", "datatype": "FP32", "shape": [4], "data": [1.5, 2, None, None]}]
    assert answers.head == {"model_version": "7"}
