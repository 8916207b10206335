"""What answers when the chosen revision cannot be reached."""

import asyncio
from typing import Any

import pytest

BY_STABLE = {"revisions": ["r1"]}
BY_NUMBERS = {"static": {"label": 1.0, "probabilities": 0.5, "unknown": 3}}


async def _pair(start: Any, models: Any, kit: Any, **service: Any) -> tuple[Any, Any, Any]:
    """A router whose split sends everything to r2, whose server is gone, beside an r1 that answers."""
    stable, candidate = await models(version="s"), await models(version="c")
    router = await start(kit.table(kit.route(stable, "r1", 0), kit.route(candidate, "r2", 100), **service))
    assert (await router.infer(kit.rows([1, 1, 1])))[1]["model_version"] == "c"
    candidate.kill()
    return router, stable, candidate


async def test_another_revision_answers_for_one_that_refuses(start: Any, models: Any, kit: Any) -> None:
    """No request fails, the answer says who gave it, and the chosen revision's failures count against it."""
    router, _, candidate = await _pair(start, models, kit, fallback=BY_STABLE)
    for _ in range(3):
        status, answer, headers = await router.infer(kit.rows([60, 1, 1]))
        assert (status, answer["model_version"], answer["outputs"][0]["data"]) == (200, "s", [1])
        assert (headers["x-gyre-revision"], headers["x-gyre-fallback"]) == ("r1", "revision")
    counts = (await router.get_control("/v1/counters"))["services"]["m"]
    names = ("requests", "errors", "directed", "directedErrors", "fallbacks")
    assert [counts["r2"][name] for name in names] == [4, 3, 0, 0, 3]
    assert [counts["r1"][name] for name in names] == [3, 0, 3, 0, 0]
    assert [one["inFlight"] for one in (await router.get_control("/v1/state"))["services"]["m"]] == [0, 0]
    await candidate.start()
    for _ in range(100):
        _, answer, headers = await router.infer(kit.rows([60, 1, 1]))
        if answer["model_version"] == "c":
            break
        await asyncio.sleep(0.05)
    assert answer["model_version"] == "c"
    assert "x-gyre-fallback" not in headers


async def test_another_revision_answers_for_one_without_pods(start: Any, models: Any, kit: Any) -> None:
    """A revision that has all the weight and no pod fails no request."""
    stable = await models()
    gone = {**kit.route(stable, "r2", 100), "service": "no-pods"}
    router = await start(kit.table(kit.route(stable, "r1", 0), gone, fallback=BY_STABLE))
    status, _, headers = await router.infer(kit.rows([1, 1, 1]))
    assert (status, headers["x-gyre-revision"], headers["x-gyre-fallback"]) == (200, "r1", "revision")


async def test_numbers_answer_when_nobody_else_does(start: Any, models: Any, kit: Any) -> None:
    """Each row gets the numbers, in the shape and types of the signature, over V2 and V1; nobody's version is named."""
    router, stable, _ = await _pair(start, models, kit, fallback=BY_STABLE | BY_NUMBERS)
    stable.kill()
    status, answer, headers = await router.infer(kit.rows([60, 1, 1], [20, 1, 1]))
    assert status == 200
    assert answer["outputs"] == [
        {"name": "label", "datatype": "INT64", "shape": [2], "data": [1, 1]},
        {"name": "probabilities", "datatype": "FP32", "shape": [2, 2], "data": [0.5] * 4},
    ]
    assert headers["x-gyre-fallback"] == "static"
    assert "x-gyre-version" not in headers
    _, answer, _ = await router.infer({"instances": [[60, 1, 1]]}, path="/v1/models/m:predict")
    assert answer == {"predictions": [1]}
    counts = (await router.get_control("/v1/counters"))["services"]["m"]
    assert (counts["r2"]["errors"], counts["r1"]["errors"], counts["r1"]["fallbacks"]) == (2, 2, 2)
    assert [one["inFlight"] for one in (await router.get_control("/v1/state"))["services"]["m"]] == [0, 0]


@pytest.mark.parametrize(
    ("document", "path"),
    [
        pytest.param(None, "/v2/models/m/versions/v-r2/infer", id="a version in the path is meant"),
        pytest.param({"inputs": [{"name": "x", "shape": [10**12], "data": []}]}, None, id="a shape beyond the body"),
        pytest.param({"inputs": []}, None, id="no rows to fill"),
        pytest.param([1], None, id="no V2 document"),
    ],
)
async def test_what_no_fallback_answers(start: Any, models: Any, kit: Any, document: Any, path: str | None) -> None:
    """These get the error, as without a fallback, also where nothing is checked."""
    router, stable, _ = await _pair(start, models, kit, fallback=BY_STABLE | BY_NUMBERS, validation="Off")
    stable.kill()
    asked = {"path": path} if path else {}
    status, answer, headers = await router.infer(document or kit.rows([1, 1, 1]), **asked)
    assert status == 502
    assert "no model server took the request" in answer["error"]
    assert headers.get("x-gyre-fallback") != "static"


async def test_answers_of_the_model_are_never_replaced(start: Any, models: Any, kit: Any) -> None:
    """A 500 of the chosen revision reaches the client: hiding it would hide the fault."""
    stable, candidate = await models(), await models(status=500)
    router = await start(kit.table(kit.route(stable, "r1", 0), kit.route(candidate, "r2"), fallback=BY_STABLE))
    status, answer, headers = await router.infer(kit.rows([1, 1, 1]))
    assert (status, answer["error"], headers["x-gyre-revision"]) == (500, "asked to fail", "r2")
    assert not stable.requests


async def test_fallback_that_leads_nowhere_is_refused(start: Any, models: Any, kit: Any) -> None:
    """A table whose fallback names no revision of the service is refused with that name."""
    model = await models()
    router = await start(kit.table(kit.route(model)))
    assert not router.offer(kit.route(model), fallback={"revisions": ["r9"]})
    assert router.router.tables.refused == "services.m.fallback: 'r9' is no revision"
