"""What stands in a task's way: foreign files, stores that are away, orders that say nothing."""

from pathlib import Path
from typing import Any

import pytest

from gyre_crds.contracts.attempt import EXIT_INFRA, EXIT_USER, FailureReport
from gyre_crds.contracts.store import StoreEnv
from gyre_crds.v1alpha1.drift import EvidentlySource
from gyre_monitoring import imports
from gyre_monitoring.errors import StoreError
from gyre_monitoring.store import Entry, Store
from tests.monitoring.support import census
from tests.monitoring.support.looks import HOUR, START, monitor
from tests.monitoring.support.world import YOUNG, World, text_of


def test_a_corrupt_part_and_foreign_files_do_not_stop_a_look(world: World) -> None:
    """A part of rubbish is named in the report, a file that is no part is read if it is Parquet."""
    world.traffic(0, census.draw(YOUNG, 1000, 13))
    (world.root / f"payloads/census/{START:%Y-%m-%d-%H}/1-99999999999999-x-9.parquet").write_bytes(b"PAR1 rubbish")
    report = world.look(0)
    assert report.spec.verdict == "QualityIncident"
    assert "1-99999999999999-x-9.parquet" in report.power["unreadable"][0]


def test_evidently_files_are_taken_over_once(world: World) -> None:
    """New and changed files below the place become imports; a window that became objects is not told again."""
    place = world.root / "drop" / "nightly"
    place.mkdir(parents=True)
    sample = (Path(__file__).parent / "samples" / "evidently-0.7.23.json").read_bytes()
    (place / "a.json").write_bytes(sample)
    (place / "notes.txt").write_text("no report")
    spec = monitor().model_copy(update={"evidently": EvidentlySource(uri=f"{world.uri}/drop/")})
    place_of_markers = f"{world.uri}/imports/census-watch"

    def keys(hour: int, until: int | None) -> list[str]:
        told = text_of(START + until * HOUR) if until is not None else None
        return [
            one.uri.rsplit("/", 1)[1]
            for one in world.look(hour, spec=spec, imports=place_of_markers, imported_until=told).imports
        ]

    assert keys(0, None) == ["a.json"]
    assert keys(1, None) == ["a.json"], "its look never became objects"
    assert keys(2, 1) == []
    (place / "b.json").write_text("{}")
    (place / "a.json").write_bytes(sample + b" ")
    assert sorted(keys(3, 2)) == ["a.json", "b.json"]


def test_an_evidently_file_is_a_report_or_a_sentence(world: World) -> None:
    """Evidently's judgement becomes the spec of a report on the look's window; rubbish is named with its cure."""
    (world.root / "drop").mkdir()
    (world.root / "drop" / "a.json").write_bytes(
        (Path(__file__).parent / "samples" / "evidently-0.7.23.json").read_bytes()
    )
    (world.root / "drop" / "b.json").write_text("{}")
    spec = monitor().model_copy(update={"evidently": EvidentlySource(uri=f"{world.uri}/drop/")})

    found = {one.uri: one for one in world.look(0, spec=spec, imports=f"{world.uri}/imports/m").imports}

    good, bad = found[f"{world.uri}/drop/a.json"].spec, found[f"{world.uri}/drop/b.json"]
    assert good is not None
    assert (good.engine, good.inference_service, good.window.start) == ("evidently", "census", text_of(START))
    assert bad.spec is None
    assert "this is no Evidently report: its JSON needs a top-level list `metrics`" in bad.problem


class _Away(Store):
    """A store that does not answer when listed."""

    def entries(self, prefix: str, *, after: str | None = None) -> tuple[Entry, ...]:
        """Never anything."""
        raise StoreError(f"{prefix} cannot be listed after {after}: connection refused")


def test_a_place_that_cannot_be_listed_does_not_stop_a_look(world: World) -> None:
    """One import says which field is wrong and why, and nothing is raised."""
    spec = monitor().model_copy(update={"evidently": EvidentlySource(uri="s3://gone/drop/")})

    [said] = imports.found(world.order(0, spec=spec, imports=f"{world.uri}/imports/m"), _Away({}))

    assert said.spec is None
    assert "spec.evidently.uri: s3://gone/drop/ cannot be listed" in said.problem


def test_no_traffic_is_insufficient_data(world: World) -> None:
    """An hour without a request makes a report, not a failure."""
    spec = world.look(0).spec
    assert (spec.verdict, spec.window.rows) == ("InsufficientData", 0)


@pytest.mark.parametrize(
    ("fields", "code", "reason", "words"),
    [
        pytest.param({"profile": "file:///nowhere/profile.json"}, EXIT_USER, "NoReference", "does not exist",
                     id="a profile that does not exist"),
        pytest.param({"window_start": "2026-02-31T06:00:00Z"}, EXIT_USER, "LookFailed",
                     "'2026-02-31T06:00:00Z' is no RFC 3339 time", id="a window that is no time"),
        pytest.param({"profile": "s3://gyre/x.json"}, EXIT_INFRA, "StoreUnreachable", "s3://gyre/x.json cannot be read",
                     id="a store that does not answer"),
    ],
)  # fmt: skip
def test_failures_are_one_sentence_with_a_reason(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    *,
    fields: dict[str, Any],
    code: int,
    reason: str,
    words: str,
) -> None:
    """Exit code and reason tell whose turn it is; the sentence names the field."""
    monkeypatch.setenv(StoreEnv.ENDPOINT, "http://127.0.0.1:9")
    monkeypatch.setenv(StoreEnv.ACCESS_KEY_ID, "x")
    monkeypatch.setenv(StoreEnv.SECRET_ACCESS_KEY, "x")
    message, found = world.run("look", world.order(0, **fields))
    failure = FailureReport.model_validate(message)
    assert (found, failure.reason) == (code, reason)
    assert words in failure.message


def test_an_order_that_does_not_parse_names_its_field(world: World) -> None:
    """A malformed GYRE_TASK is the operator's fault and says which field."""
    message, code = world.run("look", '{"namespace": "team"}')
    assert (code, message["reason"]) == (EXIT_USER, "InvalidSpec")
    assert "GYRE_TASK: monitor" in message["message"]
