"""The two tasks as Jobs run them: orders in the environment, parts in a store, one JSON on the termination message."""

import json
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from gyre_crds.contracts.profile import Profile
from gyre_crds.contracts.task import ProfileOrder, ProfileReport
from gyre_crds.v1alpha1.common import LabelContract
from tests.monitoring.support import census
from tests.monitoring.support.looks import CONTRACT, HOUR, START, changed, monitor
from tests.monitoring.support.world import LATER, YOUNG, World


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


def test_a_second_look_at_a_window_gives_the_same_verdict(world: World) -> None:
    """A look that is repeated does not count itself as history."""
    world.traffic(0, census.draw(LATER, 1500, 14))
    assert world.look(0).spec == world.look(0).spec
