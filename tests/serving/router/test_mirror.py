"""Copies for a shadow revision: compared and counted, and never felt by a client."""

import asyncio
import json
from typing import Any

import pytest

from gyre_crds.contracts.routing import Comparison
from gyre_serving.router.merge import summed_pairs

MIRROR = {"revision": "r2", "share": 1.0}


async def _found(router: Any, copies: int, *, seconds: float = 5.0) -> dict[str, Any]:
    """The comparison of the only pair, once so many copies came to an end."""
    ends = ("agreed", "differed", "failed", "dropped", "skipped")
    pair: dict[str, Any] = {}
    for _ in range(int(seconds / 0.02)):
        pairs = (await router.get_control("/v1/counters"))["comparisons"].get("m", [])
        pair = pairs[0] if pairs else {}
        if pair and sum(pair[end] for end in ends) >= copies:
            return pair
        await asyncio.sleep(0.02)
    raise AssertionError(f"{copies} copies did not come to an end: {pair}")


def _shifted(model: Any, by: float, label: int | None = None) -> None:
    """Let the model answer with other scores, or another label too."""
    plain = model._answer

    def answer(headers: dict[str, str], body: bytes) -> tuple[int, Any]:
        status, document = plain(headers, body)
        if status == 200:
            scores = document["outputs"][1]
            scores["data"] = [value + by for value in scores["data"]]
            if label is not None:
                document["outputs"][0]["data"] = [label] * len(document["outputs"][0]["data"])
        return status, document

    model._answer = answer


async def _pair(start: Any, models: Any, kit: Any, *, mirror: Any = None, **shadow: Any) -> tuple[Any, Any, Any]:
    """A router whose split sends all to r1 and whose mirror copies to r2."""
    primary, other = await models(version="p"), await models(version="s", **shadow)
    rule = MIRROR | (mirror or {})
    return await start(kit.table(kit.route(primary), kit.route(other, "r2", 0), mirror=rule)), primary, other


async def test_same_answers_agree_and_count_for_nobody(start: Any, models: Any, kit: Any) -> None:
    """The shadow gets each request with its id; no request of it is counted, and the client hears the primary."""
    router, primary, shadow = await _pair(start, models, kit)
    for number in range(5):
        status, answer, headers = await router.infer(kit.rows([60, 1, 1]), headers={"x-request-id": f"id-{number}"})
        assert (status, answer["model_version"], headers["x-gyre-revision"]) == (200, "p", "r1")
    pair = await _found(router, 5)
    assert (pair["primary"], pair["shadow"], pair["agreed"]) == ("r1", "r2", 5)
    assert pair["buckets"]["+Inf"] == 5
    assert 0 < pair["primarySeconds"] < 5
    assert shadow.requests == primary.requests
    assert [head["x-request-id"] for head in shadow.heads] == [f"id-{number}" for number in range(5)]
    counts = (await router.get_control("/v1/counters"))["services"]["m"]
    assert (counts["r1"]["requests"], counts["r2"]["requests"], counts["r2"]["errors"]) == (5, 0, 0)


@pytest.mark.parametrize(
    ("by", "label", "tolerance", "counts"),
    [
        pytest.param(0.05, None, {"absolute": 0.1}, (2, 0, 0), id="scores within the tolerance"),
        pytest.param(0.05, None, {"absolute": 0.01}, (0, 2, 0), id="scores beyond it"),
        pytest.param(0.0, 7, {"absolute": 10}, (0, 2, 2), id="another label, whatever the tolerance"),
    ],
)
async def test_other_answers_differ(  # noqa: PLR0917  a table's columns
    start: Any, models: Any, kit: Any, by: float, label: int | None, tolerance: Any, counts: tuple[int, int, int]
) -> None:
    """Scores by the rule's tolerance, labels exactly; V1 requests are compared like those of V2."""
    router, _, shadow = await _pair(start, models, kit, mirror={"tolerance": tolerance})
    _shifted(shadow, by, label)
    await router.infer(kit.rows([60, 1, 1]))
    await router.infer({"instances": [[60, 1, 1]]}, path="/v1/models/m:predict")
    pair = await _found(router, 2)
    assert (pair["agreed"], pair["differed"], pair["labelsDiffered"]) == counts
    assert label is not None or pair["largest"] == pytest.approx(by)


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param({"status": 500}, id="answers 500"),
        pytest.param({"raw_answer": b"HTTP/1.1 200 X\r\ncontent-length: 99\r\n\r\nhalf"}, id="breaks off"),
        pytest.param({"raw_answer": b"garbage\r\n\r\n"}, id="speaks no HTTP"),
        pytest.param({"delay": 60.0}, id="does not answer before the deadline"),
    ],
)
async def test_failing_shadow_is_counted_and_felt_by_nobody(
    start: Any, models: Any, kit: Any, fault: dict[str, Any]
) -> None:
    """The client's answer is whole and quick; the shadow's failures are no errors of a revision."""
    primary, shadow = await models(version="p"), await models(**fault)
    revisions = (kit.route(primary), kit.route(shadow, "r2", 0))
    router = await start(kit.table(*revisions, mirror=MIRROR, limits={"timeoutSeconds": 0.3}))
    begun = asyncio.get_running_loop().time()
    for _ in range(3):
        assert (await router.infer(kit.rows([60, 1, 1])))[0] == 200
    assert asyncio.get_running_loop().time() - begun < 3 * 0.3, "each waited for the shadow's deadline"
    assert (await _found(router, 3))["failed"] == 3
    shadow.kill()
    assert (await router.infer(kit.rows([60, 1, 1])))[0] == 200
    assert (await _found(router, 4))["failed"] == 4
    counts = (await router.get_control("/v1/counters"))["services"]["m"]
    assert (counts["r2"]["requests"], counts["r2"]["errors"]) == (0, 0)


@pytest.mark.parametrize(
    ("primary", "shadow", "end"),
    [
        pytest.param(None, b"<html>hello</html>", "failed", id="only the shadow speaks no V2"),
        pytest.param(None, {"outputs": [5]}, "failed", id="only the shadow has an output that is none"),
        pytest.param(None, ["0.5"], "failed", id="only the shadow has texts as numbers"),
        pytest.param(["0.5"], None, "skipped", id="only the primary has texts as numbers"),
        pytest.param(b"hello", b"<html>hello</html>", "skipped", id="neither speaks V2"),
    ],
)
async def test_shadow_that_answers_no_v2_has_failed(  # noqa: PLR0917  a table's columns
    start: Any, models: Any, kit: Any, primary: Any, shadow: Any, end: str
) -> None:
    """A broken candidate is not let through for want of pairs; a primary that is no better proves nothing."""
    router, *both = await _pair(start, models, kit)
    for model, said in zip(both, (primary, shadow), strict=True):
        numbers = [0.5] if said is None else said
        outputs = [{"name": "y", "datatype": "FP32", "shape": [1], "data": numbers}]
        answer = {"outputs": outputs} if isinstance(numbers, list) else said
        model._answer = lambda _headers, _body, answer=answer: (200, answer)
    async with router.session.post(f"{router.url}/v2/models/m/infer", json=kit.rows([1, 1, 1])) as got:
        assert got.status == 200
    pair = await _found(router, 1)
    assert {name: pair[name] for name in ("agreed", "differed", "failed", "skipped") if pair[name]} == {end: 1}


async def test_slow_shadow_delays_nobody_and_what_is_too_much_is_dropped(start: Any, models: Any, kit: Any) -> None:
    """While the shadow answers none of two copies at once, ten requests are answered and eight copies dropped."""
    may_answer = asyncio.Event()
    router, _, shadow = await _pair(start, models, kit, mirror={"concurrency": 2}, gate=may_answer)
    begun = asyncio.get_running_loop().time()
    for _ in range(10):
        assert (await router.infer(kit.rows([60, 1, 1])))[0] == 200
    await asyncio.sleep(asyncio.get_running_loop().time() - begun)
    may_answer.set()
    pair = await _found(router, 10)
    assert (pair["agreed"], pair["dropped"]) == (2, 8)
    assert pair["shadowSeconds"] > pair["primarySeconds"]
    assert len(shadow.requests) == 2
    assert router.router.tables._mirrors["m"].held == 0


async def test_what_is_not_mirrored(start: Any, models: Any, kit: Any) -> None:
    """Neither what a path or header directs, nor failures, nor metadata, nor what the shadow itself answers."""
    primary, shadow = await models(), await models()
    match = {"header": "x-group", "values": ["beta"], "revision": "r1"}
    revisions = (kit.route(primary), kit.route(shadow, "r2", 0))
    router = await start(kit.table(*revisions, mirror=MIRROR, matches=[match]))
    await router.infer(kit.rows([1, 1, 1]), path="/v2/models/m/versions/v-r1/infer")
    await router.infer(kit.rows([1, 1, 1]), headers={"x-group": "beta"})
    await router.infer({"inputs": []})
    primary.status = 500
    await router.infer(kit.rows([1, 1, 1]))
    primary.status = 200
    assert router.offer(kit.route(primary, "r1", 0), kit.route(shadow, "r2", 100), mirror=MIRROR)
    await router.infer(kit.rows([1, 1, 1]))
    assert router.offer(*revisions, mirror=MIRROR)
    await router.infer(kit.rows([2, 2, 2]))
    assert (await _found(router, 1))["agreed"] == 1
    assert [one["inputs"][0]["data"] for one in shadow.requests] == [[[1, 1, 1]], [[2, 2, 2]]]


async def test_share_is_by_id_and_stable(start: Any, models: Any, kit: Any) -> None:
    """About the share of the ids is mirrored, and the same ids each time."""
    router, _, shadow = await _pair(start, models, kit, mirror={"share": 0.3})
    for _ in range(2):
        for number in range(100):
            await router.infer(kit.rows([1, 1, 1]), headers={"x-request-id": f"id-{number}"})
    await asyncio.sleep(0.1)
    ids = [head["x-request-id"] for head in shadow.heads]
    assert 20 < len(set(ids)) < 42
    assert sorted(ids) == sorted([*set(ids), *set(ids)])


async def test_no_row_of_a_copy_is_logged(start: Any, models: Any, kit: Any, tmp_path: Any) -> None:
    """The payload log holds each request once, as the primary answered it."""
    prefix = (tmp_path / "log").as_uri()
    payloads = {"prefix": f"{prefix}/p", "feedbackPrefix": f"{prefix}/f", "flushSeconds": 0.2}
    primary, shadow = await models(), await models()
    router = await start(kit.table(kit.route(primary), kit.route(shadow, "r2", 0), mirror=MIRROR, payloads=payloads))
    for _ in range(4):
        await router.infer(kit.rows([60, 1, 1]))
    assert (await _found(router, 4))["agreed"] == 4
    stats = router.router.recorder.payload_stats["m"]
    assert stats.accepted == 4


async def test_table_without_the_rule_stops_and_a_broken_rule_is_refused(start: Any, models: Any, kit: Any) -> None:
    """A swap ends copies under way without counting them; a rule that leads nowhere keeps the old table."""
    router, primary, shadow = await _pair(start, models, kit, delay=30.0)
    await router.infer(kit.rows([1, 1, 1]))
    await asyncio.sleep(0.1)
    mirror = router.router.tables._mirrors["m"]
    assert len(mirror.under_way) == 1
    assert router.offer(kit.route(primary), kit.route(shadow, "r2", 0))
    assert (mirror.under_way, mirror.held) == (set(), 0)
    assert not router.offer(kit.route(primary), mirror=MIRROR)
    assert router.router.tables.refused == "services.m.mirror: 'r2' is no revision"


async def test_binary_tensors_are_mirrored(start: Any, models: Any, kit: Any) -> None:
    """A binary body goes to the shadow byte for byte; what cannot be compared is counted as skipped."""
    router, primary, shadow = await _pair(start, models, kit)
    head = json.dumps({"inputs": [{"name": "features", "datatype": "FP32", "shape": [1, 3]}]}).encode()
    headers = {"inference-header-content-length": str(len(head))}
    async with router.session.post(f"{router.url}/v2/models/m/infer", data=head + b"\0" * 12, headers=headers) as got:
        assert got.status == 200
    assert (await _found(router, 1))["skipped"] == 1
    assert shadow.heads[-1]["inference-header-content-length"] == str(len(head))
    assert len(primary.heads) == len(shadow.heads)


async def test_metrics_tell_of_copies(start: Any, models: Any, kit: Any) -> None:
    """Prometheus sees copies by pair and result, and the shadow's latencies."""
    router, _, _ = await _pair(start, models, kit)
    await router.infer(kit.rows([60, 1, 1]))
    await _found(router, 1)
    async with router.session.get(f"{router.control}/metrics") as answer:
        text = await answer.text()
    pair = 'primary="r1",'
    assert f'gyre_router_mirror_copies_total{{{pair}result="agreed",service="m",shadow="r2"}} 1.0' in text
    assert f'gyre_router_mirror_shadow_seconds_bucket{{le="+Inf",{pair}service="m",shadow="r2"}} 1.0' in text


def test_pairs_of_several_processes_are_summed() -> None:
    """Living and ended processes add up by pair; the largest difference is the largest of all."""
    one = Comparison(primary="a", shadow="b", agreed=3, failed=1, largest=0.5, buckets={"0.1": 2, "+Inf": 3})
    two = Comparison(primary="a", shadow="b", agreed=2, differed=4, largest=0.2, buckets={"0.1": 1, "+Inf": 6})
    other = Comparison(primary="a", shadow="c", dropped=1)
    assert summed_pairs([{"m": [one]}, {"m": [two, other]}]) == {
        "m": [
            Comparison(
                primary="a", shadow="b", agreed=5, differed=4, failed=1, largest=0.5, buckets={"0.1": 3, "+Inf": 9}
            ),
            other,
        ]
    }


async def test_copies_for_a_shadow_without_pods_are_dropped(start: Any, models: Any, kit: Any) -> None:
    """A shadow whose pods are still to come has failed nothing."""
    primary = await models()
    absent = {**kit.route(primary, "r2", 0), "service": "not-there-yet"}
    router = await start(kit.table(kit.route(primary), absent, mirror=MIRROR))
    await router.infer(kit.rows([1, 1, 1]))
    pair = await _found(router, 1)
    assert (pair["dropped"], pair["failed"]) == (1, 0)
    assert router.router.tables._mirrors["m"].held == 0
