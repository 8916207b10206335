"""What an operator says of itself: logs, probes, metrics."""

import asyncio
import io
import json
import logging
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from gyre_operators.engine.health import Health, blind, ended, frozen
from gyre_operators.engine.logs import JsonFormatter, TerminalFormatter
from gyre_operators.engine.metrics import Metrics


def _record(**extra: Any) -> logging.LogRecord:
    fields = {"name": "gyre", "levelno": logging.INFO, "levelname": "INFO", "msg": "it %s"}
    return logging.makeLogRecord({**fields, "args": ("runs",), **extra})


def test_a_log_line_is_one_json_object_with_its_facts() -> None:
    """What was given as extra is a field, and nothing else of Python's record is."""
    line = JsonFormatter(lambda: datetime(2026, 1, 1, tzinfo=UTC)).format(_record(controller="once", object="first"))

    assert json.loads(line) == {
        "time": "2026-01-01T00:00:00Z",
        "level": "info",
        "logger": "gyre",
        "message": "it runs",
        "controller": "once",
        "object": "first",
    }


def test_on_a_terminal_facts_follow_the_words() -> None:
    """For people who run the operator by hand."""
    assert TerminalFormatter().format(_record(object="first")).endswith("it runs  object=first")


class Stream:
    """Somebody who hears from the API server, or not."""

    name = "jobs"

    def __init__(self, contact: float, trouble: str = "") -> None:
        self.contact = contact
        self.trouble = trouble


@pytest.mark.looptime(start=1000)
async def test_silence_without_a_reason_is_deadly_and_with_one_it_is_not() -> None:
    """A frozen stream calls for a restart, an absent API server does not; both are not ready."""
    well, ill, away = Stream(990), Stream(100), Stream(100, "connection refused")

    assert frozen([well, away], 300)() == ""
    assert "jobs" in frozen([well, ill], 300)()
    assert blind([well], 180)() == ""
    assert "connection refused" in blind([well, away], 180)()


async def test_an_ended_task_is_deadly() -> None:
    """A reflector or worker that is gone cannot come back by itself."""
    task: asyncio.Task[None] = asyncio.create_task(asyncio.sleep(0), name="worker 3")
    check = ended([task])
    assert check() == ""
    await task

    assert check() == "ended: worker 3"


async def test_probes_and_metrics_are_served_on_one_port() -> None:
    """503 with the sentence while a check fails; metrics carry controller-runtime's names."""
    metrics = Metrics(CollectorRegistry())
    metrics.reconciles.labels("once", "success").inc()
    health = Health(metrics.registry)
    health.ready["stores"] = lambda: "not listed yet: jobs"
    port = await health.serve(0)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        async with session.get("/livez") as answer:
            assert answer.status == 200
        async with session.get("/readyz") as answer:
            assert answer.status == 503
            assert (await answer.json())["checks"] == {"stores": "not listed yet: jobs"}
        async with session.get("/metrics") as answer:
            text = await answer.text()
    await health.close()

    assert 'controller_runtime_reconcile_total{controller="once",result="success"} 1.0' in text


def test_logging_goes_where_it_was_told() -> None:
    """JSON where nobody watches."""
    from gyre_operators.engine.logs import configure  # noqa: PLC0415 -- changes global state

    stream = io.StringIO()
    before = logging.getLogger().handlers[:]
    try:
        configure(stream)
        logging.getLogger("gyre").info("hello", extra={"object": "first"})
    finally:
        logging.getLogger().handlers[:] = before

    assert json.loads(stream.getvalue())["object"] == "first"
