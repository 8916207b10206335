"""Traces beside the latency histogram."""

from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
OPENMETRICS = {"accept": "application/openmetrics-text; version=1.0.0"}


async def _scrape(router: Any, **headers: str) -> tuple[str, str]:
    async with router.session.get(f"{router.control}/metrics", headers=headers) as answer:
        return await answer.text(), answer.headers["content-type"]


async def test_openmetrics_shows_a_trace_of_each_latency(start: Any, models: Any, kit: Any) -> None:
    """The latest traced request stands at its bucket, a failure too; an OpenMetrics parser takes the whole page."""
    model = await models()
    router = await start(kit.table(kit.route(model)))
    await router.infer(kit.rows([1, 1, 1]))
    await router.infer(kit.rows([1, 1, 1]), headers={"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"})
    text, kind = await _scrape(router, **OPENMETRICS)
    assert kind.startswith("application/openmetrics-text")
    parsed = text_string_to_metric_families(text)  # type: ignore[no-untyped-call]  # the parser has no types
    families = {family.name: family for family in parsed}
    shown = [s.exemplar for s in families["gyre_router_latency_seconds"].samples if s.exemplar is not None]
    assert [one.labels for one in shown] == [{"trace_id": TRACE}]
    assert 0 < shown[0].value < 5
    model.kill()
    other = TRACE.replace("4", "5")
    await router.infer(kit.rows([1, 1, 1]), headers={"traceparent": f"00-{other}-00f067aa0ba902b7-01"})
    assert other in (await _scrape(router, **OPENMETRICS))[0]


@pytest.mark.parametrize(
    "header",
    [
        pytest.param("", id="empty"),
        pytest.param("00-zz-1-01", id="no ids"),
        pytest.param('00-"}x-00f067aa0ba902b7-01', id="characters that end a label"),
        pytest.param(f"00-{TRACE.upper()}-00f067aa0ba902b7-01", id="not in lower case"),
    ],
)
async def test_broken_trace_is_no_exemplar(start: Any, models: Any, kit: Any, header: str) -> None:
    """What is no W3C trace context never reaches the page."""
    router = await start(kit.table(kit.route(await models())))
    assert (await router.infer(kit.rows([1, 1, 1]), headers={"traceparent": header}))[0] == 200
    text, _ = await _scrape(router, **OPENMETRICS)
    assert "trace_id" not in text


async def test_who_does_not_ask_gets_plain_text(start: Any, models: Any, kit: Any) -> None:
    """The older text format knows no exemplars and shows none."""
    router = await start(kit.table(kit.route(await models())))
    await router.infer(kit.rows([1, 1, 1]), headers={"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"})
    text, kind = await _scrape(router)
    assert kind.startswith("text/plain")
    assert TRACE not in text
    assert 'gyre_router_latency_seconds_bucket{le="+Inf"' in text
