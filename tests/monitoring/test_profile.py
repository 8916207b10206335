"""Profiles of reference rows."""

import json
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gyre_crds.contracts.profile import Profile
from gyre_crds.v1alpha1.common import Contract, LabelContract, Objective
from gyre_monitoring.errors import InputError
from gyre_monitoring.profile import build, digest, encoded
from tests.monitoring.support import census
from tests.monitoring.support.looks import CONTRACT, census_profile, normals

ROW = st.fixed_dictionaries(
    {
        "a": st.one_of(st.none(), st.floats(), st.integers(-5, 5).map(float)),
        "b": st.one_of(st.none(), st.sampled_from(["x", "y", "é", ""])),
        "label": st.sampled_from([0, 1]),
        "prediction": st.sampled_from([0, 1]),
        "score": st.floats(0, 1),
    }
)
SMALL = Contract(key="id", label=LabelContract(column="label"), features=["a", "b"])
SCHEMA = pa.schema(
    {"a": pa.float64(), "b": pa.string(), "label": pa.int64(), "prediction": pa.int64(), "score": pa.float64()}
)


def profile(rows: Sequence[dict[str, object]], cut: int = 0) -> Profile:
    """The profile of rows that arrive in two parts."""
    parts = [pa.Table.from_pylist(list(part), schema=SCHEMA) for part in (rows[:cut], rows[cut:])]
    return build(lambda: parts, SMALL)


@given(st.lists(ROW, min_size=1, max_size=60), st.randoms(use_true_random=False))
@settings(max_examples=80, deadline=None)
def test_order_and_parts_of_the_rows_do_not_matter(rows: list[dict[str, object]], random: object) -> None:
    """A shuffled reference in other parts has the same counts, bins and missing values."""
    shuffled = list(rows)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = profile(rows), profile(shuffled, cut=len(rows) // 2)
    for left, right in zip(one.columns, other.columns, strict=True):
        drop = {"losses"}
        if left.number and right.number:
            assert left.number.model_dump(exclude=drop) == right.number.model_dump(exclude=drop)
        assert left.model_dump(exclude={"number"}) == right.model_dump(exclude={"number"})


@given(st.lists(ROW, min_size=1, max_size=40))
@settings(max_examples=80, deadline=None)
def test_a_profile_is_valid_json_whatever_the_values(rows: list[dict[str, object]]) -> None:
    """NaN, infinity and nulls in the data never reach the JSON, and it reads back as itself."""
    made = profile(rows)
    assert Profile.model_validate(json.loads(encoded(made))) == made


def test_census_profile_knows_how_well_the_model_does() -> None:
    """Accuracy with its standard error, the positive class, and whole ages are in the profile."""
    made = census_profile()
    accuracy = next(one for one in made.performance if one.metric == "accuracy")
    table = census.reference()
    correct = np.asarray(table["prediction"]) == np.asarray(table["employed"])
    assert accuracy.value == pytest.approx(correct.mean())
    assert accuracy.standard_error == pytest.approx(correct.std(ddof=1) / np.sqrt(5000))
    assert made.positive == "1"
    age = made.columns[0].number
    assert age is not None
    assert (age.min, age.max, age.exact, age.integral) == (16, 64, True, True)
    assert sum(age.counts) == 5000
    assert sum(age.losses) == (~correct).sum()


def test_a_hundred_columns_stay_below_a_megabyte() -> None:
    """100 continuous columns of 20,000 rows travel with the version in less than 1 MB."""
    table = normals(100, 20_000, 1)
    contract = Contract(key="id", label=LabelContract(column="label"))
    assert len(encoded(build(lambda: [table], contract))) < 1_000_000


def test_the_digest_is_of_the_content() -> None:
    """Equal rows have an equal digest, one changed value another."""
    rows = [{"a": float(k), "b": "x", "label": 1, "prediction": 1, "score": 0.9} for k in range(50)]
    assert digest(profile(rows)) == digest(profile(list(rows)))
    assert digest(profile(rows)) != digest(profile([{**rows[0], "a": 99.0}, *rows[1:]]))


def test_regression_keeps_errors_of_values() -> None:
    """With objective rmse the profile holds rmse and mae with their standard errors."""
    truth = np.random.default_rng(0).normal(size=2000)
    table = pa.table({"a": truth, "b": ["x"] * 2000, "label": truth, "prediction": truth + 0.5})
    contract = SMALL.model_copy(update={"objective": Objective(metric="rmse")})
    made = build(lambda: [table], contract)
    assert made.task == "Regression"
    assert {one.metric: round(one.value, 6) for one in made.performance} == {"rmse": 0.5, "mae": 0.5}


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        pytest.param(pa.table({"a": pa.array([], pa.float64())}), "holds no row", id="an empty reference"),
        pytest.param(pa.table({"a": [1.0, 2.0]}), "lacks b", id="a reference without a feature"),
        pytest.param(
            pa.table({"a": [["u"], ["v"]], "b": ["x", "y"]}), "a holds objects, lists of texts", id="lists of texts"
        ),
        pytest.param(
            pa.table({"a": [[1.0], [2.0, 3.0]], "b": ["x", "y"]}), r"different lengths \(1, 2\)", id="ragged lists"
        ),
    ],
)  # fmt: skip
def test_a_bad_reference_gets_one_sentence(table: pa.Table, sentence: str) -> None:
    """What is wrong and what to do stands in one sentence."""
    with pytest.raises(InputError, match=sentence) as caught:
        build(lambda: [table], SMALL)
    assert caught.value.reason == "NoReference"
    assert "\n" not in str(caught.value)


def test_long_texts_are_no_categories() -> None:
    """A column of unique strings is text, of which lengths and a sample are kept, not a thousand categories."""
    table = pa.table({"note": [f"{'word ' * (k % 7)}{k}" for k in range(500)]})
    made = build(lambda: [table], Contract(key="id", label=LabelContract(column="label"))).columns[0]
    assert made.kind == "Text"
    assert made.category is None
    assert made.vector is not None
    assert (made.vector.rows, made.vector.dimension) == (500, 257)


def test_contract_fixes_the_columns() -> None:
    """Columns that the contract does not name are no features."""
    extra = census.reference().append_column("gyre_request_id", pa.array(["r"] * 5000))
    made = build(lambda: [extra], CONTRACT)
    assert [one.name for one in made.columns] == list(census.FEATURES)
