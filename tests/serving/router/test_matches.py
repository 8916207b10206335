"""Requests that a header or a path brings to a revision: where they go, and that they are counted apart."""

from typing import Any

import pytest

BETA = {"header": "X-Group", "values": ["beta", "staff"], "revision": "r2"}


@pytest.mark.parametrize(
    ("headers", "revision"),
    [
        pytest.param({"x-group": "beta"}, "r2", id="a value of the header decides"),
        pytest.param({"X-GROUP": "staff"}, "r2", id="header names have no case"),
        pytest.param({"x-group": "Beta"}, "r1", id="values have a case"),
        pytest.param({"x-group": "beta2"}, "r1", id="values are compared whole"),
        pytest.param({}, "r1", id="without the header the split decides"),
        pytest.param({"x-group": "beta", "x-force": "old"}, "r2", id="the first match decides"),
        pytest.param({"x-force": "old"}, "r1", id="a later match decides where no earlier one fits"),
    ],
)
async def test_header_decides_before_the_split(
    start: Any, models: Any, kit: Any, headers: dict[str, str], revision: str
) -> None:
    """With all weight on r1, only a matching header asks r2."""
    stable, candidate = await models(), await models()
    matches = [BETA, {"header": "x-force", "values": ["old"], "revision": "r1"}]
    router = await start(kit.table(kit.route(stable), kit.route(candidate, "r2", 0), matches=matches))
    status, _, answered = await router.infer(kit.rows([1, 1, 1]), headers=headers)
    assert (status, answered["x-gyre-revision"]) == (200, revision)


async def test_version_in_the_path_goes_before_a_header(start: Any, models: Any, kit: Any) -> None:
    """Who names a version gets it, whatever the headers say."""
    router = await start(kit.table(kit.route(await models()), kit.route(await models(), "r2", 0), matches=[BETA]))
    path = "/v2/models/m/versions/v-r1/infer"
    _, _, answered = await router.infer(kit.rows([1, 1, 1]), path=path, headers={"x-group": "beta"})
    assert answered["x-gyre-revision"] == "r1"


async def test_revision_without_a_backend_is_passed_over(start: Any, models: Any, kit: Any) -> None:
    """Neither a revision whose pods are still to come nor one whose pods all refuse fails a matched request twice."""
    stable, candidate = await models(), await models()
    absent = {**kit.route(candidate, "r2", 0), "service": "not-there-yet"}
    router = await start(kit.table(kit.route(stable), absent, matches=[BETA]))
    status, _, answered = await router.infer(kit.rows([1, 1, 1]), headers={"x-group": "beta"})
    assert (status, answered["x-gyre-revision"]) == (200, "r1")
    assert router.offer(kit.route(stable), kit.route(candidate, "r2", 0), matches=[BETA])
    candidate.kill()
    statuses = [(await router.infer(kit.rows([1, 1, 1]), headers={"x-group": "beta"}))[0] for _ in range(5)]
    assert statuses == [502, 200, 200, 200, 200]


async def test_directed_requests_are_counted_apart(start: Any, models: Any, kit: Any) -> None:
    """Requests and errors by header or path stand in `directed` too; those that the split assigned do not."""
    stable, candidate = await models(), await models(status=500)
    router = await start(kit.table(kit.route(stable), kit.route(candidate, "r2", 0), matches=[BETA]))
    for _ in range(3):
        await router.infer(kit.rows([1, 1, 1]), headers={"x-group": "beta"})
    for _ in range(2):
        await router.infer(kit.rows([1, 1, 1]), path="/v2/models/m/versions/v-r1/infer")
    for _ in range(4):
        await router.infer(kit.rows([1, 1, 1]))
    counts = (await router.get_control("/v1/counters"))["services"]["m"]
    names = ("requests", "errors", "directed", "directedErrors")
    assert [counts["r2"][name] for name in names] == [3, 3, 3, 3]
    assert [counts["r1"][name] for name in names] == [6, 0, 2, 0]


async def test_match_that_leads_nowhere_is_refused(start: Any, models: Any, kit: Any) -> None:
    """A table whose match names no revision of the service is refused with the header's name."""
    model = await models()
    router = await start(kit.table(kit.route(model)))
    assert not router.offer(kit.route(model), matches=[BETA])
    refused = (await router.get_control("/v1/state"))["refused"]
    assert refused == "services.m.matches: X-Group leads to 'r2', which is no revision"
