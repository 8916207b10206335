"""Rows of a service joined with their labels: which count, how they are divided, and that they are pinned."""

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gyre_crds.v1alpha1.common import Contract
from gyre_pipelines import prepare
from gyre_pipelines.failure import Failure
from gyre_pipelines.objects import Store
from gyre_pipelines.payloads import Window, labelled_rows
from gyre_pipelines.tables import TIME_TYPE
from tests.pipelines.support.attempts import CONTRACT, Attempt, make_attempt

NOW = datetime.now(UTC).replace(microsecond=0)
FEATURED = Contract.model_validate({**CONTRACT, "features": ["a", "b", "c"]})
WEEK = 7 * 86400.0


def _part(store: Store, prefix: str, times: list[datetime], columns: dict[str, Any], number: int = 0) -> None:
    stamps = [int(time.timestamp() * 1000) for time in times]
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    store.write(f"{prefix}/svc/2026-01-01-00/{min(stamps)}-{max(stamps)}-router-{number}.parquet", sink.getvalue())


def payload(
    store: Store, times: list[datetime], *, first: int = 0, number: int = 0, keys: list[Any] | None = None
) -> None:
    """One part of the payload log: request r<n>, one row each, answered at these times."""
    count = len(times)
    _part(store, "payloads", times, {
        "gyre_request_id": [f"r{first + index}" for index in range(count)],
        "gyre_row": pa.array([0] * count, pa.int32()),
        "gyre_key": pa.array(keys or [str(first + index) for index in range(count)], pa.string()),
        "gyre_time": pa.array(times, TIME_TYPE),
        "gyre_revision": ["rev"] * count, "gyre_version": ["v"] * count, "gyre_propensity": [1.0] * count,
        "gyre_label_sample": [index % 2 == 0 for index in range(count)],
        "a": [float(first + index) for index in range(count)], "b": [0.5] * count, "c": [None] * count,
        "prediction": [1.0] * count, "score": [0.9] * count,
    }, number)  # fmt: skip


def feedback(
    store: Store, times: list[datetime], labels: list[Any], *, first: int = 0, number: int = 0, counts: bool = True
) -> None:
    """One part of the feedback for requests r<n>."""
    count = len(times)
    _part(store, "feedback", times, {
        "gyre_request_id": [f"r{first + index}" for index in range(count)],
        "gyre_row": pa.array([0] * count, pa.int32()),
        "label": labels,
        "gyre_label_time": pa.array(times, TIME_TYPE),
        "gyre_first": [counts] * count,
    }, number)  # fmt: skip


def minutes(*ago: float) -> list[datetime]:
    """Instants so many minutes before now."""
    return [NOW - timedelta(minutes=minute) for minute in ago]


def joined(store: Store, **window: Any) -> dict[str, list[Any]]:
    """The labelled rows of the last week."""
    rows = labelled_rows(store, "svc", FEATURED, Window(NOW, **{"length": WEEK, **window}))
    columns: dict[str, list[Any]] = rows.to_pydict()
    return columns


def test_own_columns_of_the_log_are_no_features(store: Store) -> None:
    """A contract without features takes every column but those that the router adds."""
    payload(store, minutes(5, 4))
    feedback(store, minutes(3, 2), [1.0, 0.0])
    contract = Contract.model_validate({**CONTRACT, "features": []})
    rows = labelled_rows(store, "svc", contract, Window(NOW, WEEK))
    assert [name for name in rows.column_names if name.startswith("gyre_") and name != contract.time] == []


def test_rows_meet_their_labels(store: Store) -> None:
    """Features, key as an integer again, arrival as time, label as an integer; oldest first; no label, no row."""
    payload(store, minutes(30, 20, 10))
    feedback(store, minutes(5, 4), [1.0, 0.0])
    rows = joined(store)
    assert list(rows) == ["a", "b", "c", "id", "time", "y"]
    assert (rows["id"], rows["y"], rows["a"]) == ([0, 1], [1, 0], [0.0, 1.0])
    assert rows["time"] == minutes(30, 20)


def test_only_the_first_label_counts(store: Store) -> None:
    """A repeated label is ignored whether the router marked it or two routers both took it for the first."""
    payload(store, minutes(30))
    feedback(store, minutes(9), [1.0])
    feedback(store, minutes(8), [0.0], number=1)
    feedback(store, minutes(20), [0.0], number=2, counts=False)
    assert joined(store)["y"] == [1]


def test_a_row_in_two_parts_counts_once(store: Store) -> None:
    """A part that was written again after a crash does not double its rows."""
    payload(store, minutes(30, 20))
    payload(store, minutes(30, 20), number=1)
    feedback(store, minutes(5, 5), [1.0, 1.0])
    assert joined(store)["id"] == [0, 1]


def test_the_window_maturity_and_broken_windows_bound_the_rows(store: Store) -> None:
    """Rows older than the window, younger than the maturity, or in an excluded span are not learned from."""
    payload(store, minutes(300, 90, 60, 30, 1))
    feedback(store, minutes(0, 0, 0, 0, 0), [1.0] * 5)
    span = (minutes(61)[0], minutes(59)[0])
    assert joined(store, length=7200.0, maturity=300.0)["id"] == [1, 2, 3]
    assert joined(store, length=7200.0, maturity=300.0, excluded=(span,))["id"] == [1, 3]


def test_only_rows_drawn_for_labelling_count_where_asked(store: Store) -> None:
    """Where labels depend on decisions a comparison takes the rows that the router marked by lot: here every other."""
    payload(store, minutes(60, 50, 40, 30))
    feedback(store, minutes(5, 5, 5, 5), [1.0] * 4)
    assert joined(store, drawn=True)["id"] == [0, 2]


def test_labels_of_two_types_meet(store: Store) -> None:
    """A part with text labels beside one with numbers makes text, not an error."""
    payload(store, minutes(30, 20))
    feedback(store, minutes(5), [1.0])
    feedback(store, minutes(4), ["maybe"], first=1, number=1)
    assert joined(store)["y"] == ["1", "maybe"]


def test_a_row_without_a_key_gets_one(store: Store) -> None:
    """Its request id and row stand in, so it can be held out like any other."""
    payload(store, minutes(30, 20), keys=[None, "7"])
    feedback(store, minutes(5, 5), [1.0, 1.0])
    assert joined(store)["id"] == ["r0/0", "7"]


def test_a_redacted_feature_is_named(store: Store) -> None:
    """A contract that wants a column the log never has is told which and what to do."""
    payload(store, minutes(30))
    feedback(store, minutes(5), [1.0])
    contract = Contract.model_validate({**CONTRACT, "features": ["a", "secret"]})
    with pytest.raises(
        Failure, match=r"payload log of InferenceService svc lacks column secret; take it out of payloads\.redact"
    ) as caught:
        labelled_rows(store, "svc", contract, Window(NOW, WEEK))
    assert caught.value.reason == "DataUnreadable", "as of a file that lacks a column"


def retraining(folder: Path, environment: dict[str, str], rows: int, **source: Any) -> Attempt:
    """An attempt on the base file and the labelled rows of a service."""
    attempt = make_attempt(folder, environment)
    times = [NOW - timedelta(minutes=5 + index) for index in reversed(range(rows))]
    if rows:
        payload(attempt.store(), times, first=9_000_000)
        feedback(attempt.store(), [NOW] * rows, [float(index % 2) for index in range(rows)], first=9_000_000)
    attempt.order["data"].append({"name": "recent", "from": {"inferenceService": "svc", **source}, "holdout": 0.3})
    return attempt


def test_a_service_that_nobody_asked_gives_an_empty_folder(
    tmp_path: Path, directory_environment: dict[str, str]
) -> None:
    """The first training of a model has no answered rows yet; the folder exists and the job goes on."""
    attempt = retraining(tmp_path, directory_environment, 0)
    resolved = prepare.run(attempt.parsed(), attempt.environment()).resolved.data[1]
    assert (resolved.rows, resolved.holdout_rows) == (0, 0)
    assert list((attempt.root / "data" / "recent").iterdir()) == []


def test_too_few_labelled_rows_are_told(tmp_path: Path, directory_environment: dict[str, str]) -> None:
    """With minRows the job says how many there are."""
    attempt = retraining(tmp_path, directory_environment, 10, minRows=50, window="2d")
    with pytest.raises(Failure, match="svc has 10 labelled rows in the last 2d, minRows asks for 50") as caught:
        prepare.run(attempt.parsed(), attempt.environment())
    assert caught.value.reason == "DataNotFound"


def test_the_latest_rows_of_a_service_are_held_out(tmp_path: Path, directory_environment: dict[str, str]) -> None:
    """Three tenths, the latest, are kept for the gate; all that train are earlier, and cutOff says when."""
    attempt = retraining(tmp_path, directory_environment, 100)
    report = prepare.run(attempt.parsed(), attempt.environment())
    assert (report.resolved.data[1].rows, report.resolved.data[1].holdout_rows) == (70, 30)
    trained = pq.read_table(attempt.root / "data" / "recent" / "rows.parquet")
    held = pq.read_table(io.BytesIO(attempt.store().read("jobs/uid-1/holdout.parquet")))
    assert held.column_names == ["a", "b", "c", "id", "time", "y"]
    assert max(trained["time"].to_pylist()) < min(held["time"].to_pylist())
    assert (
        max(trained["time"].to_pylist()).isoformat().replace("+00:00", "Z")
        in (attempt.root / "lineage.json").read_text()
    )


def test_many_recent_rows_make_the_reference(tmp_path: Path, directory_environment: dict[str, str]) -> None:
    """With 500 held-out rows of a service the reference is the world of today, not a mixture with the past."""
    attempt = retraining(tmp_path, directory_environment, 1700)
    prepare.run(attempt.parsed(), attempt.environment())
    truth = pq.read_table(attempt.root / "truth" / "truth.parquet")
    assert truth.num_rows == 510
    assert min(truth["id"].to_pylist()) >= 9_000_000


def test_a_later_attempt_sees_the_same_rows(tmp_path: Path, directory_environment: dict[str, str]) -> None:
    """Labels that come in after the first attempt do not change what the second trains on."""
    attempt = retraining(tmp_path, directory_environment, 40)
    first = prepare.run(attempt.parsed(), attempt.environment()).resolved
    payload(attempt.store(), minutes(2), first=77, number=5)
    feedback(attempt.store(), minutes(1), [1.0], first=77, number=5)
    attempt.order.update(number=2, resolved=first.dump())
    assert prepare.run(attempt.parsed(), attempt.environment()).resolved == first


def test_new_labels_are_new_data(tmp_path: Path, directory_environment: dict[str, str]) -> None:
    """One more labelled row gives another input digest; without any, the digest is the champion's."""
    attempt = retraining(tmp_path, directory_environment, 40)
    first = prepare.run(attempt.parsed(), attempt.environment()).resolved.input_digest
    attempt.order.update(uid="uid-2")
    assert prepare.run(attempt.parsed(), attempt.environment()).resolved.input_digest == first
    payload(attempt.store(), minutes(2), first=77, number=5)
    feedback(attempt.store(), minutes(1), [1.0], first=77, number=5)
    attempt.order.update(uid="uid-3")
    assert prepare.run(attempt.parsed(), attempt.environment()).resolved.input_digest != first


def test_pinned_rows_read_by_uri_are_divided_as_before(tmp_path: Path, directory_environment: dict[str, str]) -> None:
    """A training repeated from a version's lineage trains on the same rows and holds out the same ones."""
    attempt = retraining(tmp_path, directory_environment, 100)
    pinned = prepare.run(attempt.parsed(), attempt.environment()).resolved.data[1]
    trained = pq.read_table(attempt.root / "data" / "recent" / "rows.parquet")
    attempt.order.update(uid="uid-2")
    attempt.order["data"][1] = {"name": "recent", "uri": pinned.uri, "sha256": pinned.digest, "holdout": 0.3}
    again = prepare.run(attempt.parsed(), attempt.environment()).resolved.data[1]
    assert (again.rows, again.holdout_rows, again.digest) == (70, 30, pinned.digest)
    assert pq.read_table(attempt.root / "data" / "recent" / "rows.parquet").equals(trained)
