"""gRPC takes the same steps as REST: split, tokens, limits, deadlines, cache, logs and counters."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from tritonclient.grpc import service_pb2  # type: ignore[import-untyped]

from tests.serving.support.grpc import client, labels, raw, typed

TOKEN = "a-token-of-sixteen"


async def test_a_key_has_the_revision_that_it_has_over_rest(start: Any, models: Any, kit: Any) -> None:
    """Of 60 sticky keys each gets over gRPC the revision that answers it over REST, and both revisions get some."""
    first, second = await models(version="a"), await models(version="b")
    split = (kit.route(first, "r1", 50), kit.route(second, "r2", 50))
    router = await start(kit.table(*split, stickyHeader="x-user"), grpc_port=0)
    met = set()
    async with client(router.router.grpc_port) as asked:
        for number in range(60):
            _, _, headers = await router.infer(kit.rows([1, 1, 1]), headers={"x-user": f"u{number}"})
            told = await asked.infer(raw([1, 1, 1]), [("x-user", f"u{number}")])
            assert told.head["x-gyre-revision"] == headers["x-gyre-revision"]
            met.add(headers["x-gyre-revision"])
    assert met == {"r1", "r2"}


async def test_header_routes_and_versions_are_followed(start: Any, models: Any, kit: Any) -> None:
    """Metadata that a match names and `model_version` lead to their revision, and are no evidence."""
    first, second = await models(version="a"), await models(version="b")
    routes = (kit.route(first, "r1", 100), kit.route(second, "r2", 0))
    matches = [{"header": "x-tester", "values": ["yes"], "revision": "r2"}]
    router = await start(kit.table(*routes, matches=matches), grpc_port=0)
    async with client(router.router.grpc_port) as asked:
        assert (await asked.infer(raw([1, 1, 1]))).answer.model_version == "a"
        assert (await asked.infer(raw([1, 1, 1]), [("x-tester", "yes")])).answer.model_version == "b"
        assert (await asked.infer(raw([1, 1, 1], model_version="v-r2"))).answer.model_version == "b"
    counters = (await router.get_control("/v1/counters"))["services"]["m"]
    assert (counters["r2"]["requests"], counters["r2"]["directed"]) == (2, 2)


def _counts(counters: Any) -> dict[str, Any]:
    timed = {"latencySeconds", "buckets"}
    return {name: value for name, value in counters["services"]["m"]["r1"].items() if name not in timed}


async def test_counters_are_those_of_rest(start: Any, models: Any, kit: Any) -> None:
    """The same questions, good, misfit and failing, leave the same counters and refusals as over REST."""
    found, refused = [], []
    for protocol in ("rest", "grpc"):
        model = await models()
        router = await start(kit.table(kit.route(model), stickyHeader="x-user"), grpc_port=0)
        async with client(router.router.grpc_port) as asked:
            for status, rows in ((200, [60, 1, 1]), (200, [1, 1, 1]), (500, [1, 1, 1])):
                model.status = status
                if protocol == "rest":
                    await router.infer(kit.rows(rows), headers={"x-user": "u"})
                    await router.infer({"inputs": []}, headers={"x-user": "u"})
                else:
                    await asked.infer(typed(rows), [("x-user", "u")])
                    await asked.infer(service_pb2.ModelInferRequest(model_name="m"), [("x-user", "u")])
        found.append(_counts(await router.get_control("/v1/counters")))
        refused.append(dict(router.router.tables.stats.service("m").refused))
    assert found[0] == found[1]
    assert (found[0]["requests"], found[0]["errors"], found[0]["rejected"]) == (3, 1, 3)
    assert refused[0] == refused[1] == {"400": 3}


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(([], "UNAUTHENTICATED"), id="no token"),
        pytest.param(([("authorization", "Bearer another-of-sixteen")], "UNAUTHENTICATED"), id="another token"),
        pytest.param(([("authorization", f"Bearer {TOKEN}")], "OK"), id="the token"),
    ],
)
async def test_only_known_tokens_are_let_in(
    start: Any, models: Any, kit: Any, tmp_path: Path, case: tuple[list[tuple[str, str]], str]
) -> None:
    """Metadata `authorization` is asked for where the service asks; the model never sees it."""
    metadata, code = case
    (tmp_path / "callers").mkdir()
    (tmp_path / "callers" / "web").write_text(TOKEN)
    model = await models()
    router = await start(kit.table(kit.route(model), auth={"tokens": str(tmp_path / "callers")}), grpc_port=0)
    async with client(router.router.grpc_port) as asked:
        told = await asked.infer(raw([1, 1, 1]), metadata)
        assert told.code == code
        described = await asked.call("ModelMetadata", service_pb2.ModelMetadataRequest(name="m"), metadata)
        assert described.code == code
    assert [head for head in model.heads if "authorization" in head] == []
    assert len(model.heads) == (code == "OK")


async def test_client_beyond_its_bucket_is_told_when_to_come_back(start: Any, models: Any, kit: Any) -> None:
    """The bucket is one for REST and gRPC; beyond it RESOURCE_EXHAUSTED with the pushback of clients that retry."""
    limits = {"clients": {"rate": 0.5, "burst": 3, "header": "X-Client"}}
    router = await start(kit.table(kit.route(await models()), limits=limits), grpc_port=0)
    await router.infer(kit.rows([1, 1, 1]), headers={"x-client": "a"})
    async with client(router.router.grpc_port) as asked:
        codes = [(await asked.infer(raw([1, 1, 1]), [("x-client", "a")])).code for _ in range(2)]
        told = await asked.infer(raw([1, 1, 1]), [("x-client", "a")])
        other = await asked.infer(raw([1, 1, 1]), [("x-client", "b")])
    assert (codes, told.code, other.code) == (["OK", "OK"], "RESOURCE_EXHAUSTED", "OK")
    assert told.trailers["grpc-retry-pushback-ms"] == "2000"
    assert "0.5 requests a second of one client" in told.sentence


async def test_message_beyond_the_limit_is_refused_before_it_is_there(start: Any, models: Any, kit: Any) -> None:
    """A message above the service's limit is refused from its first bytes; one just below it passes."""
    router = await start(kit.table(kit.route(await models()), limits={"maxBody": 100_000}), grpc_port=0)
    async with client(router.router.grpc_port) as asked:
        told = await asked.infer(raw(*[[1, 1, 1]] * 1_000_000))
        assert told.code == "RESOURCE_EXHAUSTED"
        assert "larger than the 100000 bytes" in told.sentence
        assert len(labels(await asked.infer(raw(*[[60, 1, 1]] * 8_000)))) == 8_000


async def test_large_messages_pass_both_ways(start: Any, models: Any, kit: Any) -> None:
    """Messages of many windows, side by side on one connection, come back whole and in order."""
    router = await start(kit.table(kit.route(await models())), grpc_port=0)
    random = np.random.default_rng(0)
    rows = [random.integers(0, 99, (40_000, 3)).astype(float).tolist() for _ in range(3)]
    async with client(router.router.grpc_port) as asked:
        told = await asyncio.gather(*(asked.infer(raw(*one)) for one in rows))
    assert [labels(one) for one in told] == [[int(row[0] > 50) for row in one] for one in rows]


async def test_service_deadline_is_kept(start: Any, models: Any, kit: Any) -> None:
    """A model that is too slow for the service is DEADLINE_EXCEEDED from the router, and its failure."""
    router = await start(kit.table(kit.route(await models(delay=5)), limits={"timeoutSeconds": 0.2}), grpc_port=0)
    async with client(router.router.grpc_port) as asked:
        told = await asked.infer(raw([1, 1, 1]), seconds=None)
    assert (told.code, told.sentence) == ("DEADLINE_EXCEEDED", "v-r1 did not answer within 0.2 s")
    assert _counts(await router.get_control("/v1/counters"))["errors"] == 1


async def _met(model: Any) -> None:
    for _ in range(500):
        if model.heads:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("the model was not asked")


@pytest.mark.parametrize("how", [pytest.param("cancel", id="cancelled"), pytest.param("timeout", id="its deadline")])
async def test_client_that_goes_frees_its_slot(start: Any, models: Any, kit: Any, how: str) -> None:
    """A call that its client cancels or gives up gives its slot back and is nobody's failure."""
    model = await models(delay=30)
    router = await start(kit.table(kit.route(model), limits={"concurrency": 1}), grpc_port=0)
    async with client(router.router.grpc_port) as asked:
        if how == "cancel":
            running = asked.stub.ModelInfer(raw([1, 1, 1]))
            task = asyncio.ensure_future(running.code())
            await _met(model)
            running.cancel()
            await task
        else:
            told = await asked.infer(raw([1, 1, 1]), seconds=0.2)
            assert told.code == "DEADLINE_EXCEEDED"
        model.delay = 0
        assert labels(await asked.infer(raw([60, 1, 1]))) == [1]
    counts = _counts(await router.get_control("/v1/counters"))
    assert (counts["requests"], counts["errors"]) == (1, 0)
    assert router.router.tables.stats.service("m").abandoned == 1


async def test_predictions_are_logged_as_those_of_rest(start: Any, models: Any, kit: Any, tmp_path: Path) -> None:
    """Raw and typed calls leave the rows that the same question over REST leaves, keys and missing values too."""
    rule = {"prefix": f"file://{tmp_path}/p", "feedbackPrefix": f"file://{tmp_path}/f", "flushSeconds": 0.1}
    router = await start(kit.table(kit.route(await models()), payloads=rule), grpc_port=0)
    rows = ([60, 1, 2.5], [float("nan"), 0, 1])
    document = kit.rows([60, 1, 2.5], [None, 0, 1], parameters={"keys": ["k1", "k2"]})
    await router.infer(document, headers={"x-request-id": "rest"})
    async with client(router.router.grpc_port) as asked:
        for name, request in (("raw", raw(*rows)), ("typed", typed(*rows))):
            request.parameters["keys"].string_param = '["k1", "k2"]'
            assert labels(await asked.infer(request, [("x-request-id", name)])) == [1, 1]
    found: dict[str, list[dict[str, Any]]] = {}
    for _ in range(100):
        found.clear()
        for part in (tmp_path / "p").rglob("*.parquet"):
            for row in pq.read_table(part).to_pylist():
                found.setdefault(row.pop("gyre_request_id"), []).append(row)
        if len(found) == 3:
            break
        await asyncio.sleep(0.05)
    for rows_of in found.values():
        for row in rows_of:
            del row["gyre_time"], row["gyre_label_sample"]
    assert found["rest"] == found["raw"] == found["typed"]
    assert [row["gyre_key"] for row in found["raw"]] == ["k1", "k2"]
    assert found["raw"][1]["age"] is None


async def test_equal_questions_are_answered_from_the_cache(start: Any, models: Any, kit: Any) -> None:
    """With `cache` the second equal question is a hit, and says so."""
    model = await models()
    router = await start(kit.table(kit.route(model), cache={}), grpc_port=0)
    async with client(router.router.grpc_port) as asked:
        first, second = await asked.infer(raw([60, 1, 1])), await asked.infer(raw([60, 1, 1]))
    assert (labels(first), labels(second)) == ([1], [1])
    assert (first.head.get("x-gyre-cache"), second.head["x-gyre-cache"]) == (None, "hit")
    assert len(model.heads) == 1


async def test_fallback_answers_in_the_form_of_the_question(start: Any, models: Any, kit: Any) -> None:
    """When nobody takes a call the static answer comes, raw for raw, and is named."""
    model = await models()
    model.kill()
    fallback = {"static": {"label": 0, "probabilities": 0.5}}
    router = await start(kit.table(kit.route(model), fallback=fallback), grpc_port=0)
    async with client(router.router.grpc_port) as asked:
        told = await asked.infer(raw([1, 1, 1], [2, 2, 2]))
    assert labels(told) == [0, 0]
    assert told.head["x-gyre-fallback"] == "static"


async def test_hundred_table_swaps_fail_no_call(start: Any, models: Any, kit: Any) -> None:
    """While the table changes weights and revisions 100 times under load, every call is answered."""
    stable, candidate = await models(version="s"), await models(version="c")
    router = await start(kit.table(kit.route(stable)), grpc_port=0)
    told: list[Any] = []
    going = True

    async def ask() -> None:
        async with client(router.router.grpc_port) as asked:
            while going:
                told.append(await asked.infer(raw([60, 1, 1])))

    tasks = [asyncio.create_task(ask()) for _ in range(6)]
    for step in range(100):
        assert router.offer(kit.route(stable, "r1", 100 - step), kit.route(candidate, f"r{2 + step % 2}", step))
        await asyncio.sleep(0.01)
    going = False
    await asyncio.gather(*tasks)
    assert {one.code for one in told} == {"OK"}
    assert {one.answer.model_version for one in told} == {"s", "c"}
    assert len(told) > 50
