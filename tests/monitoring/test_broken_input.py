"""Broken data: the right verdict or one sentence, never an exception."""

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from gyre_crds.v1alpha1.drift import Feature, Quality
from gyre_monitoring import report
from gyre_monitoring.page import page
from tests.monitoring.support import census
from tests.monitoring.support.looks import AGES, changed, look, monitor, normal_profile, normals, reported, window

YOUNG = census.young(census.people()[1])
ROWS = 2000


def people(seed: int = 11) -> pa.Table:
    """A healthy window."""
    return window(census.draw(YOUNG, ROWS, seed))


def ages(table: pa.Table) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """The ages, writable."""
    return np.asarray(table["AGEP"]).copy()


def some(share: float) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """A random share of the rows."""
    return np.random.default_rng(3).random(ROWS) < share


def null(share: float) -> Callable[[pa.Table], pa.Table]:
    """Ages missing as nulls."""
    return lambda table: changed(table, "AGEP", pa.array(ages(table), mask=some(share)))


def put(value: float, share: float, column: str = "AGEP") -> Callable[[pa.Table], pa.Table]:
    """A value in a share of the rows."""
    return lambda table: changed(table, column, np.where(some(share), value, np.asarray(table[column])))


def single(value: float, column: str = "AGEP") -> Callable[[pa.Table], pa.Table]:
    """One outlier."""

    def spoil(table: pa.Table) -> pa.Table:
        values = np.asarray(table[column]).copy()
        values[7] = value
        return changed(table, column, values)

    return spoil


CASES: list[tuple[str, Callable[[pa.Table], pa.Table], str, str]] = [
    ("half of the ages are NaN", lambda t: changed(t, "AGEP", np.where(some(0.5), np.nan, ages(t))),
     "QualityIncident", "AGEP is missing in"),
    ("half of the ages are null", null(0.5), "QualityIncident", "AGEP is missing in"),
    ("every age is NaN", lambda t: changed(t, "AGEP", np.full(ROWS, np.nan)), "QualityIncident",
     "AGEP is missing in 100% of the rows"),
    ("the age column holds only nulls of no type", lambda t: changed(t, "AGEP", pa.nulls(ROWS)), "QualityIncident",
     "AGEP is missing in 100% of the rows"),
    ("a tenth of the ages is infinite", put(math.inf, 0.1), "QualityIncident", "AGEP is infinite"),
    ("ages below the declared range", put(-3.0, 0.05), "QualityIncident", "AGEP is outside 0 to 120"),
    ("one age is a million", single(1e6), "Healthy", ""),
    ("one age is infinite", single(math.inf), "Healthy", ""),
    ("one value of an undeclared column is 1e300", single(1e300, "SCHL"), "Healthy", ""),
    ("every age is 40", lambda t: changed(t, "AGEP", np.full(ROWS, 40.0)), "QualityIncident",
     "AGEP holds one single value"),
    ("ages arrive as text", lambda t: changed(t, "AGEP", pa.array([str(one) for one in ages(t)])), "SchemaBreak",
     "AGEP arrives as string, training had number"),
    ("ages arrive as times", lambda t: changed(t, "AGEP", pa.array(ages(t).astype("int64"), pa.timestamp("s"))),
     "SchemaBreak", "AGEP arrives as time, training had number"),
    ("ages arrive as lists", lambda t: changed(t, "AGEP", pa.array([[one] for one in ages(t)])), "SchemaBreak",
     "AGEP arrives as vector, training had number"),
    ("ages arrive as whole numbers", lambda t: changed(t, "AGEP", ages(t).astype(np.int32)), "Healthy", ""),
    ("the age column is missing", lambda t: t.drop_columns("AGEP"), "SchemaBreak", "AGEP is missing"),
    ("a column training did not have", lambda t: t.append_column("NEW", pa.array(np.ones(ROWS))), "SchemaBreak",
     "NEW is a column that training did not have"),
    ("a column of ours", lambda t: t.append_column("gyre_experiment", pa.array(np.ones(ROWS))), "Healthy", ""),
    ("ages in thousandths", lambda t: changed(t, "AGEP", ages(t) / 1000), "SchemaBreak",
     "AGEP arrives 1000 times smaller than in training"),
    ("ages times a thousand", lambda t: changed(t, "AGEP", ages(t) * 1000), "SchemaBreak",
     "AGEP arrives 1000 times larger than in training"),
    ("ages as years of birth", lambda t: changed(t, "AGEP", ages(t) + 1900), "SchemaBreak",
     "AGEP arrives 1900 higher than in training"),
    ("a placeholder of 0 in a fifth of the ages", put(0.0, 0.2), "QualityIncident", "AGEP holds one value that"),
    ("scores are not logged", lambda t: t.drop_columns("score"), "Healthy", ""),
    ("rows out of order", lambda t: t.take(pa.array(np.arange(ROWS)[::-1].copy())), "Healthy", ""),
]  # fmt: skip


@pytest.mark.parametrize(("spoil", "verdict", "words"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_broken_data_get_their_verdict(spoil: Callable[[pa.Table], pa.Table], verdict: str, words: str) -> None:
    """Each kind of damage has its verdict and a sentence that starts with the column; small damage has none."""
    found = look(spoil(people()))[1]
    assert found.verdict == verdict
    assert found.reason.startswith(words)


@pytest.mark.parametrize("rows", [0, 1, 50, 499])
def test_few_rows_are_no_verdict(rows: int) -> None:
    """From no row to one less than asked for: InsufficientData at level None, with what is needed."""
    evidence, finding = look(people().slice(0, rows))
    assert (finding.verdict, finding.level) == ("InsufficientData", "None")
    assert finding.reason.startswith(f"{rows} rows arrived, 500 are needed")
    assert reported(evidence, finding).spec.window.rows == rows


def test_no_part_at_all_is_insufficient_data() -> None:
    """A window in which nobody asked."""
    assert look([])[1].verdict == "InsufficientData"


def test_one_part_of_another_schema_is_found_among_many() -> None:
    """Of four parts, one sends ages as text: the share of rows is named."""
    table = people()
    parts = [table.slice(at, 500) for at in range(0, ROWS, 500)]
    parts[2] = changed(parts[2], "AGEP", pa.array([str(one) for one in np.asarray(parts[2]["AGEP"])]))
    finding = look(parts)[1]
    assert finding.verdict == "SchemaBreak"
    assert finding.reason.startswith("AGEP arrives as string, training had number in 25% of the rows")


def test_an_unreadable_part_is_told_beside_a_verdict_on_the_rest() -> None:
    """Parts that are no Parquet are an incident with their name, not a crash."""
    finding = look(people(), broken=["2026-01-01-06/1-2-a-3.parquet: no Parquet"])[1]
    assert finding.verdict == "QualityIncident"
    assert "1 part cannot be read, first 2026-01-01-06/1-2-a-3.parquet" in finding.reason


def test_new_categories_count_beyond_the_stated_share() -> None:
    """One unknown code is nothing, 1 % is a shift of that column, 8 % are an incident."""
    spec = monitor(features=[AGES, Feature(name="SCHL", categorical=True)])
    assert look(single(99.0, "SCHL")(people()), spec=spec)[1].verdict == "Healthy"
    evidence, shifted = look(put(99.0, 0.01, "SCHL")(people()), spec=spec)
    assert (shifted.verdict, evidence.drifted[0].name) == ("CovariateShift", "SCHL")
    finding = look(put(99.0, 0.08, "SCHL")(people()), spec=spec)[1]
    assert finding.verdict == "QualityIncident"
    assert finding.reason.startswith("SCHL holds values that training never had")


def test_columns_that_fail_in_the_same_share_point_at_one_source() -> None:
    """Three columns missing together are said to fail together."""
    table = people()
    for name in ("AGEP", "MAR", "SCHL"):
        table = changed(table, name, np.where(some(0.3), np.nan, np.asarray(table[name])))
    finding = look(table)[1]
    assert "AGEP" in finding.reason
    assert "fail together, which points at one source" in finding.reason


def test_repeated_keys_are_an_incident() -> None:
    """A sender that repeats every row three times is caught by its keys, above the stated share."""
    table = people().append_column("gyre_key", pa.array([str(k // 3) for k in range(ROWS)]))
    finding = look(table, spec=monitor(quality=Quality(duplicates=0.5)))[1]
    assert finding.verdict == "QualityIncident"
    assert finding.reason.startswith("67% of the rows repeat a key")


def test_a_constant_reference_cannot_alarm() -> None:
    """A column that never varied has nothing to compare; no NaN appears."""
    profile, contract = normal_profile(2)
    flat = profile.model_copy(update={"columns": [profile.columns[0], _flat(profile.columns[1])]})
    evidence, finding = look(
        changed(normals(2, 1000, 5), "x1", np.full(1000, 1.0)),
        profile=flat,
        contract=contract,
        spec=monitor(features=[]),
    )
    assert finding.verdict == "Healthy"
    assert b"NaN" not in report.encoded(reported(evidence, finding))


def _flat(column: Any) -> Any:
    number = column.number.model_copy(update={"edges": [1.0], "counts": [5000], "min": 1.0, "max": 1.0, "exact": True})
    return column.model_copy(update={"number": number})


VALUE = st.one_of(
    st.none(), st.floats(), st.integers(-(2**62), 2**62).map(float), st.sampled_from([0.0, -0.0, 1e308, -1e308, 5e-324])
)
COLUMN = st.one_of(
    st.lists(VALUE, min_size=120, max_size=120).map(lambda values: pa.array(values, pa.float64())),
    st.lists(st.one_of(st.none(), st.text(max_size=5)), min_size=120, max_size=120).map(
        lambda values: pa.array(values, pa.string())
    ),
    st.lists(st.booleans(), min_size=120, max_size=120).map(pa.array),
    st.just(pa.nulls(120)),
    st.just(pa.array([[1]] * 120)),
)


@given(st.dictionaries(st.sampled_from(["x0", "x1", "score", "prediction", "other", "gyre_key"]), COLUMN, max_size=5))
@settings(
    max_examples=60,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # shrinking 240 values takes minutes
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
def test_no_window_makes_an_exception_or_invalid_json(columns: dict[str, pa.Array]) -> None:
    """Whatever a window holds, a report of valid JSON and a page come out of it."""
    profile, contract = normal_profile(2)
    table = pa.table({"filler": pa.array(np.ones(120))} | columns)
    spec = monitor(features=[Feature(name="x0", min=-9, max=9)], window={"minRows": 100})
    evidence, finding = look([table, table], profile=profile, contract=contract, spec=spec)
    made = reported(evidence, finding)
    json.loads(report.encoded(made), parse_constant=lambda name: pytest.fail(f"{name} in JSON"))
    assert finding.reason
    assert "</html>" in page(made, ())
