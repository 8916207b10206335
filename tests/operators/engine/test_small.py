"""The small parts: breakers, settings, roles, logs, health, projections, selectors, patches."""

import asyncio
import io
import json
import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from gyre_crds.v1alpha1 import TrainingJob
from gyre_operators.engine.errors import error_from
from gyre_operators.engine.guard import Guard, UnavailableError
from gyre_operators.engine.health import Health, blind, ended, frozen
from gyre_operators.engine.kinds import JOB, NODE, gyre
from gyre_operators.engine.login import Token
from gyre_operators.engine.logs import JsonFormatter, TerminalFormatter
from gyre_operators.engine.metrics import Metrics
from gyre_operators.engine.objects import Objects
from gyre_operators.engine.project import decode, entry_of
from gyre_operators.engine.report import merge_patch, without_nulls
from gyre_operators.engine.selectors import matches
from gyre_operators.engine.watch import Source
from gyre_operators.rbac import document
from gyre_operators.settings import Settings, SettingsError, StoreSettings
from tests.operators.engine.example import JobView, OnceController, training_job
from tests.operators.engine.fakes import merged


class Flaky:
    """A system that answers as it is told, and counts."""

    def __init__(self) -> None:
        self.calls = 0
        self.error: Exception | None = None
        self.takes = 0.0

    async def __call__(self) -> str:
        """Answer, late or not at all."""
        self.calls += 1
        await asyncio.sleep(self.takes)
        if self.error is not None:
            raise self.error
        return "well"


@pytest.mark.looptime
async def test_a_breaker_opens_after_failures_in_a_row_and_tries_again_after_its_pause() -> None:
    """While open it costs no call; afterwards one success closes it."""
    system = Flaky()
    guard = Guard("MLflow", threshold=3, pause=15, clock=asyncio.get_running_loop().time)
    system.error = ConnectionRefusedError("connection refused")
    for _ in range(10):
        with pytest.raises(UnavailableError, match="MLflow is away: connection refused"):
            await guard(system)
    assert system.calls == 3
    system.error = None
    await asyncio.sleep(16)

    assert await guard(system) == "well"
    assert system.calls == 4


@pytest.mark.looptime
async def test_a_call_that_takes_too_long_counts_as_away() -> None:
    """The time limit is the guard's, not the caller's."""
    system = Flaky()
    system.takes = 60
    with pytest.raises(UnavailableError, match="no answer within 2 s"):
        await Guard("store", timeout=2)(system)


async def test_a_mistake_of_the_caller_is_not_taken_for_an_outage() -> None:
    """A ValueError passes through and does not open the breaker."""
    system = Flaky()
    guard = Guard("store", threshold=1)
    system.error = ValueError("too large")
    for _ in range(3):
        with pytest.raises(ValueError, match="too large"):
            await guard(system)

    assert system.calls == 3


@pytest.mark.looptime
async def test_at_most_so_many_calls_run_at_once() -> None:
    """Ten callers, two slots of a second each: five seconds."""
    system = Flaky()
    system.takes = 1
    guard = Guard("store", limit=2)
    began = asyncio.get_running_loop().time()
    await asyncio.gather(*(guard(system) for _ in range(10)))

    assert asyncio.get_running_loop().time() - began == pytest.approx(5)


@pytest.mark.looptime
async def test_a_rotated_token_is_used_within_a_minute() -> None:
    """And is not read again for each request."""
    tokens = iter(["old\n", "new\n"])
    token = Token(lambda: next(tokens), clock=asyncio.get_running_loop().time)

    assert [await token.fresh() for _ in range(3)] == ["old"] * 3
    await asyncio.sleep(61)
    assert await token.fresh() == "new"


def test_settings_come_from_yaml_and_have_defaults(tmp_path: Path) -> None:
    """Field names are camelCase; what is left out has its default."""
    file = tmp_path / "settings.yaml"
    file.write_text("namespaces: [team-a]\nhealthPort: 9000\nmlflow: {url: http://m:5000}\n")
    settings = Settings.load(str(file))

    assert settings.namespaces == ("team-a",)
    assert settings.health_port == 9000
    assert settings.mlflow.url == "http://m:5000"
    assert settings.freeze is False


BAD_SETTINGS = {
    "an unknown field is named": ("prizes: {}", "prizes: "),
    "a wrong type is named by its path": ("images: {triton: 7}", "images.triton: "),
    "a port out of range is refused": ("healthPort: 70000", "healthPort: "),
    "a store without a scheme is refused": ("store: {uri: bucket}", "store.uri: "),
    "what is no YAML is said": ("a: [", "is not YAML"),
    "what is no mapping is said": ("- a", "the file: "),
}


@pytest.mark.parametrize(("text", "said"), BAD_SETTINGS.values(), ids=BAD_SETTINGS.keys())
def test_bad_settings_get_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    """Each names the file and the field."""
    file = tmp_path / "settings.yaml"
    file.write_text(text)
    with pytest.raises(SettingsError, match=said) as caught:
        Settings.load(str(file))
    assert str(file) in str(caught.value)


def test_a_settings_file_that_was_named_must_exist(tmp_path: Path) -> None:
    """A typing error in GYRE_SETTINGS must not run with defaults."""
    with pytest.raises(SettingsError, match="cannot be read"):
        Settings.load(str(tmp_path / "absent.yaml"))


def test_roles_hold_what_is_declared_and_no_more() -> None:
    """Watches become reads, grants their verbs, the kind its status; the Lease stands apart."""
    rules = document([OnceController])
    flat = {(resource, verb) for rule in rules["workload"] for resource in rule["resources"] for verb in rule["verbs"]}

    assert {v for r, v in flat if r == "jobs"} == {"get", "list", "watch", "create", "delete"}
    assert {v for r, v in flat if r == "configmaps"} == {
        "get", "list", "watch", "create", "patch", "delete",
    }  # fmt: skip
    assert {v for r, v in flat if r == "trainingjobs"} == {"get", "list", "watch"}
    assert {v for r, v in flat if r == "trainingjobs/status"} == {"patch"}
    assert {r for r, _ in flat} == {
        "jobs", "configmaps", "trainingjobs", "trainingjobs/status", "events",
    }  # fmt: skip
    assert rules["cluster"] == []
    assert rules["system"][0]["resources"] == ["leases"]


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


def test_a_projection_reads_its_few_fields_and_the_metadata() -> None:
    """Owners, labels and version come along whatever the type is."""
    owner = {"apiVersion": "v1", "kind": "X", "name": "x", "uid": "u", "controller": True}
    body = {
        "metadata": {
            "name": "a", "namespace": "ns", "uid": "1", "resourceVersion": "7",
            "labels": {"k": "v"}, "ownerReferences": [owner], "managedFields": [{"big": 1}],
        },
        "spec": {"ignored": True},
        "status": {"succeeded": 2},
    }  # fmt: skip
    typed = decode(Source(JOB, JobView, "", ""), msgspec.Raw(orjson.dumps(body)))
    whole = entry_of(Source(JOB, dict, "", ""), body)

    assert typed.value is not None
    assert typed.value.status.succeeded == 2
    assert typed.raw is None
    assert (typed.version, typed.labels, typed.owners[0].uid) == (7, {"k": "v"}, "u")
    assert whole.raw is not None
    assert "managedFields" not in whole.raw["metadata"]
    assert whole.raw["kind"] == "Job"


GOOD = {"observedGeneration": 1, "state": "Running", "reason": "Running", "conditions": [], "suspendedSeconds": 0}
NEXT_VERSIONS = {
    "a status where there was none": ({"status": GOOD}, None),
    "another status": ({"status": {**GOOD, "state": "Failed", "startedAt": "2026-11-20T10:00:00Z"}}, GOOD),
    "no status any more": ({}, GOOD),
    "a status that this version cannot read": ({"status": {"state": 7, "unknown": True}}, GOOD),
    "the first status that can be read": ({"status": GOOD}, {"state": 7}),
    "a label": ({"metadata": {"labels": {"a": "b"}}, "status": GOOD}, GOOD),
    "a deletion": ({"metadata": {"deletionTimestamp": "2026-11-20T10:00:00Z"}, "status": GOOD}, GOOD),
    "another spec": ({"metadata": {"generation": 2}, "spec": {"model": "other", "image": "i", "command": ["c"]}}, GOOD),
    "another object of that name": ({"metadata": {"uid": "2"}, "spec": {"model": "o", "image": "i"}}, GOOD),
    "a spec that does not parse": ({"metadata": {"generation": 2}, "spec": {"image": 7}}, GOOD),
}


@pytest.mark.parametrize(("change", "status"), NEXT_VERSIONS.values(), ids=NEXT_VERSIONS.keys())
def test_a_next_version_parsed_over_the_known_one_is_what_it_is_parsed_alone(
    change: dict[str, Any], status: dict[str, Any] | None
) -> None:
    """The spec that is kept from the version before makes no difference that anybody could see."""
    source = Source(gyre(TrainingJob), TrainingJob, "", "")
    meta = {"name": "first", "namespace": "ns", "uid": "1", "generation": 1, "resourceVersion": "1"}
    body = {**training_job("first"), "metadata": meta}
    known = entry_of(source, {**body, "status": status} if status else body)
    news = {**body, **change, "metadata": {**meta, "resourceVersion": "2", **change.get("metadata", {})}}

    assert entry_of(source, news, known) == entry_of(source, news)


def test_an_object_that_does_not_parse_names_its_first_field() -> None:
    """The path is the user's own spelling."""
    body = training_job("first", retry={"limit": "many"}, onOutOfMemory="Explode")
    source = Source(gyre(TrainingJob), TrainingJob, "", "")
    found = entry_of(source, {**body, "metadata": {**body["metadata"], "resourceVersion": "1"}})

    assert found.value is None
    assert found.error.startswith("spec.")
    assert found.error.endswith("(and 1 more)")


SELECTORS = {
    "an empty selector takes all": ("", {}, True),
    "a label must be there": ("a", {"a": ""}, True),
    "a label that is not there": ("a", {"b": "1"}, False),
    "a label must not be there": ("!a", {"a": "1"}, False),
    "a value must match": ("a=1", {"a": "1"}, True),
    "another value": ("a=1", {"a": "2"}, False),
    "a value must differ": ("a!=1", {"a": "2"}, True),
    "an absent label differs from any value": ("a!=1", {}, True),
    "all terms must hold": ("a=1,!b", {"a": "1", "b": "1"}, False),
}


@pytest.mark.parametrize(("selector", "labels", "fits"), SELECTORS.values(), ids=SELECTORS.keys())
def test_selectors(selector: str, labels: dict[str, str], fits: bool) -> None:  # noqa: FBT001 -- a table column
    """The forms that watches may use, with Kubernetes' meaning."""
    assert matches(selector, {"labels": labels}) is fits


_value = st.recursive(
    st.integers() | st.text("ab", max_size=2) | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
_object = st.dictionaries(st.sampled_from("abc"), _value, max_size=3)


@given(_object, _object)
def test_a_merge_patch_makes_the_old_into_the_new(old: dict[str, Any], new: dict[str, Any]) -> None:
    """Applied by RFC 7386 it gives exactly the wanted status; it is empty only for equal ones."""
    patch = merge_patch(old, new)

    assert merged(old, patch) == new
    assert bool(patch) is (old != new) or not patch


def test_nulls_are_not_there() -> None:
    """A planned None equals an absent field, at any depth."""
    assert without_nulls({"a": None, "b": [{"c": None, "d": 1}]}) == {"b": [{"d": 1}]}


def test_an_answer_that_is_no_status_still_becomes_an_error() -> None:
    """A proxy's HTML has no reason, so the code's own phrase stands in."""
    error = error_from(502, b"<html>bad gateway</html>")

    assert (error.code, error.reason) == (502, "BadGateway")
    assert "bad gateway" in error.message


def test_paths_are_those_of_the_api() -> None:
    """Core and named groups, namespaced and not."""
    assert JOB.path("ns", "a", "status") == "/apis/batch/v1/namespaces/ns/jobs/a/status"
    assert NODE.path("ignored", "n1") == "/api/v1/nodes/n1"
    assert JOB.path() == "/apis/batch/v1/jobs"


async def test_objects_are_created_once_read_listed_and_removed(tmp_path: Path) -> None:
    """On a directory as on S3: create-only writes, None for what is not there."""
    objects = Objects(StoreSettings(uri=f"file://{tmp_path}"))
    base = objects.base("team-a")

    assert await objects.create(f"{base}/x/1.json", b"one") is True
    assert await objects.create(f"{base}/x/1.json", b"two") is False
    assert await objects.read(f"{base}/x/1.json") == b"one"
    assert await objects.read(f"{base}/x/2.json") is None
    assert await objects.under(f"{base}/x/") == [f"{base}/x/1.json"]
    await objects.delete(f"{base}/x/1.json")
    await objects.delete(f"{base}/x/1.json")
    assert await objects.under(base) == []


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
