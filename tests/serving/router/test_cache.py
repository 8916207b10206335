"""The result cache: which questions are equal, what is kept, and that a hit proves nothing of a revision."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest

from gyre_crds.contracts.routing import CacheRule
from gyre_serving.router.cache import Cache, Kept

CACHE = {"cache": {"ttlSeconds": 60}}


async def _results(router: Any) -> dict[str, int]:
    """The cache's counts, as Prometheus reads them."""
    async with router.session.get(router.control + "/metrics") as answer:
        lines = (await answer.text()).splitlines()
    found = [line for line in lines if line.startswith("gyre_router_cache_results_total{")]
    return {line.split('result="')[1].split('"')[0]: int(float(line.split()[-1])) for line in found}


def _read(folder: Path) -> list[dict[str, Any]]:
    """Rows of all parts of a log."""
    return [row for part in folder.rglob("*.parquet") for row in pq.read_table(part).to_pylist()]


async def test_equal_question_is_answered_once_by_the_model(start: Any, models: Any, kit: Any) -> None:
    """The second answer is the first's, under its own request id; the revision was asked, and counted, once."""
    model = await models()
    router = await start(kit.table(kit.route(model), **CACHE))
    first = await router.infer(kit.rows([60, 1, 1]), headers={"x-request-id": "a"})
    second = await router.infer(kit.rows([60, 1, 1]), headers={"x-request-id": "b"})
    assert (first[0], second[0], first[1]) == (200, 200, second[1])
    assert len(model.requests) == 1
    assert "x-gyre-cache" not in first[2]
    assert (second[2]["x-gyre-cache"], second[2]["age"], second[2]["x-request-id"]) == ("hit", "0", "b")
    assert second[2]["x-gyre-revision"] == "r1"
    counts = (await router.get_control("/v1/counters"))["services"]["m"]["r1"]
    assert (counts["requests"], counts["errors"], counts["cached"]) == (1, 0, 1)
    assert await _results(router) == {"miss": 1, "hit": 1}


async def test_without_being_asked_for_nothing_is_kept(start: Any, models: Any, kit: Any) -> None:
    """The cache is off unless a service has one, and is gone when it is taken away."""
    model = await models()
    router = await start(kit.table(kit.route(model)))
    for service in ({}, {}, CACHE, {}, CACHE):
        assert router.offer(kit.route(model), **service)
        await router.infer(kit.rows([60, 1, 1]))
    assert len(model.requests) == 5


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(({}, {}, "hit"), id="the same question"),
        pytest.param(({"parameters": {"p": 1}}, {}, "miss"), id="another body"),
        pytest.param(({}, {"accept": "application/x"}, "miss"), id="another wanted type"),
        pytest.param(({}, {"authorization": "Bearer x"}, "miss"), id="a token that the model itself is to judge"),
        pytest.param(({}, {"cookie": "session=x"}, "miss"), id="a cookie that the model itself is to judge"),
        pytest.param(({}, {"user-agent": "other"}, "hit"), id="a header that asks for nothing"),
        pytest.param(({}, {"cache-control": "no-cache"}, "bypass"), id="a client that wants a fresh answer"),
        pytest.param(({}, {"cache-control": "max-age=0, No-Store"}, "bypass"), id="a client that wants nothing kept"),
        pytest.param(({}, {"content-encoding": "identity"}, "bypass"), id="a body that is not read"),
    ],
)
async def test_which_questions_are_equal(
    start: Any, models: Any, kit: Any, case: tuple[dict[str, Any], dict[str, str], str]
) -> None:
    """Same revision, body and negotiation, and nobody asked for a fresh answer."""
    document, headers, result = case
    model = await models()
    router = await start(kit.table(kit.route(model), **CACHE))
    await router.infer(kit.rows([60, 1, 1]))
    status, _, _ = await router.infer(kit.rows([60, 1, 1], **document), headers=headers)
    assert status == 200
    before = {"miss": 1}
    assert await _results(router) == before | {result: before.get(result, 0) + 1}
    assert len(model.requests) == 2 - (result == "hit")


STALE = {"cache": {"ttlSeconds": 0.2, "staleIfErrorSeconds": 60}}


async def _outlived(start: Any, kit: Any, model: Any, **service: Any) -> Any:
    """A router whose cache holds an answer that is over, and whose model is gone."""
    stable = await kit.model().start()
    routes = kit.route(stable, "r0", 0), kit.route(model)
    router = await start(kit.table(*routes, **service))
    stable.kill()
    assert (await router.infer(kit.rows([60, 1, 1], id="a")))[0] == 200
    await asyncio.sleep(0.4)
    model.kill()
    return router


@pytest.mark.parametrize(
    "fallback",
    [
        pytest.param({}, id="without a fallback"),
        pytest.param({"fallback": {"revisions": ["r0"], "static": {"label": 7}}}, id="behind a model, before numbers"),
    ],
)
async def test_last_answer_stands_in_for_a_model_that_is_gone(
    start: Any, models: Any, kit: Any, fallback: dict[str, Any]
) -> None:
    """It says that it is stale and how old, bears its asker's id, and the failure still counts."""
    router = await _outlived(start, kit, await models(), **STALE, **fallback)
    status, answer, headers = await router.infer(kit.rows([60, 1, 1], id="b"), headers={"x-request-id": "mine"})
    assert (status, answer["id"], answer["outputs"][0]["data"]) == (200, "b", [1])
    assert (headers["x-gyre-cache"], headers["x-gyre-fallback"]) == ("stale", "cache")
    assert (headers["age"], headers["x-request-id"], headers["x-gyre-revision"]) == ("0", "mine", "r1")
    counts = (await router.get_control("/v1/counters"))["services"]["m"]["r1"]
    assert [counts[name] for name in ("requests", "errors", "cached", "fallbacks")] == [2, 1, 0, 1]
    assert await _results(router) == {"miss": 2, "stale": 1}


@pytest.mark.parametrize(
    ("service", "asked"),
    [
        pytest.param({"cache": {"ttlSeconds": 0.2}}, {}, id="unasked for"),
        pytest.param({"cache": {"ttlSeconds": 0.1, "staleIfErrorSeconds": 0.1}}, {}, id="too old for that too"),
        pytest.param(STALE, {"headers": {"cache-control": "no-cache"}}, id="a client that wants a fresh one"),
        pytest.param(STALE, {"document": [61, 1, 1]}, id="another question"),
    ],
)
async def test_where_no_last_answer_stands_in(
    start: Any, models: Any, kit: Any, service: dict[str, Any], asked: dict[str, Any]
) -> None:
    """The client gets the error."""
    router = await _outlived(start, kit, await models(), **service)
    status, _, headers = await router.infer(kit.rows(asked.get("document", [60, 1, 1])), headers=asked.get("headers"))
    assert status == 502
    assert "x-gyre-cache" not in headers


async def test_model_that_answers_again_is_asked(start: Any, models: Any, kit: Any) -> None:
    """A stale answer is given in need alone: not while the model answers, be it with an error of its own."""
    model = await models()
    router = await start(kit.table(kit.route(model), **STALE))
    await router.infer(kit.rows([60, 1, 1]))
    await asyncio.sleep(0.4)
    model.status = 500
    assert (await router.infer(kit.rows([60, 1, 1])))[0] == 500
    model.status = 200
    status, _, headers = await router.infer(kit.rows([60, 1, 1]))
    assert (status, "x-gyre-cache" in headers, len(model.requests)) == (200, False, 3)


@pytest.mark.parametrize("first", [True, False], ids=["id first", "id last"])
@pytest.mark.parametrize(("one", "other"), [("a", "b"), ("a", None), (None, "b")])
async def test_callers_get_their_own_id_back(
    start: Any, models: Any, kit: Any, one: str | None, other: str | None, *, first: bool
) -> None:
    """The V2 id is the caller's and no part of the question; with and without one are two questions."""
    model = await models()
    router = await start(kit.table(kit.route(model), **CACHE))

    async def ask(identity: str | None) -> Any:
        named = {} if identity is None else {"id": identity}
        rows = kit.rows([60, 1, 1])
        _, answer, _ = await router.infer({**named, **rows} if first else {**rows, **named})
        assert answer.get("id") == identity
        return {name: value for name, value in answer.items() if name != "id"}

    assert await ask(one) == await ask(other)
    assert len(model.requests) == (1 if one and other else 2)


async def test_id_that_a_server_makes_up_is_nobody_elses(start: Any, models: Any, kit: Any) -> None:
    """An answer with an id that its caller did not give is not kept."""
    model = await models()
    body = orjson.dumps({"id": "made-up", "outputs": []})
    model.raw_answer = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b" % (len(body), body)
    router = await start(kit.table(kit.route(model), **CACHE))
    for _ in range(2):
        await router.infer(kit.rows([60, 1, 1]))
    assert len(model.heads) == 2


async def test_while_two_revisions_share_the_traffic_all_ask_a_model(start: Any, models: Any, kit: Any) -> None:
    """A canary is judged by its answers; a revision known at weight 0 does not count."""
    model, other = await models(), await models()
    router = await start(kit.table(kit.route(model), kit.route(other, "r2", 0), **CACHE))
    await router.infer(kit.rows([60, 1, 1]))
    await router.infer(kit.rows([60, 1, 1]))
    assert len(model.requests) == 1
    assert router.offer(kit.route(model, "r1", 50), kit.route(other, "r2", 50), **CACHE)
    for _ in range(4):
        await router.infer(kit.rows([60, 1, 1]))
    assert len(model.requests) + len(other.requests) == 5
    assert router.offer(kit.route(model, "r1", 0), kit.route(other, "r2", 100), **CACHE)
    asked = len(other.requests)
    _, _, headers = await router.infer(kit.rows([60, 1, 1]))
    assert len(other.requests) == asked + 1, "another revision's answer is no answer of this one"
    assert headers["x-gyre-revision"] == "r2"


async def test_failures_and_fallbacks_are_not_kept(start: Any, models: Any, kit: Any) -> None:
    """What went wrong once is tried again."""
    model, spare = await models(status=500), await models()
    service = CACHE | {"fallback": {"revisions": ["r2"]}}
    router = await start(kit.table(kit.route(model), kit.route(spare, "r2", 0), **service))
    assert (await router.infer(kit.rows([60, 1, 1])))[0] == 500
    model.status = 200
    model.kill()
    _, _, headers = await router.infer(kit.rows([60, 1, 1]))
    assert headers["x-gyre-fallback"] == "revision"
    await model.start()
    for _ in range(100):  # it is left alone for a second
        status, _, headers = await router.infer(kit.rows([60, 1, 1]))
        assert (status, headers.get("x-gyre-cache")) == (200, None)
        if headers["x-gyre-revision"] == "r1":
            break
        await asyncio.sleep(0.05)
    assert headers["x-gyre-revision"] == "r1"


def test_answers_go_when_their_time_is_over() -> None:
    """To the second, counted, and their bytes with them."""
    now, results = [100.0], Counter[str]()
    cache = Cache(CacheRule(ttl_seconds=60), results, lambda: now[0])
    cache.put(b"k", Kept(b"{}", None, now[0]))
    now[0] += 59.9
    assert cache.get(b"k") is not None
    now[0] += 0.2
    assert cache.get(b"k") is None
    assert cache.size() == 0
    assert results == {"hit": 1, "miss": 1, "expired": 1}


async def test_answers_go_when_others_need_the_room(start: Any, models: Any, kit: Any) -> None:
    """Least recently used first, counted, and the size stays below the bound."""
    model = await models()
    router = await start(kit.table(kit.route(model), cache={"maxBytes": 2000}))
    for value in (1, 2, 1, 3, 1, 2):  # two answers fit: 2 makes room for 3, and 3 for 2
        await router.infer(kit.rows([value, 1, 1]))
    assert len(model.requests) == 4
    assert await _results(router) == {"miss": 4, "hit": 2, "evicted": 2}
    assert 0 < router.router.tables.current.services["m"].cache.size() <= 2000


async def test_answer_larger_than_the_cache_is_left_out(start: Any, models: Any, kit: Any) -> None:
    """It fails nothing and drives nothing else out."""
    model = await models()
    router = await start(kit.table(kit.route(model), cache={"maxBytes": 1000}))
    await router.infer(kit.rows([1, 1, 1]))
    for _ in range(2):
        assert (await router.infer(kit.rows(*[[60, 1, 1]] * 100)))[0] == 200
    await router.infer(kit.rows([1, 1, 1]))
    assert len(model.requests) == 3


async def test_v1_is_answered_from_the_cache_in_its_own_form(start: Any, models: Any, kit: Any) -> None:
    """What is kept is the V2 answer."""
    model = await models()
    router = await start(kit.table(kit.route(model), **CACHE))
    answers = [await router.infer({"instances": [[60, 1, 1]]}, path="/v1/models/m:predict") for _ in range(2)]
    assert [answer for _, answer, _ in answers] == [{"predictions": [1]}] * 2
    assert len(model.requests) == 1


async def test_caller_with_another_token_asks_for_himself(start: Any, models: Any, kit: Any, tmp_path: Path) -> None:
    """What one caller was told is not told to another."""
    for name in ("one", "two"):
        (tmp_path / name).write_text(f"the-token-of-caller-{name}")
    model = await models()
    router = await start(kit.table(kit.route(model), auth={"tokens": str(tmp_path)}, **CACHE))
    for name in ("one", "two", "one"):
        bearer = {"authorization": f"Bearer the-token-of-caller-{name}"}
        assert (await router.infer(kit.rows([60, 1, 1]), headers=bearer))[0] == 200
    assert len(model.requests) == 2


async def test_hits_are_logged_and_labelled_under_their_own_ids(
    start: Any, models: Any, kit: Any, tmp_path: Path
) -> None:
    """A row of the payload log for each answer, with the deciding revision, and a label finds its row."""
    rule = {"prefix": f"file://{tmp_path}/p", "feedbackPrefix": f"file://{tmp_path}/f", "flushSeconds": 0.2}
    router = await start(kit.table(kit.route(await models()), payloads=rule, **CACHE))
    for name in ("a", "b"):
        _, _, headers = await router.infer(kit.rows([60, 1, 1]), headers={"x-request-id": name})
    label = {"id": headers["x-gyre-feedback-id"], "label": 1}
    assert (await router.infer(label, path="/v1/feedback"))[0] == 200
    await router.stop()
    rows = _read(tmp_path / "p")
    assert sorted((row["gyre_request_id"], row["gyre_revision"], row["prediction"]) for row in rows) == [
        ("a", "r1", 1),
        ("b", "r1", 1),
    ]
    labels = _read(tmp_path / "f")
    assert [row["gyre_request_id"] for row in labels] == ["b"]
