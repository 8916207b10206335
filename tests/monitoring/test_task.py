"""The two tasks as Jobs run them: orders in the environment, parts in a store, one JSON on the termination message."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from gyre_crds.contracts.attempt import EXIT_INFRA, EXIT_USER, MESSAGE_LIMIT, FailureReport
from gyre_crds.contracts.profile import Profile
from gyre_crds.contracts.store import StoreEnv
from gyre_crds.contracts.task import ENV, LookOrder, LookReport, ProfileOrder, ProfileReport, Report
from gyre_crds.v1alpha1.common import LabelContract
from gyre_crds.v1alpha1.drift import EvidentlySource
from gyre_monitoring import imports
from gyre_monitoring.cli import main
from gyre_monitoring.errors import StoreError
from gyre_monitoring.store import Entry, Store
from tests.monitoring.support import census
from tests.monitoring.support.looks import CONTRACT, HOUR, START, changed, monitor

LATER = census.people()[1]
YOUNG = census.young(LATER)


class World:
    """A namespace's store in a directory, and a service `census` that logs into it."""

    def __init__(self, root: Path, termination: Path) -> None:
        self.root, self.termination = root, termination
        self.uri = f"file://{root}"
        self.parts = 0
        self.put("versions/v/reference.parquet", census.reference())

    def put(self, path: str, table: pa.Table) -> None:
        """Write a Parquet object."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, target)

    def traffic(
        self, hour: int, people: census.Frame, change: Callable[[pa.Table], pa.Table] | None = None
    ) -> list[str]:
        """An hour of requests in four parts, evenly spread; the request ids."""
        rows, start = people["y"].size, START + hour * HOUR
        ids = [f"{hour}-{k}" for k in range(rows)]
        table = census.scored(people)
        ours = {
            "gyre_request_id": pa.array(ids),
            "gyre_row": pa.array(np.zeros(rows, np.int32)),
            "gyre_key": pa.array(ids),
            "gyre_time": pa.array([start + HOUR * k / rows for k in range(rows)], pa.timestamp("us", "UTC")),
            "gyre_revision": pa.array(["stable"] * rows),
            "gyre_version": pa.array(["census-0123456789ab"] * rows),
            "gyre_propensity": pa.array(np.ones(rows)),
            "gyre_label_sample": pa.array(np.arange(rows) % 100 == 0),
        }
        for name, column in ours.items():
            table = table.append_column(name, column)
        table = change(table) if change else table
        for part in range(4):
            self._part("payloads/census", table.slice(rows * part // 4, rows // 4), "gyre_time")
        return ids

    def feedback(self, ids: list[str], truth: Any, at: datetime, *, first: bool = True) -> None:
        """Labels that became known at an instant."""
        count = len(ids)
        table = pa.table(
            {
                "gyre_request_id": ids,
                "gyre_row": pa.array(np.zeros(count, np.int32)),
                "label": np.asarray(truth[:count], dtype=np.float64),
                "gyre_label_time": pa.array([at] * count, pa.timestamp("us", "UTC")),
                "gyre_first": [first] * count,
            }
        )
        self._part("feedback/census", table, "gyre_label_time")

    def order(self, hour: int, **fields: Any) -> LookOrder:
        """The order to look at one hour."""
        start = START + hour * HOUR
        known: dict[str, Any] = {
            "namespace": "team", "monitor": "census-watch", "service": "census",
            "profile": f"{self.uri}/versions/v/reference.parquet", "window_start": _text(start),
            "window_end": _text(start + HOUR), "spec": monitor(), "contract": CONTRACT,
            "out": f"{self.uri}/reports/census-watch/{_text(start).replace(':', '')}",
            "history": f"{self.uri}/reports/census-watch",
        }  # fmt: skip
        return LookOrder(**known | fields)

    def look(self, hour: int, **fields: Any) -> Report:
        """Run one look; its report from the store."""
        message, code = self.run("look", self.order(hour, **fields))
        assert code == 0, message
        return Report.model_validate(json.loads(self.read(LookReport.model_validate(message).uri)))

    def run(self, command: str, order: Any) -> tuple[dict[str, Any], int]:
        """Termination message and exit code of a task."""
        text = order if isinstance(order, str) else order.model_dump_json(by_alias=True)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(ENV, text)
            patch.setenv(StoreEnv.URI, self.uri)
            patch.setenv("GYRE_TERMINATION_LOG", str(self.termination))
            code = main([command])
        content = self.termination.read_bytes()
        assert len(content) <= MESSAGE_LIMIT
        return json.loads(content), code

    def read(self, uri: str) -> bytes:
        """An object's bytes."""
        return Path(uri.removeprefix("file://")).read_bytes()

    def _part(self, prefix: str, table: pa.Table, time: str) -> None:
        self.parts += 1
        first, last = (one.as_py() for one in (pc.min(table[time]), pc.max(table[time])))
        stamps = "-".join(str(int(one.timestamp() * 1000)) for one in (first, last))
        self.put(f"{prefix}/{first:%Y-%m-%d-%H}/{stamps}-router-a-1-{self.parts}.parquet", table)


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.fixture
def world(tmp_path: Path) -> World:
    """An empty namespace with a reference."""
    (tmp_path / "store").mkdir()
    return World(tmp_path / "store", tmp_path / "termination-log")


def test_profile_then_look(world: World) -> None:
    """A profile is made, and a look against it writes report and page and says where they are."""
    out = f"{world.uri}/versions/v/profile.json"
    order = ProfileOrder(reference=f"{world.uri}/versions/v/reference.parquet", out=out, contract=CONTRACT)
    message, code = world.run("profile", order)
    made = ProfileReport.model_validate(message)
    assert (code, made.rows, made.columns) == (0, 5000, 16)
    profile = Profile.model_validate(json.loads(world.read(out)))
    assert profile.source == order.reference

    world.traffic(0, census.draw(YOUNG, 1200, 1))
    report = world.look(0, profile=out, version="census-0123456789ab")
    assert (report.spec.verdict, report.spec.window.rows) == ("Healthy", 1200)
    assert report.spec.reference_digest == made.digest
    assert report.spec.version == "census-0123456789ab"
    assert report.spec.artifacts.html is not None
    assert world.read(report.spec.artifacts.html).startswith(b"<!doctype html>")


def test_only_the_window_and_the_wanted_revisions_count(world: World) -> None:
    """Rows of the neighbouring hours and of another revision are not looked at."""
    world.traffic(0, census.draw(LATER, 800, 1))
    world.traffic(1, census.draw(YOUNG, 1200, 2))
    candidate = lambda table: changed(table, "gyre_revision", pa.array(["candidate"] * table.num_rows))  # noqa: E731
    world.traffic(1, census.draw(LATER, 800, 3), candidate)
    world.traffic(2, census.draw(LATER, 800, 4))
    assert world.look(1, revisions=["stable"]).spec.window.rows == 1200
    assert world.look(1).spec.window.rows == 2000


def test_first_labels_of_mature_rows_prove_the_loss(world: World) -> None:
    """4,000 first labels prove the loss; repeated labels and labels known later do not count."""
    people = census.draw(LATER, 4000, 5)
    ids = world.traffic(0, people)
    world.feedback(ids, people["y"], START + timedelta(minutes=59))
    world.feedback(ids, 1 - people["y"], START + timedelta(minutes=59), first=False)
    world.feedback(ids, 1 - people["y"], START + 5 * HOUR)
    spec = world.look(0).spec
    assert spec.verdict == "PerformanceLoss"
    assert spec.performance is not None
    assert spec.performance.labels == 4000
    assert spec.performance.realized == pytest.approx(0.755, abs=0.02)


def test_labels_of_rows_younger_than_maturity_do_not_count(world: World) -> None:
    """With a maturity of two hours, rows of the window itself cannot prove anything yet; later they do."""
    people = census.draw(LATER, 4000, 6)
    world.feedback(world.traffic(0, people), people["y"], START + timedelta(minutes=30))
    slow = CONTRACT.model_copy(update={"label": LabelContract(column="employed", maturity="2h")})
    early = world.look(0, contract=slow).spec
    assert (early.verdict, early.performance.labels if early.performance else 0) == ("CovariateShift", 0)
    world.traffic(2, census.draw(LATER, 1500, 7))
    late = world.look(2, contract=slow).spec
    assert late.verdict == "PerformanceLoss"


def test_labels_of_broken_windows_are_not_held_against_the_model(world: World) -> None:
    """Labels of an hour whose ages came in months are left out of the next hour's performance."""
    months = lambda table: changed(table, "AGEP", pc.multiply(table["AGEP"], 12.0))  # noqa: E731
    broken, good = census.draw(YOUNG, 2000, 8), census.draw(YOUNG, 2000, 9)
    world.feedback(world.traffic(0, broken, months), 1 - broken["y"], START + timedelta(minutes=50))
    assert world.look(0).spec.verdict == "SchemaBreak"
    world.feedback(world.traffic(1, good), good["y"], START + timedelta(minutes=110))
    spec = world.look(1).spec
    assert spec.verdict == "Healthy"
    assert spec.performance is not None
    assert spec.performance.labels == 2000


def test_a_redacted_column_is_not_missing(world: World) -> None:
    """A column that the payload log leaves out is not looked at, and the report says so."""
    world.traffic(0, census.draw(YOUNG, 1000, 10), lambda table: table.drop_columns("SEX"))
    assert world.look(0).spec.verdict == "SchemaBreak"
    spec = world.look(0, redacted=["SEX"]).spec
    assert spec.verdict == "Healthy"
    assert "SEX is redacted" in spec.power


def test_segments_find_what_the_whole_hides(world: World) -> None:
    """Women 12 years older, in a tenth of all rows: the segment is named."""
    people = census.draw(YOUNG, 5000, 12)
    group = np.flatnonzero(people["RAC1P"] == 2)
    people["AGEP"][group] = np.minimum(people["AGEP"][group] + 22, 64)
    world.traffic(0, people)
    report = world.look(0, spec=monitor(segments=["RAC1P"]))
    drifted = [one for one in report.segments if one["drifted"]]
    assert report.spec.verdict == "CovariateShift"
    assert {"RAC1P=2"} == {one["segment"] for one in drifted}
    assert "AGEP where RAC1P=2" in report.spec.reason


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
        told = _text(START + until * HOUR) if until is not None else None
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
    assert (good.engine, good.inference_service, good.window.start) == ("evidently", "census", _text(START))
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


def test_a_second_look_at_a_window_gives_the_same_verdict(world: World) -> None:
    """A look that is repeated does not count itself as history."""
    world.traffic(0, census.draw(LATER, 1500, 14))
    assert world.look(0).spec == world.look(0).spec
